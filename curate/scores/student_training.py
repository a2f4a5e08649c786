"""How students learn: epoch by epoch, a fold at a time on each core, the meta-set ranked on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.records import BoolArray, Embeddings, FloatArray, IntArray, Progress, no_progress
from curate.scores.lessons import Lessons, Reader, fit_reader, gather
from curate.scores.meta_set import EvolvingMetaSet
from curate.scores.neighbours import empty_maps, top_mean
from curate.scores.student_config import Curriculum, Join, StudentConfig
from curate.scores.training_progress import TrainingProgress


class Net(nn.Module):
    """A linear map with one hidden layer beside it; it starts by telling the mean, 0."""

    def __init__(self, inputs: int, hidden: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
        self.inner = nn.Linear(inputs, hidden, device="meta").to_empty(device="cpu")
        self.outer = nn.Linear(hidden, outputs, bias=False, device="meta").to_empty(device="cpu")
        for zero in (self.linear.weight, self.linear.bias, self.inner.bias, self.outer.weight):
            nn.init.zeros_(zero)
        nn.init.normal_(self.inner.weight, std=inputs**-0.5, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        told: Tensor = self.linear(x) + self.outer(functional.gelu(self.inner(x)))
        return told


TIMES_SHOWN = 2
"""How often an epoch shows each place of a small set."""


@dataclass
class Pupil:
    """One fold's student, and what it needs to go on learning.

    Attributes:
        net: the student.
        images: that it learns from, those with lessons.
        optimizer: over all epochs.
        generator: of its draws.
    """

    net: Net
    images: IntArray
    optimizer: torch.optim.Optimizer
    generator: torch.Generator


@dataclass(frozen=True)
class Model:
    """What one round hands to the next: how descriptors are read, and each fold's student."""

    reader: Reader
    nets: tuple[Net, ...]


@dataclass(frozen=True)
class Course:
    """All students of a set on their way through the epochs.

    Attributes:
        embeddings: of N images.
        folds: (N,) the fold of each.
        kept: the meta-set, ranked on the way.
        config: see there.
        reader: questions and answers of an image.
        lessons: places to learn from.
        pupils: one a fold.
        epochs, steps: how many there are, and steps in each.
        pool: threads, one core each.
        progress: told of each step, and of each image that is judged at the end.
    """

    embeddings: Embeddings
    folds: IntArray
    kept: EvolvingMetaSet
    config: StudentConfig
    reader: Reader
    lessons: Lessons
    pupils: tuple[Pupil, ...]
    epochs: int
    steps: int
    pool: ThreadPoolExecutor
    progress: TrainingProgress

    def run(self) -> list[FloatArray]:
        """Go through all epochs, and return the maps of all images."""
        for epoch in range(1, self.epochs + 1):
            list(self.pool.map(lambda pupil, now=epoch: self._learn(pupil, now), self.pupils))
            if epoch in self._rankings():
                values = image_scores(self.disagreement(), self.config.top_share)
                self.kept.rank(epoch, values, grown=(epoch - self.config.warm_up) / (self.epochs - self.config.warm_up))
        return self.disagreement(self.progress.judged)

    def model(self) -> Model:
        return Model(self.reader, tuple(pupil.net for pupil in self.pupils))

    def _rankings(self) -> range:
        """Return the epochs after which all images are ranked again, but for the last one's end."""
        if self.config.curriculum is Curriculum.BATCHES:
            return range(0)
        return range(self.config.warm_up, self.epochs, self.config.every)

    def _learn(self, pupil: Pupil, epoch: int) -> None:
        """Take one epoch's steps."""
        config, generator = self.config, pupil.generator
        held = np.intersect1d(self.kept.members, pupil.images)
        drawn, beside = (torch.from_numpy(part) for part in learnt(config.curriculum, pupil.images, held))
        for step in range(self.steps):
            done = ((epoch - 1) * self.steps + step) / (self.epochs * self.steps)
            for group in pupil.optimizer.param_groups:
                group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
            loss = mean_square(pupil.net, *self.lessons.draw(drawn, config.batch, generator))
            if len(beside):
                sample = self.lessons.draw(beside, config.meta_batch, generator)
                loss = loss + config.meta_weight * mean_square(pupil.net, *sample)
            pupil.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            pupil.optimizer.step()
            self.progress.trained()

    def disagreement(self, progress: Progress = no_progress) -> list[FloatArray]:
        """Return the map of each image by the student that has not seen it."""
        maps, columns = empty_maps(self.embeddings), self.reader.answer_columns()

        def fill(image: int) -> None:
            with torch.inference_mode():
                questions, answers = self.reader.read(self.embeddings, image)
                square = (self.pupils[self.folds[image]].net(questions) - answers).square()
                stages = torch.stack([square[:, stage].mean(dim=1) for stage in columns])
                maps[image][:] = joined(stages, self.config.join).numpy().reshape(maps[image].shape)

        for _ in self.pool.map(fill, range(len(self.embeddings))):
            progress(1)
        return maps


def begin(
    embeddings: Embeddings,
    folds: IntArray,
    kept: EvolvingMetaSet,
    config: StudentConfig,
    before: Model | None,
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> Course:
    """Prepare reader, lessons and students; students of the round before go on where they stood."""
    some, count = _sample(kept.allowed, folds, config.learnt_images, rng), int(folds.max()) + 1
    epochs, steps = config.again if before else config.epochs, _steps(embeddings, config)
    readings = len(some) if before else 2 * len(some)  # each takes about as long as a student's step
    told = TrainingProgress(progress, len(embeddings), readings + count * epochs * steps)
    reader = before.reader if before else fit_reader(embeddings, some, config.inputs, progress=told.trained)
    lessons = gather(embeddings, reader, some, config.learnt_places, rng, progress=told.trained)
    pupils = []
    for fold in range(count):
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        if before:
            net = deepcopy(before.nets[fold])
        else:
            net = Net(lessons.questions.shape[1], config.hidden, lessons.answers.shape[1], generator)
        optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
        pupils.append(Pupil(net, some[folds[some] != fold], optimizer, generator))
    return Course(embeddings, folds, kept, config, reader, lessons, tuple(pupils), epochs, steps, pool, told)


def _steps(embeddings: Embeddings, config: StudentConfig) -> int:
    """Return the steps of an epoch: those of the settings, but no place of a small set is shown more than twice."""
    places = int(embeddings.patch_counts().sum())
    return max(1, min(config.steps, TIMES_SHOWN * places // config.batch))


def _sample(allowed: BoolArray, folds: IntArray, size: int, rng: np.random.Generator) -> IntArray:
    """Return up to `size` images that may be learnt from, ascending; all count where one fold would have none."""
    order = rng.permutation(len(allowed))
    some = order[allowed[order]][:size]
    if len(np.unique(folds[some])) < 2:
        some = np.concatenate([order[folds[order] == 0][: size // 2], order[folds[order] != 0][: size // 2]])
    return np.sort(some)


def joined(stages: Tensor, how: Join) -> Tensor:
    """Join the differences of S stages at P places, (S, P) -> (P,).

    The product is given as its S-th root: the same order, on the scale of one stage.
    """
    if how is Join.PRODUCT:
        return stages.clamp(min=1e-8).log().mean(dim=0).exp()
    weights = 0.5 ** torch.arange(len(stages))
    return (weights / weights.sum()) @ stages


def mean_square(net: Net, questions: Tensor, answers: Tensor) -> Tensor:
    """Return the mean squared difference between what a student tells and what the teacher says."""
    gap: Tensor = net(questions) - answers
    return gap.square().mean()


def image_scores(maps: Sequence[FloatArray], share: float) -> FloatArray:
    """Return (N,) the mean of the highest `share` of each map."""
    return np.array([top_mean(anomaly_map, share) for anomaly_map in maps], dtype=np.float32)


def learnt(curriculum: Curriculum, images: IntArray, members: IntArray) -> tuple[IntArray, IntArray]:
    """Say what batches are drawn from, and what is learnt beside them.

    Args:
        curriculum: see there.
        images: that may be learnt from.
        members: those of them that the meta-set holds; none before the first ranking.
    """
    if not len(members) or curriculum is Curriculum.BATCHES:
        return images, members[:0]
    return (images, members) if curriculum is Curriculum.META_SET else (members, members[:0])
