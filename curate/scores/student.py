"""The student: how far is each place from what a small network expects there?

The teacher is the frozen backbone. The student is a small network that learns to tell the deeper stages of a place
from what stands around it and from where it is (`surroundings.py`), on the set itself. Where the two disagree, the
image shows what the rest of the set does not. Each image is judged by a student that has not seen it or its kin.

The student learns in epochs, guided by the Evolving Meta-Set (`meta_set.py`): after a warm-up, each step's loss is that
of a batch plus that of a sample of the images with the lowest disagreement.

Source: MLG-STPM (Sensors 2025, 25(19), 6255), on STPM (Wang et al. 2021). Differs: the published student is a network
of the teacher's own kind that learns the pyramid from the image; ours reads the cached pyramid, and is small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.embeddings.backbones import Backbone
from curate.embeddings.threads import one_core_each
from curate.errors import UsageError
from curate.records import BoolArray, Embeddings, FloatArray, IntArray, Progress, Scores, no_progress
from curate.scores.base import NO_GUIDE, Guide
from curate.scores.folds import kin_folds
from curate.scores.lessons import Lessons, Reader, fit_reader, gather
from curate.scores.meta_set import EvolvingMetaSet, MetaSetConfig, looks
from curate.scores.neighbours import empty_maps, top_mean
from curate.scores.similar import balanced
from curate.scores.stpm import Images, StpmConfig, learn_from_images


class Kind(StrEnum):
    """Which student."""

    SURROUNDINGS = "surroundings"
    STPM = "stpm"


class Join(StrEnum):
    """How the differences of the stages become one map."""

    WEIGHTED = "weighted"
    PRODUCT = "product"


class Curriculum(StrEnum):
    """What a student learns from once it is warm."""

    BATCHES = "batches"
    META_SET = "meta-set"
    META_SET_ONLY = "meta-set-only"
    TRIMMED = "trimmed"


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """The settings of `Student`.

    Attributes:
        kind: the small student of surroundings, or STPM as published.
        curriculum: batches alone (plain STPM), batches and the meta-set, the meta-set alone, or (trimmed) batches of a
            meta-set that holds most images.
        meta_set: sizes and spread of the meta-set.
        meta_weight: lambda, the weight of the meta-set's sample beside the batch.
        join: the stages' mean, each weighing half as much as the one before it; or their product, as published.
        folds: students; each judges the images that the others learn from.
        epochs, steps: epochs in all, and steps in each.
        warm_up, every: epochs before the first ranking, and from one ranking to the next.
        again: epochs of a round that starts from the students of the round before.
        batch, meta_batch: places in a step.
        inputs: width that a descriptor is reduced to before its surroundings are taken.
        hidden: width of the student.
        learning_rate: of Adam, at the start; falls to 0 along half a cosine.
        learnt_images, learnt_places: at most so many images, and so many places in all, are learnt from.
        top_share: the share of an image's places, the highest of the map, whose mean is its score.
        stpm: what `Kind.STPM` takes in place of the settings from `folds` to `learnt_places`.
        seed: of every draw.
    """

    kind: Kind = Kind.SURROUNDINGS
    curriculum: Curriculum = Curriculum.META_SET
    meta_set: MetaSetConfig = field(default_factory=MetaSetConfig)
    meta_weight: float = 1.0
    join: Join = Join.WEIGHTED
    folds: int = 4
    epochs: int = 8
    steps: int = 25
    warm_up: int = 3
    every: int = 2
    again: int = 4
    batch: int = 512
    meta_batch: int = 256
    inputs: int = 64
    hidden: int = 128
    learning_rate: float = 4e-3
    learnt_images: int = 4000
    learnt_places: int = 200_000
    top_share: float = 0.01
    stpm: StpmConfig = field(default_factory=StpmConfig)
    seed: int = 0


ABLATIONS: Mapping[str, StudentConfig] = MappingProxyType(
    {
        "stpm": StudentConfig(curriculum=Curriculum.BATCHES),
        "stpm+ems": StudentConfig(curriculum=Curriculum.META_SET),
        "ems only": StudentConfig(curriculum=Curriculum.META_SET_ONLY),
        "trimmed": StudentConfig(
            curriculum=Curriculum.TRIMMED, meta_set=MetaSetConfig(first_share=0.7, last_share=0.7, looks=1)
        ),
    }
)
"""The variants that a benchmark compares."""


@dataclass(frozen=True, kw_only=True)
class Student:
    """The scorer `student`. It has no state but its settings.

    Attributes:
        config: see there.
        images, teacher: gives the pixels of a row of the listing (`Embeddings.images`), and the frozen backbone;
            needed by `Kind.STPM` alone.
    """

    config: StudentConfig = field(default_factory=StudentConfig)
    images: Images | None = None
    teacher: Backbone | None = None
    name: str = "student"

    def score(
        self, embeddings: Embeddings, kin: IntArray, *, guide: Guide = NO_GUIDE, progress: Progress = no_progress
    ) -> Scores:
        """Score every image by its disagreement with a student that has not seen it; see `Scorer.score`.

        A set in which all images are kin (one image, say) scores 0 throughout: nothing can be learnt.

        Raises:
            CouldNotFinish: a descriptor is not finite.
        """
        config, rng = self.config, np.random.default_rng(self.config.seed)
        kept = EvolvingMetaSet(
            config.meta_set,
            looks(balanced(embeddings), config.meta_set.looks, rng),
            guide.teachers(len(embeddings)),
        )
        if config.kind is Kind.STPM:
            maps, model = self._published(embeddings, kept, progress), None
        else:
            maps, model = _surroundings(embeddings, kin, kept, config, guide.model, rng, progress)
        values = image_scores(maps, config.top_share)
        kept.rank(config.stpm.epochs if config.kind is Kind.STPM else config.epochs, values, grown=1.0)
        return Scores(
            scorer=self.name,
            values=values,
            maps=maps,
            neighbours=np.zeros((len(embeddings), 0), dtype=np.int64),
            facts={"settings": asdict(config)},
            meta_set=kept.record(),
            model=model,
        )

    def _published(self, embeddings: Embeddings, kept: EvolvingMetaSet, progress: Progress) -> Sequence[FloatArray]:
        """Return the maps of STPM as published, one for all images, each of its patch grid's shape."""
        if self.images is None or self.teacher is None:
            raise UsageError("the student stpm learns from images: give it their source and the backbone")
        config, pixels = self.config, self.images
        maps = learn_from_images(
            lambda i: pixels(int(embeddings.images[i])),
            self.teacher,
            kept,
            config.stpm,
            partial(learnt, config.curriculum),
            top_share=config.top_share,
            seed=config.seed,
            progress=progress,
        )
        odd = [i for i, grid in enumerate(embeddings.grids.tolist()) if list(maps[i].shape) != grid]
        if odd:
            raise UsageError(f"image {odd[0]}: its pixels do not cover its patch grid; give them as they were embedded")
        return maps


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
        epochs: how many there are.
        pool: threads, one core each.
    """

    embeddings: Embeddings
    folds: IntArray
    kept: EvolvingMetaSet
    config: StudentConfig
    reader: Reader
    lessons: Lessons
    pupils: tuple[Pupil, ...]
    epochs: int
    pool: ThreadPoolExecutor

    def run(self, progress: Progress) -> list[FloatArray]:
        """Go through all epochs, and return the maps of all images."""
        for epoch in range(1, self.epochs + 1):
            list(self.pool.map(lambda pupil, now=epoch: self._learn(pupil, now), self.pupils))
            if epoch in self._rankings():
                values = image_scores(self.disagreement(), self.config.top_share)
                self.kept.rank(epoch, values, grown=(epoch - self.config.warm_up) / (self.epochs - self.config.warm_up))
        return self.disagreement(progress)

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
        for step in range(config.steps):
            done = ((epoch - 1) * config.steps + step) / (self.epochs * config.steps)
            for group in pupil.optimizer.param_groups:
                group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
            loss = mean_square(pupil.net, *self.lessons.draw(drawn, config.batch, generator))
            if len(beside):
                sample = self.lessons.draw(beside, config.meta_batch, generator)
                loss = loss + config.meta_weight * mean_square(pupil.net, *sample)
            pupil.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            pupil.optimizer.step()

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


def _surroundings(
    embeddings: Embeddings,
    kin: IntArray,
    kept: EvolvingMetaSet,
    config: StudentConfig,
    before: Model | None,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[Sequence[FloatArray], Model | None]:
    """Return the maps of all images, 0 where all are kin, and what the next round starts from."""
    folds = kin_folds(kin, config.folds, rng)
    if not folds.any():
        return empty_maps(embeddings), before
    with one_core_each("student") as pool:
        course = begin(embeddings, folds, kept, config, before, rng, pool)
        return course.run(progress), course.model()


def begin(
    embeddings: Embeddings,
    folds: IntArray,
    kept: EvolvingMetaSet,
    config: StudentConfig,
    before: Model | None,
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
) -> Course:
    """Prepare reader, lessons and students; students of the round before go on where they stood."""
    some = _sample(kept.allowed, folds, config.learnt_images, rng)
    reader = before.reader if before else fit_reader(embeddings, some, config.inputs)
    lessons = gather(embeddings, reader, some, config.learnt_places, rng)
    pupils = []
    for fold in range(int(folds.max()) + 1):
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        if before:
            net = deepcopy(before.nets[fold])
        else:
            net = Net(lessons.questions.shape[1], config.hidden, lessons.answers.shape[1], generator)
        optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
        pupils.append(Pupil(net, some[folds[some] != fold], optimizer, generator))
    epochs = config.again if before else config.epochs
    return Course(embeddings, folds, kept, config, reader, lessons, tuple(pupils), epochs, pool)


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
