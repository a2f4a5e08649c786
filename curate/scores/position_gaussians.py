"""A Gaussian per patch position, in closed form.

Each cell of the reference grid has its own mean, each area of 2 x 2 cells its own covariance, both shrunk towards those
of all positions. Everything is fitted from sums over patches: the sums of a fold are subtracted from those of the whole
set, and no patch is kept.

A share `ridge` of the mean variance is added to every direction, as if each descriptor carried that much noise.
Otherwise the directions in which nominal descriptors hardly vary dominate the likelihood.

Source: Defard et al. 2021 (PaDiM), §III. Differs: covariances are shared by 2 x 2 cells and shrunk, the ridge is
relative, the score is the log-likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.errors import CouldNotFinish
from curate.records import Embeddings, FloatArray, IntArray
from curate.scores.positions import PatchBlock, ReferenceGrid, patch_blocks, positions_of

MIN_VARIANCE = 1e-5
"""Variance that every direction has at least, as a share of the mean square of all descriptors."""

PSEUDO_COUNT = 1.0
"""Patches of the mean of all positions that each cell's own mean is averaged with."""

LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class PatchSums:
    """Sums over patches: `count` (cells,), `total` (cells, D), `square` (areas, D, D)."""

    count: Tensor
    total: Tensor
    square: Tensor

    def __add__(self, other: PatchSums) -> PatchSums:
        return PatchSums(self.count + other.count, self.total + other.total, self.square + other.square)

    def __sub__(self, other: PatchSums) -> PatchSums:
        return PatchSums(self.count - other.count, self.total - other.total, self.square - other.square)


def sum_patches(embeddings: Embeddings, images: IntArray, grid: ReferenceGrid) -> PatchSums:
    """Sum the patches of `images`.

    Raises:
        CouldNotFinish: a descriptor is not finite.
    """
    width, area_of = embeddings.width, grid.areas()
    count, total = torch.zeros(grid.cells), torch.zeros(grid.cells, width)
    square = torch.zeros(int(area_of.max()) + 1, width, width)
    for block in patch_blocks(embeddings, images):
        _refuse_not_finite(embeddings, block)
        cells = grid.cells_of(block.positions)
        x, cell = torch.from_numpy(block.patches), torch.from_numpy(cells)
        count.index_add_(0, cell, torch.ones(len(cell)))
        total.index_add_(0, cell, x)
        for area, rows in _rows_by(area_of[cells]):
            area_x = x[rows]
            square[area].addmm_(area_x.T, area_x)
    return PatchSums(count, total, square)


def _refuse_not_finite(embeddings: Embeddings, block: PatchBlock) -> None:
    bad = ~np.isfinite(block.patches.sum(axis=1))
    if bad.any():
        ends = np.cumsum(embeddings.patch_counts()[block.images])
        image = block.images[int(np.searchsorted(ends, bad.argmax(), side="right"))]
        raise CouldNotFinish(
            f"flow: the descriptors of image {int(embeddings.images[image])} hold NaN or infinity; "
            "remove the image, or embed it again with a backbone and precision that stay finite"
        )


def _rows_by(keys: IntArray) -> Iterator[tuple[int, Tensor]]:
    """Yield (key, rows that have it) for each distinct key, ascending."""
    order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[order], return_index=True)
    for key, rows in zip(distinct.tolist(), np.split(order, starts[1:]), strict=True):
        yield key, torch.from_numpy(rows)


@dataclass(frozen=True)
class Shrinkage:
    """How far the Gaussian of a position is shrunk towards that of all positions.

    Attributes:
        own_mean: whether each cell has its own mean.
        own_covariance: weight, 0-1, of an area's own covariance; the rest is that of all positions.
    """

    own_mean: bool
    own_covariance: float


SHRINKAGES = (Shrinkage(False, 0.0), Shrinkage(True, 0.0), Shrinkage(True, 0.5), Shrinkage(True, 0.75))
"""From one Gaussian for all positions (objects in any position) to one per position (aligned parts)."""


@dataclass(frozen=True)
class PositionGaussians:
    """A Gaussian per position, as the linear map z = root (x - mean); root is the inverse of a lower Cholesky factor.

    Attributes:
        grid: R x C cells.
        mean: (cells, D).
        root: (areas, D, D).
        log_det: (areas,) of `root`.
        noise: standard deviation of the noise that `ridge` stands for.
    """

    grid: ReferenceGrid
    mean: Tensor
    root: Tensor
    log_det: Tensor
    noise: float

    def whiten(self, x: Tensor, positions: FloatArray) -> tuple[Tensor, Tensor]:
        """Whiten descriptors (P, D) at positions (P, 2): z (P, D), and the log-determinant of the map, (P,)."""
        cells = self.grid.cells_of(positions)
        areas = self.grid.areas()[cells]
        centred = x - self.mean[torch.from_numpy(cells)]
        z = torch.empty_like(centred)
        for area, rows in _rows_by(areas):
            z[rows] = centred[rows] @ self.root[area].T
        return z, self.log_det[torch.from_numpy(areas)]

    def nll(self, x: Tensor, positions: FloatArray) -> Tensor:
        """Return the negative log-likelihood of descriptors (P, D) at positions (P, 2), (P,) in nats per dimension."""
        z, log_det = self.whiten(x, positions)
        return 0.5 * z.square().sum(dim=1) / x.shape[1] + 0.5 * LOG_TWO_PI - log_det / x.shape[1]


def fit_gaussians(sums: PatchSums, grid: ReferenceGrid, *, shrinkage: Shrinkage, ridge: float) -> PositionGaussians:
    """Fit the Gaussian of each position.

    Args:
        sums: over the patches to learn from, of one image at least.
        grid: the cells that `sums` refers to.
        shrinkage: towards the Gaussian of all positions.
        ridge: variance added to each direction, as a share of the mean variance.
    """
    area_of = torch.from_numpy(grid.areas())
    count, total, square = sums.count.double(), sums.total.double(), sums.square.double()
    common_mean = total.sum(dim=0) / count.sum()
    mean = common_mean.expand_as(total)
    if shrinkage.own_mean:
        mean = (total + PSEUDO_COUNT * common_mean) / (count + PSEUDO_COUNT)[:, None]
    area_count = torch.zeros(len(square), dtype=torch.float64).index_add_(0, area_of, count)
    scatter = square - _outer_sums(total, mean, count, area_of=area_of, areas=len(square))
    common = scatter.sum(dim=0) / count.sum()
    own = scatter / area_count.clamp(min=1)[:, None, None]
    own_weight = torch.where(area_count > 0, shrinkage.own_covariance, 0.0)[:, None, None]
    mean_square = float(square.diagonal(dim1=1, dim2=2).sum() / count.sum() / total.shape[1])
    noise_variance = max(ridge * float(common.diagonal().mean()), MIN_VARIANCE * mean_square, 1e-12)
    eye = torch.eye(total.shape[1], dtype=torch.float64)
    covariance = own_weight * own + (1 - own_weight) * common if shrinkage.own_covariance else common[None]
    factor = torch.linalg.cholesky(covariance + noise_variance * eye)
    root = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False).float()
    log_det = -factor.diagonal(dim1=1, dim2=2).log().sum(dim=1).float()
    return PositionGaussians(
        grid,
        mean.float(),
        root.expand(len(square), *root.shape[1:]),
        log_det.expand(len(square)),
        float(np.sqrt(noise_variance)),
    )


def _outer_sums(total: Tensor, mean: Tensor, count: Tensor, *, area_of: Tensor, areas: int) -> Tensor:
    """Return, by area, the sum over its cells of S m' + m S' - n m m': what centring subtracts from the squares."""
    out = torch.zeros(areas, total.shape[1], total.shape[1], dtype=total.dtype)
    for area in range(areas):
        cells = area_of == area
        m, cross = mean[cells], total[cells] - 0.5 * count[cells, None] * mean[cells]
        half = cross.T @ m
        out[area] = half + half.T
    return out


def choose_shrinkage(
    embeddings: Embeddings,
    held_out: IntArray,
    sums: PatchSums,
    *,
    grid: ReferenceGrid,
    choices: Sequence[Shrinkage],
    ridge: float,
) -> tuple[Shrinkage, list[float]]:
    """Choose the shrinkage under which held-out images are likeliest.

    Args:
        embeddings: of N images.
        held_out: images that `sums` does not count.
        sums, grid, ridge: see `fit_gaussians`.
        choices: to choose from.

    Returns:
        The best, and the loss of each choice: the median over images of the mean over an image's patches, in nats per
        dimension.
    """
    losses = []
    for shrinkage in choices:
        gaussians = fit_gaussians(sums, grid, shrinkage=shrinkage, ridge=ridge)
        by_image = [image_nll(embeddings, image, gaussians).mean() for image in held_out.tolist()]
        losses.append(float(np.median(by_image)))
    return choices[int(np.argmin(losses))], losses


def image_nll(embeddings: Embeddings, image: int, gaussians: PositionGaussians) -> FloatArray:
    """Return the negative log-likelihood of each patch of an image, (P,) in nats per dimension."""
    positions = positions_of(*embeddings.grids[image].tolist())
    nll: FloatArray = gaussians.nll(torch.from_numpy(embeddings.patches(image)), positions).numpy()
    return nll
