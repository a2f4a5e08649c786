"""The eight ways in which a picture can lie: turned by quarter turns, mirrored or not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.records import FloatArray, IntArray

ORIENTATIONS = (
    "",
    "turned by 90 degrees",
    "turned by 180 degrees",
    "turned by 270 degrees",
    "mirrored and turned by 90 degrees",
    "mirrored top to bottom",
    "mirrored and turned by 270 degrees",
    "mirrored left to right",
)
"""In words, counter-clockwise; "" for a picture that lies as it did."""


def oriented(picture: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a picture (H, W, ...) in an orientation, an index of `ORIENTATIONS`; odd quarter turns swap the sides."""
    start = picture.swapaxes(0, 1) if orientation >= 4 else picture
    return np.rot90(start, orientation % 4)


def is_on_its_side(orientation: int) -> bool:
    """Return whether width and height are swapped."""
    return orientation in {1, 3, 4, 6}


CELLS = 8
"""Cells a side of the thumbnail that `unoriented` summarises."""


def unoriented(values: NDArray[np.float16]) -> FloatArray:
    """Return N x 20 numbers that no orientation of a square picture (N, S, S) changes.

    The picture is averaged to 8 x 8 cells. The cells that turns and mirrors exchange are one orbit; an orbit gives the
    mean and the standard deviation of its cells.

    Source: ours.
    """
    side = values.shape[1] // CELLS
    cells = values.reshape(-1, CELLS, side, CELLS, side).mean(axis=(2, 4), dtype=np.float32).reshape(-1, CELLS**2)
    orbits = _orbits()
    means = np.stack([cells[:, orbit].mean(axis=1) for orbit in orbits], axis=1)
    deviations = np.stack([cells[:, orbit].std(axis=1) for orbit in orbits], axis=1)
    return np.concatenate([means, deviations], axis=1).astype(np.float32)


def _orbits() -> list[IntArray]:
    """Return the cells of each orbit of the thumbnail, as places in its rows one after another."""
    places = np.arange(CELLS**2).reshape(CELLS, CELLS)
    first = np.min([oriented(places, orientation) for orientation in range(len(ORIENTATIONS))], axis=0)
    return [np.flatnonzero(first == place) for place in np.unique(first)]
