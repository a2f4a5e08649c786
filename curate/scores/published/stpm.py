"""STPM as published: a student of the teacher's own architecture learns its pyramid from the images, from scratch.

For comparison with the papers, `curate bench --ablate student-stpm,student-mlg-stpm`; a scan runs it by `--student
stpm`. It takes hours where the small student (`curate/scores/student.py`) takes seconds. As published, there are no
folds: it judges images that it was trained on.

With `Curriculum.META_SET` it is MLG-STPM (`mlg_stpm.py`).

Source: Wang et al. 2021 (STPM), and the settings of its code: channels of unit length at each location, mean squared
difference summed over stages, anomaly map = product over stages of the upsampled differences; SGD, rate 0.4, momentum
0.9, decay 1e-4, batches of 32, 100 epochs. Differs: stages of stride 4, 8, 16 px of whatever backbone is loaded; a map
is brought to the patch grid by its maximum in each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from curate.embeddings.backbones import Backbone, forward
from curate.embeddings.frame import PATCH_PX
from curate.embeddings.packaged import CompactPyramid
from curate.embeddings.pyramid import to_input
from curate.errors import UsageError
from curate.progress import Progress, no_progress
from curate.records import FloatArray, IntArray
from curate.scores.base import Images
from curate.scores.neighbours import top_mean
from curate.scores.published.mlg_stpm import Curriculum, EvolvingMetaSet, training_images
from curate.scores.training_progress import TrainingProgress


@dataclass(frozen=True, kw_only=True)
class StpmConfig:
    """The published settings.

    Attributes:
        epochs: over all images.
        batch, meta_batch: images in a step.
        learning_rate, momentum, decay: of SGD.
        warm_up, every: epochs before the first ranking, and from one ranking to the next.
    """

    epochs: int = 100
    batch: int = 32
    meta_batch: int = 16
    learning_rate: float = 0.4
    momentum: float = 0.9
    decay: float = 1e-4
    warm_up: int = 20
    every: int = 20


@dataclass(frozen=True)
class TeacherStudent:
    """A frozen teacher and its student."""

    teacher: Backbone
    student: nn.Module

    def differences(self, pixels: Sequence[NDArray[Any]]) -> list[Tensor]:
        """Return one map a stage, (B, H / stride, W / stride), of B images of one size."""
        batch = to_input(np.stack(pixels), self.teacher.mean, self.teacher.std)
        targets = [stage.clone() for stage in forward(self.teacher, batch)]
        return [
            (functional.normalize(output, dim=1) - functional.normalize(target, dim=1)).square().sum(dim=1) / 2
            for output, target in zip(self.student(batch), targets, strict=True)
        ]

    def anomaly_map(self, pixels: NDArray[Any]) -> FloatArray:
        """Return the product over stages of one image's differences, on its patch grid."""
        with torch.no_grad():
            stages = [stage[None] for stage in self.differences([pixels])]
            size = stages[0].shape[2:]
            product = torch.stack([functional.interpolate(stage, size, mode="bilinear") for stage in stages]).prod(
                dim=0
            )
            grid = (pixels.shape[0] // PATCH_PX, pixels.shape[1] // PATCH_PX)
            return np.asarray(functional.adaptive_max_pool2d(product, grid)[0, 0].numpy(), dtype=np.float32)

    def anomaly_maps(self, images: Images, count: int, *, progress: Progress = no_progress) -> list[FloatArray]:
        """Return the maps of images 0 to `count`, with the student in evaluation mode."""
        self.student.eval()
        maps = []
        for image in range(count):
            maps.append(self.anomaly_map(images(image)))
            progress(1)
        return maps


def untrained(teacher: Backbone, seed: int) -> nn.Module:
    """Return a network of the teacher's architecture with fresh weights, ready to be trained.

    Raises:
        UsageError: some of the teacher's weights cannot be drawn anew: those of transformers, for instance.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(teacher.network, CompactPyramid):  # its shipped form has no batch norm left to train with
            return CompactPyramid(normalised=True)
        network = deepcopy(teacher.network).requires_grad_(True).train()
        for module in network.modules():
            reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise UsageError(
                    f"--student stpm: it needs a network like the backbone with fresh weights, and those of "
                    f"{teacher.name} cannot be drawn anew; leave --student out, or use --backbone resnet18"
                )
    return network


@dataclass(frozen=True, kw_only=True)
class Stpm:
    """STPM, or MLG-STPM, by its curriculum: trains one student on the images of a set and maps them.

    Attributes:
        teacher: the frozen backbone.
        config: the published settings.
        curriculum: what the student trains on after its warm-up.
        top_share: of a map, 0-1, the highest values, whose mean an image is ranked by.
        seed: of weights and draws.
    """

    teacher: Backbone
    config: StpmConfig = field(default_factory=StpmConfig)
    curriculum: Curriculum = Curriculum.BATCHES
    top_share: float = 0.01
    seed: int = 0

    def anomaly_maps(
        self, images: Images, meta_set: EvolvingMetaSet, *, progress: Progress = no_progress
    ) -> list[FloatArray]:
        """Train a student on the images that may be trained on, and return the maps of all N.

        Args:
            images: the source of pixels.
            meta_set: of N images, ranked during the training; its `allowed` images are trained on, all where none is.
            progress: called with the number of images just finished.
        """
        config, allowed = self.config, meta_set.allowed
        pair, rng = TeacherStudent(self.teacher, untrained(self.teacher, self.seed)), np.random.default_rng(self.seed)
        optimizer = torch.optim.SGD(
            pair.student.parameters(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.decay
        )
        training_progress = TrainingProgress(progress, len(allowed), config.epochs)
        trained_on = np.flatnonzero(allowed) if allowed.any() else np.arange(len(allowed))
        for epoch in range(1, config.epochs + 1):
            pair.student.train()
            for batches in self._batches(trained_on, meta_set.members, rng):
                _step(pair, optimizer, ([images(i) for i in batch.tolist()] for batch in batches))
            if epoch in range(config.warm_up, config.epochs, config.every):
                maps = pair.anomaly_maps(images, len(allowed))
                values = np.array([top_mean(one, self.top_share) for one in maps], dtype=np.float32)
                meta_set.rank(epoch, values, growth=(epoch - config.warm_up) / (config.epochs - config.warm_up))
            training_progress.trained()
        return pair.anomaly_maps(images, len(allowed), progress=training_progress.judged)

    def _batches(
        self, images: IntArray, members: IntArray, rng: np.random.Generator
    ) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield the images of each step of an epoch: a batch, and a sample of the meta-set, empty if not used."""
        drawn, second = training_images(self.curriculum, images, members)
        order = rng.permutation(drawn)
        for start in range(0, len(order), self.config.batch):
            size = min(self.config.meta_batch, len(second))
            sample = rng.choice(second, size, replace=False) if size else second
            yield order[start : start + self.config.batch], sample


def _step(pair: TeacherStudent, optimizer: torch.optim.Optimizer, batches: Iterable[Sequence[NDArray[Any]]]) -> None:
    """Take one step on the mean loss of each batch, summed; a batch's images may differ in size."""
    optimizer.zero_grad()
    for batch in batches:
        for same_size in _by_size(batch):
            stages = pair.differences(same_size)
            loss = torch.stack([stage.mean() for stage in stages]).sum() * len(same_size) / len(batch)
            loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _by_size(pixels: Sequence[NDArray[Any]]) -> list[list[NDArray[Any]]]:
    sizes: dict[tuple[int, ...], list[NDArray[Any]]] = {}
    for image in pixels:
        sizes.setdefault(image.shape, []).append(image)
    return list(sizes.values())
