"""The student's input: the descriptors around each patch of a grid, and the patch's position.

The patch itself and all up to two steps away are left out: a descriptor averages its stage over 3 x 3 patches, and a
student that sees a part of a defect could copy it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

Window = tuple[int, int, int, int]
"""First row and the row after the last, first column and the column after the last, relative to a patch."""


def square(reach: int) -> Window:
    """Return the window of all patches up to `reach` steps away."""
    return (-reach, reach + 1, -reach, reach + 1)


SURROUNDINGS: tuple[tuple[Window, Window | None], ...] = (
    (square(3), square(2)),
    (square(6), square(3)),
    ((-4, -2, 0, 1), None),
    ((3, 5, 0, 1), None),
    ((0, 1, -4, -2), None),
    ((0, 1, 3, 5), None),
)
"""Two rings (a window without a smaller one), and two patches above, below, left and right."""

REACH = 7
"""The largest edge of a window."""

CELLS = 8
"""Position is encoded by soft cells, 8 x 8 over the image."""

LEAST_SHARE = 1e-3
"""Directions of less variance than this share of the largest are not scaled up further."""


@dataclass(frozen=True)
class PartialWhitening:
    """Centres descriptors and shrinks their wide directions: (x - mean) @ matrix.

    Attributes:
        mean: (D,).
        matrix: (D, width).
    """

    mean: Tensor
    matrix: Tensor

    def __call__(self, descriptors: Tensor) -> Tensor:
        return (descriptors - self.mean) @ self.matrix


def partial_whitening(mean: Tensor, covariance: Tensor, width: int) -> PartialWhitening:
    """Return the projection to the `width` widest directions, each scaled by its variance to the power -1/4.

    Without whitening few directions decide; full whitening (the power -1/2) raises noise to the level of the signal.
    The whole is scaled to a mean variance of 1.

    Args:
        mean, covariance: (D,) and (D, D), float64.
        width: at most D.
    """
    variance, directions = torch.linalg.eigh(covariance)
    variance, directions = variance.flip(0)[:width], directions.flip(1)[:, :width]
    floored = variance.clamp(min=max(float(variance[0]) * LEAST_SHARE, 1e-12))
    matrix = directions * floored.pow(-0.25)
    scale = float((variance.clamp(min=0) * floored.pow(-0.5)).mean()) ** 0.5
    return PartialWhitening(mean.float(), (matrix / max(scale, 1e-6)).float())


def moments(blocks: Iterable[Tensor], width: int) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) and covariance (D, D), float64, of descriptors that come in blocks of (P, D)."""
    count = 0
    total = torch.zeros(width, dtype=torch.float64)
    products = torch.zeros((width, width), dtype=torch.float64)
    for block in blocks:
        count += len(block)
        total += block.sum(dim=0, dtype=torch.float64)
        products += (block.T @ block).double()
    mean = total / max(1, count)
    return mean, products / max(1, count) - torch.outer(mean, mean)


def surrounding_means(grid: Tensor) -> Tensor:
    """Average a grid over the surroundings of each patch: (rows, columns, D) -> (rows * columns, 6 D).

    A window averages its patches inside the image only; one that lies outside altogether gives 0.
    """
    rows, columns, width = grid.shape
    sums = torch.cat(_surrounding_sums(grid), dim=2)  # (rows, columns, 6 D)
    means = sums * _inverse_counts(rows, columns).repeat_interleave(width, dim=2)
    return means.reshape(rows * columns, -1)


def _surrounding_sums(grid: Tensor) -> list[Tensor]:
    """Return the sum of each of the surroundings, (rows, columns, D) each, by an integral image."""
    rows, columns, _ = grid.shape
    padded = functional.pad(grid, (0, 0, REACH + 1, REACH, REACH + 1, REACH))
    integral = padded.cumsum(dim=0).cumsum(dim=1)

    def box(window: Window) -> Tensor:
        top, bottom, left, right = (REACH + edge for edge in window)
        strip = integral[bottom : bottom + rows] - integral[top : top + rows]
        return strip[:, right : right + columns] - strip[:, left : left + columns]

    return [box(outer) if inner is None else box(outer) - box(inner) for outer, inner in SURROUNDINGS]


@lru_cache(maxsize=256)
def _inverse_counts(rows: int, columns: int) -> Tensor:
    """Return 1 over the number of patches in each of the surroundings, 0 where there is none: (rows, columns, 6)."""
    counts = torch.cat(_surrounding_sums(torch.ones((rows, columns, 1))), dim=2)
    return torch.where(counts > 0.5, 1 / counts.clamp(min=1), 0.0)


@lru_cache(maxsize=256)
def position_encoding(rows: int, columns: int) -> Tensor:
    """Return how much each patch lies in each of 8 x 8 soft cells: (rows * columns, 64), of a mean square of 1."""
    down, across = _soft_cells(rows), _soft_cells(columns)
    cells = (down[:, None, :, None] * across[None, :, None, :]).reshape(rows * columns, CELLS * CELLS)
    return cells / cells.square().mean().sqrt()


def _soft_cells(count: int) -> Tensor:
    at = (torch.arange(count) + 0.5) / count
    centres = (torch.arange(CELLS) + 0.5) / CELLS
    closeness = torch.exp(-((CELLS * (at[:, None] - centres)) ** 2))
    return closeness / closeness.sum(dim=1, keepdim=True)
