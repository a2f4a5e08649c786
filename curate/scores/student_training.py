"""How the students are trained: epoch by epoch, a fold at a time on each core, the meta-set ranked on the way."""

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

from curate.progress import Progress, no_progress
from curate.records import Embeddings, FloatArray, IntArray, WarmStart
from curate.scores.neighbours import empty_maps, top_mean
from curate.scores.patch_dataset import FeatureExtractor, PatchDataset, fit_extractor, sample_patches
from curate.scores.published.mlg_stpm import Curriculum, EvolvingMetaSet, training_images
from curate.scores.student_config import StudentConfig
from curate.scores.training_progress import TrainingProgress

TIMES_SHOWN = 2
"""How often an epoch shows each patch of a small set."""


class StudentNet(nn.Module):
    """A linear map with one hidden layer beside it; untrained, its output is the mean of the targets, 0."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
        self.inner = nn.Linear(inputs, hidden, device="meta").to_empty(device="cpu")
        self.outer = nn.Linear(hidden, outputs, bias=False, device="meta").to_empty(device="cpu")
        for zero in (self.linear.weight, self.linear.bias, self.inner.bias, self.outer.weight):
            nn.init.zeros_(zero)
        nn.init.normal_(self.inner.weight, std=inputs**-0.5, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = self.linear(x) + self.outer(functional.gelu(self.inner(x)))
        return predicted


@dataclass(frozen=True, kw_only=True)
class FoldStudent:
    """One fold's student in training.

    Attributes:
        net: the student.
        images: indices of those that it is trained on: the sampled images outside its fold.
        optimizer: over all epochs.
        generator: of its draws.
    """

    net: StudentNet
    images: IntArray
    optimizer: torch.optim.Optimizer
    generator: torch.Generator


@dataclass(frozen=True)
class StudentModel(WarmStart):
    """What the next round starts from: the feature extractor, and each fold's student."""

    extractor: FeatureExtractor
    nets: tuple[StudentNet, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What the students of a set are trained on, and how.

    Attributes:
        embeddings: of N images.
        folds: (N,) the fold of each, two folds at least.
        meta_set: ranked during the training; images that are not `allowed` in it are not trained on.
        config: see there.
        pool: threads, one core each.
    """

    embeddings: Embeddings
    folds: IntArray
    meta_set: EvolvingMetaSet
    config: StudentConfig
    pool: ThreadPoolExecutor


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains one student a fold, all through the same epochs.

    Attributes:
        task: see there.
        extractor: gives inputs and targets of an image.
        dataset: the patches to train on.
        students: one a fold.
        epochs, steps: epochs in all, and steps in each.
        progress: takes note of each step, and of each image that is judged at the end.
    """

    task: TrainingTask
    extractor: FeatureExtractor
    dataset: PatchDataset
    students: tuple[FoldStudent, ...]
    epochs: int
    steps: int
    progress: TrainingProgress

    def train(self) -> list[FloatArray]:
        """Go through all epochs, and return the maps of all images."""
        task, warm_up = self.task, self.task.config.warm_up
        for epoch in range(1, self.epochs + 1):
            list(task.pool.map(lambda student, now=epoch: self._train_epoch(student, now), self.students))
            if epoch in self._ranking_epochs():
                values = image_scores(self.disagreement(), task.config.top_share)
                task.meta_set.rank(epoch, values, growth=(epoch - warm_up) / (self.epochs - warm_up))
        return self.disagreement(progress=self.progress.judged)

    def model(self) -> StudentModel:
        """Return what the next round starts from."""
        return StudentModel(self.extractor, tuple(student.net for student in self.students))

    def disagreement(self, *, progress: Progress = no_progress) -> list[FloatArray]:
        """Return the map of each image by the student that was not trained on it."""
        embeddings, folds = self.task.embeddings, self.task.folds
        maps, columns = empty_maps(embeddings), self.extractor.target_columns()

        def fill(image: int) -> None:
            with torch.inference_mode():
                inputs, targets = self.extractor.extract(embeddings, image)
                square = (self.students[folds[image]].net(inputs) - targets).square()
                stages = torch.stack([square[:, stage].mean(dim=1) for stage in columns])
                maps[image][:] = weighted_mean(stages).numpy().reshape(maps[image].shape)

        for _ in self.task.pool.map(fill, range(len(embeddings))):
            progress(1)
        return maps

    def _ranking_epochs(self) -> range:
        """Return the epochs after which the images are ranked; after the last epoch the scorer ranks them itself."""
        config = self.task.config
        if config.curriculum is Curriculum.BATCHES:
            return range(0)
        return range(config.warm_up, self.epochs, config.every)

    def _train_epoch(self, student: FoldStudent, epoch: int) -> None:
        config, generator = self.task.config, student.generator
        members = np.intersect1d(self.task.meta_set.members, student.images)
        drawn, second = map(torch.from_numpy, training_images(config.curriculum, student.images, members))
        for step in range(self.steps):
            done = ((epoch - 1) * self.steps + step) / (self.epochs * self.steps)
            for group in student.optimizer.param_groups:
                group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
            loss = mean_square(student.net, *self.dataset.draw(drawn, config.batch, generator))
            if len(second):
                sample = self.dataset.draw(second, config.meta_batch, generator)
                loss = loss + config.meta_weight * mean_square(student.net, *sample)
            student.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            student.optimizer.step()
            self.progress.trained()


def prepare_trainer(
    task: TrainingTask, warm_start: StudentModel | None, *, rng: np.random.Generator, progress: Progress
) -> Trainer:
    """Make the feature extractor, the patch dataset and the students; students of a warm start are trained further.

    Args:
        task: see there.
        warm_start: what the round before ended with; it is left as it is.
        rng: draws images, patches, and the seed of each student.
        progress: called with the number of images just finished.

    Raises:
        CouldNotFinish: a descriptor is not finite.
    """
    embeddings, config = task.embeddings, task.config
    images, folds = _sample_images(task, rng), int(task.folds.max()) + 1
    epochs, steps = config.again if warm_start else config.epochs, _steps(embeddings, config)
    readings = len(images) if warm_start else 2 * len(images)  # each takes about as long as a student's step
    counter = TrainingProgress(progress, len(embeddings), readings + folds * epochs * steps)
    if warm_start:
        extractor = warm_start.extractor
    else:
        extractor = fit_extractor(embeddings, images, config.reduced_width, progress=counter.trained)
    dataset = sample_patches(
        embeddings, extractor, images, size=config.training_patches, rng=rng, progress=counter.trained
    )
    return Trainer(
        task=task,
        extractor=extractor,
        dataset=dataset,
        students=_fold_students(task, dataset, images, warm_start=warm_start, rng=rng),
        epochs=epochs,
        steps=steps,
        progress=counter,
    )


def _fold_students(
    task: TrainingTask,
    dataset: PatchDataset,
    images: IntArray,
    *,
    warm_start: StudentModel | None,
    rng: np.random.Generator,
) -> tuple[FoldStudent, ...]:
    """Return one student a fold, to be trained on the sampled images outside of it."""
    config, students = task.config, []
    for fold in range(int(task.folds.max()) + 1):
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        if warm_start:
            net = deepcopy(warm_start.nets[fold])
        else:
            inputs, outputs = dataset.inputs.shape[1], dataset.targets.shape[1]
            net = StudentNet(inputs, config.hidden, outputs, generator=generator)
        optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
        outside = images[task.folds[images] != fold]
        students.append(FoldStudent(net=net, images=outside, optimizer=optimizer, generator=generator))
    return tuple(students)


def _steps(embeddings: Embeddings, config: StudentConfig) -> int:
    """Return the steps of an epoch: those of the settings, but no patch of a small set is shown more than twice."""
    patches = int(embeddings.patch_counts().sum())
    return max(1, min(config.steps, TIMES_SHOWN * patches // config.batch))


def _sample_images(task: TrainingTask, rng: np.random.Generator) -> IntArray:
    """Return the images to train on, ascending: allowed ones; any, where one fold would be left without."""
    allowed, folds, size = task.meta_set.allowed, task.folds, task.config.training_images
    order = rng.permutation(len(allowed))
    images = order[allowed[order]][:size]
    if len(np.unique(folds[images])) < 2:
        images = np.concatenate([order[folds[order] == 0][: size // 2], order[folds[order] != 0][: size // 2]])
    return np.sort(images)


def weighted_mean(stages: Tensor) -> Tensor:
    """Return the mean of S stages at P patches, each stage weighing half as much as the one before: (S, P) -> (P,)."""
    weights = 0.5 ** torch.arange(len(stages))
    return (weights / weights.sum()) @ stages


def mean_square(net: StudentNet, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared difference between a student's outputs and the targets."""
    gap: Tensor = net(inputs) - targets
    return gap.square().mean()


def image_scores(maps: Sequence[FloatArray], share: float) -> FloatArray:
    """Return (N,) the mean of the highest `share` of each map."""
    return np.array([top_mean(anomaly_map, share) for anomaly_map in maps], dtype=np.float32)
