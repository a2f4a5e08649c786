"""Are the images of a set aligned, so that a position shows the same in each of them?

What uses the position of a patch (`flow`, and the position in `neighbours`) sees much on parts that always lie the same
way. Where they are turned or moved, position says little, and what merely lies elsewhere looks anomalous. So the set
itself is measured: how much farther is the nearest patch of the most similar images, if it is searched around the
patch's own position alone? The median over those images counts: a few turned parts do not make a set unaligned.

A texture costs as much by position as parts at any angle do, but there nothing is lost: a patch may lie anywhere. It
resembles itself: a patch has its nearest in its own image hardly farther away than in the most similar images; a part
that lies anywhere shows each detail once. So `flow` judges a texture.

Where images are not aligned, the student learns from surroundings that differ more from image to image: it is larger
and learns longer (`StudentConfig.for_alignment`), and `neighbours` does not use the position.

Source: ours; examples/bench/unaligned.py measures it, see docs/experiments.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from curate.embeddings.threads import one_core_each
from curate.records import Alignment, Embeddings, IntArray
from curate.scores.base import Guide
from curate.scores.positions import positions_of
from curate.scores.similar import similar_images

MORE = 4
"""How many times as large the student is, and how many times as long it learns, in unaligned sets."""

SAMPLE, COMPARED, MOST_IMAGES = 16, 8, 10_000
"""Images that are measured, how many similar images each is compared with, and out of how many at most."""

PATCHES_MEASURED = 256
"""Patches of an image that are measured at most, evenly spread."""

AROUND, AWAY = 1 / 16, 1 / 8
"""How far from its own position, as a share of the sides, the nearest patch may lie, one cell of the grid at least; and
how far away in its own image it must lie at least."""

RESOLUTION = 1e-3
"""Distances are distinguished down to this share of a patch's usual length."""


def known_alignment(guide: Guide, embeddings: Embeddings, groups: IntArray) -> Alignment:
    """Return a guide's alignment; where it has none, measure it.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    return guide.alignment or measure_alignment(embeddings, groups)


def measure_alignment(embeddings: Embeddings, groups: IntArray) -> Alignment:
    """Measure how the images of a set lie.

    Args:
        embeddings: of N images.
        groups: (N,) leakage groups.

    Returns:
        See `Alignment`; that of an aligned set where no image has another to be compared with.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    some = np.arange(0, len(groups), -(-len(groups) // MOST_IMAGES))
    part, groups = embeddings.subset(some), groups[some]
    measured = np.arange(0, len(groups), -(-len(groups) // SAMPLE))
    near = similar_images(part, groups, COMPARED, rows=measured).near
    pairs = [(image, others[others >= 0]) for image, others in zip(measured.tolist(), near, strict=True)]
    with one_core_each("alignment") as pool:
        costs = list(pool.map(lambda pair: _costs(part, *pair), [pair for pair in pairs if len(pair[1])]))
    return Alignment(*np.median(costs, axis=0).tolist()) if costs else Alignment()


def _costs(embeddings: Embeddings, image: int, near: IntArray) -> tuple[float, float]:
    """Return the costs of searching at the own position, and in the own image, for one image beside `near`."""
    patches, shape = torch.from_numpy(embeddings.patches(image)), tuple(embeddings.grids[image].tolist())
    step = -(-len(patches) // PATCHES_MEASURED)
    measured = patches[::step]
    anywhere, around = torch.zeros(len(near), len(measured)), torch.zeros(len(near), len(measured))
    for row, other in enumerate(near.tolist()):
        distances = _distances(measured, torch.from_numpy(embeddings.patches(other)))
        nearest = distances.amin(dim=1)
        nearby = _around(shape, tuple(embeddings.grids[other].tolist()), step=step, reach=AROUND)
        nearest_around = distances.masked_fill_(~nearby, torch.inf).amin(dim=1)
        anywhere[row] = nearest
        around[row] = torch.where(nearest_around.isfinite(), nearest_around, nearest)  # a coarse grid has none
    own = (
        _distances(measured, patches).masked_fill_(_around(shape, shape, step=step, reach=AWAY), torch.inf).amin(dim=1)
    )
    least = max(RESOLUTION * float(measured.square().sum(dim=1).mean().sqrt()), 1e-12)
    free, bound = anywhere.quantile(0.5, dim=0), around.quantile(0.5, dim=0)
    growth, own_growth = (((far - free) / free.clamp(min=least)).sort().values for far in (bound, own))
    return float(growth.quantile(0.75)), float(own_growth[int(0.75 * len(own_growth))])  # no mean of infinite ones


def _distances(patches: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(patches, others, compute_mode="donot_use_mm_for_euclid_dist")


@lru_cache(maxsize=8)  # most sets have one grid; a mask of a large image takes megabytes
def _around(here: tuple[int, int], there: tuple[int, int], *, step: int, reach: float) -> Tensor:
    """Return whether each position of one grid, of which every `step`th counts, has each of another around it."""
    far = torch.tensor([max(reach, 1 / side) + 1e-4 for side in here])
    positions, others = torch.from_numpy(positions_of(*here))[::step], torch.from_numpy(positions_of(*there))
    return ((positions[:, None] - others[None]).abs() <= far).all(dim=2)
