"""Where a patch lies: cells of a reference grid that images of any size share, and smooth features of a position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from curate.records import FloatArray, IntArray

MOST_CELLS = 32
"""Rows and columns of the reference grid at most."""

AREA_CELLS = 2
"""Cells along one side of an area."""

FREQUENCIES = (1, 2)


class Move(StrEnum):
    """Where else a patch could have lain; the pixels themselves are not turned or moved."""

    FLIP = "flip"
    ROTATION = "rotation"
    TRANSLATION = "translation"


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
        wide = -(-self.columns // AREA_CELLS)
        row, column = np.divmod(np.arange(self.cells), self.columns)
        return np.asarray(row // AREA_CELLS * wide + column // AREA_CELLS, dtype=np.int64)

    def cells_of(self, places: FloatArray) -> IntArray:
        """Return the cell of each place: (P, 2), row and column in 0-1, -> (P,)."""
        cell = np.minimum((places * (self.rows, self.columns)).astype(np.int64), (self.rows - 1, self.columns - 1))
        return np.asarray(cell[:, 0] * self.columns + cell[:, 1], dtype=np.int64)


def reference_grid(grids: IntArray) -> ReferenceGrid:
    """Return the middle one of all grids, (N, 2) rows and columns."""
    rows, columns = np.clip(np.median(grids, axis=0).astype(int), 1, MOST_CELLS).tolist()
    return ReferenceGrid(rows, columns)


def places_of(rows: int, columns: int) -> FloatArray:
    """Return the centre of each patch, (rows * columns, 2) row and column in 0-1, row-major."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.stack([(row + 0.5) / rows, (column + 0.5) / columns], axis=1).astype(np.float32)


def waves(places: FloatArray) -> FloatArray:
    """Return smooth features of places, (P, 2) -> (P, 8): sine and cosine of one and two half-turns a side."""
    angles = np.concatenate([np.pi * frequency * places for frequency in FREQUENCIES], axis=1)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1, dtype=np.float32)


def moved(places: FloatArray, moves: Sequence[Move]) -> list[FloatArray]:
    """Return the places themselves, and each of the ways in which `moves` change them."""
    out = [places]
    if Move.FLIP in moves:
        out += [np.abs(places - (0, 1)), np.abs(places - (1, 0))]
    if Move.ROTATION in moves:
        turned = np.stack([places[:, 1], 1 - places[:, 0]], axis=1)
        out += [turned, 1 - places, 1 - turned]
    if Move.TRANSLATION in moves:
        out += [np.clip(places + shift, 0, 1) for shift in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05))]
    return [way.astype(np.float32) for way in out]
