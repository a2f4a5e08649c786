"""Acquisition outliers: images in different lighting, or less in focus, than the rest of their nominal set.

A network that tells parts apart hardly sees the light: on real parts an image at 60 % of its brightness scores as many
others do. So five measures of an image (`Optics`) are compared with those of its nominal set, each by itself. An image
is an outlier if one lies farther outside the middle 80 % of the set than one and a half times their width. Up to a
tenth of the set may lie outside on one side; more than that are a part of the set, and nothing is reported. Less
sharpness is a fault, more is none. A set whose parts are of many shades is judged as mildly as it is wide.

Source: ours; see docs/experiments and examples/bench/acquisition_outliers.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.records import FloatArray, IntArray, Optics
from curate.verdicts.threshold import first_of_each

FEWEST = 20
"""Different images that a nominal set must have, so that a tenth of it are some."""

OUTSIDE = 0.1
"""Share of a set below, and above, the middle part that an image is compared with."""

FAR = 1.5
"""How many widths of that part beyond it an image is an outlier; of a normal curve, 5 standard deviations."""


@dataclass(frozen=True)
class Measure:
    """One measure of an image.

    Attributes:
        name: the attribute of `Optics`.
        lower, higher: the word for an image that has less, or more; "" where that is no fault.
        least: width of the middle part at least, as a share: a difference in a set that is always taken alike.
        offset: added before shares are taken: a negligible amount, in the measure's own unit.
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
class AcquisitionOutlier:
    """In what an image differs from how its nominal set was taken.

    Attributes:
        difference: from the others, in words: "darker".
        measure: name of the measure.
        value: the image's.
        low, high: the middle 80 % of the set lie between them.
        relative: how far outside it lies: 1 is the limit.
    """

    difference: str
    measure: str
    value: float
    low: float
    high: float
    relative: float


def as_table(optics: Sequence[Optics]) -> NDArray[np.float64]:
    """Return (N, 5): the measures of N images, one a column, in the order of `MEASURES`."""
    rows = [[getattr(one, measure.name) for measure in MEASURES] for one in optics]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(MEASURES))


def acquisition_outliers(
    optics: NDArray[np.float64], duplicates: IntArray
) -> dict[int, tuple[AcquisitionOutlier, ...]]:
    """Find the images of a nominal set that differ from it in lighting or focus.

    Args:
        optics: (N, 5) see `as_table`.
        duplicates: (N,) equal numbers for exact duplicates: together they count once.

    Returns:
        By image, the largest difference first; nothing in a set of fewer than `FEWEST` different images.
    """
    first = first_of_each(duplicates)
    if len(first) < FEWEST:
        return {}
    outliers: dict[int, tuple[AcquisitionOutlier, ...]] = {}
    for column, measure in enumerate(MEASURES):
        relative, low, high = _relative(optics[:, column], optics[first, column], measure)
        for row in np.flatnonzero(np.abs(relative) > 1).tolist():
            difference = measure.higher if relative[row] > 0 else measure.lower
            outlier = AcquisitionOutlier(
                difference, measure.name, float(optics[row, column]), low, high, abs(float(relative[row]))
            )
            outliers[row] = (*outliers.get(row, ()), outlier)
    return {row: tuple(sorted(of_row, key=lambda one: -one.relative)) for row, of_row in outliers.items()}


def _relative(
    values: NDArray[np.float64], counted: NDArray[np.float64], measure: Measure
) -> tuple[FloatArray, float, float]:
    """Return how far outside the counted values' middle part each value lies, below 0 if lower; and its ends."""
    low, high = np.quantile(counted, (OUTSIDE, 1 - OUTSIDE)).tolist()
    bottom, top, shifted = low + measure.offset, high + measure.offset, values + measure.offset
    # a share above, a difference below: whichever lies less far out, so that a skewed set is judged mildly
    above = np.log(shifted / top) / (FAR * max(np.log(top / bottom), measure.least))
    below = (bottom - shifted) / (FAR * max(top - bottom, measure.least * bottom))
    above, below = (
        np.maximum(out, 0) if word else 0 * out for out, word in ((above, measure.higher), (below, measure.lower))
    )
    return np.asarray(above - below, dtype=np.float32), low, high
