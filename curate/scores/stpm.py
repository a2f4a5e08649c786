"""STPM as published: a student of the teacher's own architecture learns its pyramid from the images, from scratch.

For comparison with the paper. It takes hours where the student of `student.py` takes seconds, and it judges images that
it has learnt from: as published, there are no folds.

Source: Wang et al. 2021 (STPM), and the settings of its code: channels of unit length at each location, mean squared
difference summed over stages, anomaly map = product over stages of the upsampled differences; SGD, rate 0.4, momentum
0.9, decay 1e-4, batches of 32, 100 epochs. MLG-STPM (Sensors 2025, 25(19), 6255) adds the meta-set. Differs: stages of
stride 4, 8, 16 px of whatever backbone is loaded; a map is brought to the patch grid by its maximum in each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
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
from curate.records import FloatArray, IntArray, Progress, no_progress
from curate.scores.meta_set import EvolvingMetaSet
from curate.scores.neighbours import top_mean
from curate.scores.training_progress import TrainingProgress

Images = Callable[[int], NDArray[Any]]
"""Gives the pixels of image i as they are embedded: (H, W, 3) RGB in 0-255, sides whole patches."""


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
class Pair:
    """A frozen teacher and its student."""

    teacher: Backbone
    student: nn.Module

    def differences(self, pixels: Sequence[NDArray[Any]]) -> list[Tensor]:
        """Return one map a stage, (B, H / stride, W / stride), of B images of one size."""
        batch = to_input(np.stack(pixels), self.teacher.mean, self.teacher.std)
        said = [stage.clone() for stage in forward(self.teacher, batch)]
        return [
            (functional.normalize(told, dim=1) - functional.normalize(stage, dim=1)).square().sum(dim=1) / 2
            for told, stage in zip(self.student(batch), said, strict=True)
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


def untrained(teacher: Backbone, seed: int) -> nn.Module:
    """Return a network of the teacher's architecture with fresh weights, ready to be trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(teacher.network, CompactPyramid):  # its shipped form has no batch norm left to train with
            return CompactPyramid(normalised=True)
        network = deepcopy(teacher.network).requires_grad_(True).train()
        for module in network.modules():
            reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
    return network


def learn_from_images(
    images: Images,
    teacher: Backbone,
    kept: EvolvingMetaSet,
    config: StpmConfig,
    uses: Callable[[IntArray, IntArray], tuple[IntArray, IntArray]],
    *,
    top_share: float,
    seed: int,
    progress: Progress = no_progress,
) -> list[FloatArray]:
    """Train a student on the images that may be learnt from, and return the maps of all N.

    Args:
        images: the source of pixels.
        teacher: the frozen backbone.
        kept: the meta-set, ranked on the way.
        config: see there.
        uses: from (images that may be learnt from, members of the meta-set) to (what batches are drawn from, what is
            learnt beside them).
        top_share: of a map, whose mean an image is ranked by.
        seed: of weights and draws.
        progress: called with the number of images just finished.
    """
    pair, rng = Pair(teacher, untrained(teacher, seed)), np.random.default_rng(seed)
    optimizer = torch.optim.SGD(
        pair.student.parameters(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.decay
    )
    everyone = range(len(kept.allowed))
    told = TrainingProgress(progress, len(everyone), config.epochs)
    taught = np.flatnonzero(kept.allowed) if kept.allowed.any() else np.arange(len(kept.allowed))
    for epoch in range(1, config.epochs + 1):
        pair.student.train()
        drawn, beside = uses(taught, kept.members)
        order = rng.permutation(drawn)
        for start in range(0, len(order), config.batch):
            sample = rng.choice(beside, min(config.meta_batch, len(beside)), replace=False) if len(beside) else beside
            _step(pair, optimizer, images, (order[start : start + config.batch], sample))
        if epoch in range(config.warm_up, config.epochs, config.every):
            values = [top_mean(anomaly_map, top_share) for anomaly_map in _maps(pair, images, everyone)]
            grown = (epoch - config.warm_up) / (config.epochs - config.warm_up)
            kept.rank(epoch, np.array(values, dtype=np.float32), grown)
        told.trained()
    return _maps(pair, images, everyone, told.judged)


def _step(pair: Pair, optimizer: torch.optim.Optimizer, images: Images, groups: Sequence[IntArray]) -> None:
    """Take one step on the mean loss of each group, summed; a group's images may differ in size."""
    optimizer.zero_grad()
    for group in groups:
        for same_size in _by_size([images(i) for i in group.tolist()]):
            stages = pair.differences(same_size)
            loss = torch.stack([stage.mean() for stage in stages]).sum() * len(same_size) / len(group)
            loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _by_size(pixels: Sequence[NDArray[Any]]) -> list[list[NDArray[Any]]]:
    sizes: dict[tuple[int, ...], list[NDArray[Any]]] = {}
    for image in pixels:
        sizes.setdefault(image.shape, []).append(image)
    return list(sizes.values())


def _maps(pair: Pair, images: Images, which: range, progress: Progress = no_progress) -> list[FloatArray]:
    pair.student.eval()
    maps = []
    for image in which:
        maps.append(pair.anomaly_map(images(image)))
        progress(1)
    return maps
