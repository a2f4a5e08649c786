"""Positions of patches within an image, and the grid of cells that images of any size share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curate.records import Embeddings, FloatArray, IntArray

MAX_CELLS = 32
"""Rows and columns of the reference grid at most."""

AREA_CELLS = 2
"""Cells along one side of an area."""

BLOCK_IMAGES = 32
"""Images whose patches are held at once."""


@dataclass(frozen=True)
class ReferenceGrid:
    """A grid of `rows` x `columns` cells over every image; 2 x 2 cells are an area."""

    rows: int
    columns: int

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    def areas(self) -> IntArray:
        """Return (cells,) the area of each cell."""
        areas_per_row = -(-self.columns // AREA_CELLS)
        row, column = np.divmod(np.arange(self.cells), self.columns)
        return np.asarray(row // AREA_CELLS * areas_per_row + column // AREA_CELLS, dtype=np.int64)

    def cells_of(self, positions: FloatArray) -> IntArray:
        """Return the cell of each position: (P, 2), row and column in 0-1, -> (P,)."""
        cell = np.minimum((positions * (self.rows, self.columns)).astype(np.int64), (self.rows - 1, self.columns - 1))
        return np.asarray(cell[:, 0] * self.columns + cell[:, 1], dtype=np.int64)


def reference_grid(grids: IntArray) -> ReferenceGrid:
    """Return the median of the patch grids, (N, 2) rows and columns."""
    rows, columns = np.clip(np.median(grids, axis=0).astype(int), 1, MAX_CELLS).tolist()
    return ReferenceGrid(rows, columns)


def positions_of(rows: int, columns: int) -> FloatArray:
    """Return the centre of each patch, (rows * columns, 2) row and column in 0-1, row-major."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.stack([(row + 0.5) / rows, (column + 0.5) / columns], axis=1).astype(np.float32)


@dataclass(frozen=True)
class PatchBlock:
    """The patches of a few images, one image below another.

    Attributes:
        images: (B,) their indices.
        patches: (P, D) descriptors.
        positions: (P, 2) row and column, 0-1.
    """

    images: IntArray
    patches: FloatArray
    positions: FloatArray


def patch_blocks(embeddings: Embeddings, images: IntArray) -> Iterator[PatchBlock]:
    """Yield the patches of `images`, some images at a time."""
    for start in range(0, len(images), BLOCK_IMAGES):
        block = images[start : start + BLOCK_IMAGES]
        patches = np.concatenate([embeddings.patches(image) for image in block.tolist()])
        positions = np.concatenate([positions_of(*grid) for grid in embeddings.grids[block].tolist()])
        yield PatchBlock(block, patches, positions)
