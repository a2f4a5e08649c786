"""Which images were taken otherwise than the rest: in another light, or out of focus?

A network that tells parts apart hardly sees the light: on real parts an image at 60 % of its brightness scores as many
others do. So five measures of an image (`Optics`) are held against those of its nominal set, each by itself: an image
was taken otherwise if one lies farther out than the middle 80 % of the set are wide, one and a half times. Up to a
tenth of the set may lie out on one side; more than that are a part of the set, and nothing is said of them. Of
sharpness only less is a fault. A set whose parts are of many shades is judged as mildly as it is wide.

Ours. Measured (examples/bench/shots.py; four sets of real parts, one image in 25 changed by code): at 60 % of the light
all are found on mvtec_bottle, 62 % on mvtec_metal_nut, none on magnetic_tile and elpv_mono, whose images differ as
much by themselves; a tint is found everywhere; of images that are as they were 0.1 % are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.records import FloatArray, IntArray, Optics
from curate.scores.by_label import label_rows

FEWEST = 20
"""Different images that a nominal set must have, so that a tenth of it are some."""

OUTSIDE = 0.1
"""Share of a set below, and above, the middle part that an image is held against."""

FAR = 1.5
"""How many widths of that part beyond it an image was taken otherwise; of a normal curve, 5 standard deviations."""


@dataclass(frozen=True)
class Measure:
    """One measure of an image.

    Attributes:
        name: the attribute of `Optics`.
        lower, higher: what an image is called that has less, or more; "" where that is no fault.
        least: width of the middle part at least, as a share: what is told apart in a set that is always taken alike.
        offset: added before shares are taken: what hardly is anything, in the measure's own unit.
    """

    name: str
    lower: str
    higher: str
    least: float
    offset: float = 0.0


MEASURES = (
    Measure("brightness", "darker", "brighter", least=0.06, offset=4.0),
    Measure("contrast", "of less contrast", "of more contrast", least=0.06, offset=2.0),
    Measure("sharpness", "less sharp", "", least=0.06),
    Measure("red", "less red", "redder", least=0.03),
    Measure("blue", "less blue", "bluer", least=0.03),
)


@dataclass(frozen=True)
class Shot:
    """In what an image was taken otherwise than its nominal set.

    Attributes:
        called: what it is beside the others: "darker".
        measure: name of the measure that lies so far out.
        value: the image's.
        low, high: between which the middle 80 % of the set lie.
        height: how far out it lies: 1 is the limit.
    """

    called: str
    measure: str
    value: float
    low: float
    high: float
    height: float


def as_table(optics: Sequence[Optics]) -> NDArray[np.float64]:
    """Return (N, 5): the measures of N images, one a column, in the order of `MEASURES`."""
    rows = [[getattr(one, measure.name) for measure in MEASURES] for one in optics]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(MEASURES))


def taken_otherwise(
    optics: NDArray[np.float64], names: Sequence[str], duplicates: IntArray
) -> dict[int, tuple[Shot, ...]]:
    """Find the images that were taken otherwise than the others of their nominal set.

    Args:
        optics: (N, 5) see `as_table`.
        names: N nominal sets.
        duplicates: (N,) equal numbers for exact duplicates: together they count once.

    Returns:
        By image, what lies farthest out first; none of a set of fewer than `FEWEST` different images.
    """
    found: dict[int, tuple[Shot, ...]] = {}
    for rows in label_rows(names).values():
        first = rows[np.unique(duplicates[rows], return_index=True)[1]]
        if len(first) < FEWEST:
            continue
        for column, measure in enumerate(MEASURES):
            height, low, high = _heights(optics[rows, column], optics[first, column], measure)
            for row, out in zip(rows.tolist(), height.tolist(), strict=True):
                if abs(out) > 1:
                    called = measure.higher if out > 0 else measure.lower
                    shot = Shot(called, measure.name, float(optics[row, column]), low, high, abs(out))
                    found[row] = (*found.get(row, ()), shot)
    return {row: tuple(sorted(shots, key=lambda shot: -shot.height)) for row, shots in found.items()}


def _heights(
    values: NDArray[np.float64], known: NDArray[np.float64], measure: Measure
) -> tuple[FloatArray, float, float]:
    """Return how far out each value lies, below 0 for one that is lower, and the middle part of the known ones."""
    low, high = np.quantile(known, (OUTSIDE, 1 - OUTSIDE)).tolist()
    bottom, top, place = low + measure.offset, high + measure.offset, values + measure.offset
    # a share above, a difference below: whichever lies less far out, so that a skewed set is judged mildly
    above = np.log(place / top) / (FAR * max(np.log(top / bottom), measure.least))
    below = (bottom - place) / (FAR * max(top - bottom, measure.least * bottom))
    above, below = (
        np.maximum(out, 0) if called else 0 * out for out, called in ((above, measure.higher), (below, measure.lower))
    )
    return np.asarray(above - below, dtype=np.float32), low, high
