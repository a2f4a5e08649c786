"""Detection power: which of the defects that were planted in a set's own images lie above its threshold?

Planted defects are easier than real ones: they are sharp, and each is the only one of its kind.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from scipy.stats import binomtest, mannwhitneyu

from curate.records import BoolArray, FloatArray, Json, PlantedDefect, PlantedImages
from curate.verdicts.threshold import Threshold

SIZE_EDGES = (0.0, 0.07, 0.15, 1.0)
"""Sizes of planted defects are told apart at these shares of the longest side."""

CONTRAST_EDGES = (0.0, 0.65, 1.0)

INTERVAL = 0.9
"""The confidence of the intervals of a share that is found (Clopper and Pearson 1934)."""

UNLIKE_NOMINAL = 0.05
"""A family whose scores are higher than those of nominal images by chance this often is told from them."""

LEAST_OF_FAMILY = 3
"""Of a family with fewer planted defects nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Power:
    """What Q planted defects score.

    Attributes:
        defects: Q, what was planted.
        values: (Q,) joined scores of the planted images.
        found: (Q,) whether each lies above the threshold.
    """

    defects: tuple[PlantedDefect, ...]
    values: FloatArray
    found: BoolArray


def power_of(planted: PlantedImages, values: FloatArray, threshold: Threshold) -> Power:
    """Hold the scores of planted images, (Q,), against a threshold; where nothing can be flagged, none is found."""
    found = values > threshold.value if not threshold.note else np.zeros(len(values), dtype=np.bool_)
    return Power(defects=planted.defects, values=values, found=found)


def found_share(powers: Sequence[Power]) -> float | None:
    """Return the share of planted defects that are found, 0-1, over several nominal sets; None without any."""
    found = np.concatenate([power.found for power in powers]) if powers else np.zeros(0, dtype=np.bool_)
    return float(found.mean()) if len(found) else None


def power_table(powers: Sequence[Power]) -> list[dict[str, Json]]:
    """Return how many planted defects of each size and contrast are found, over several nominal sets.

    Returns:
        A row for each cell that holds a defect: `size_low`, `size_high`, `contrast_low`, `contrast_high`, `planted`,
        `found`, and the interval of the share found, `low` to `high`, 0-1.
    """
    sizes = np.array([defect.size for power in powers for defect in power.defects])
    contrasts = np.array([defect.contrast for power in powers for defect in power.defects])
    found = np.concatenate([power.found for power in powers]) if powers else np.zeros(0, dtype=np.bool_)
    return list(_cells(sizes, contrasts, found))


def _cells(sizes: FloatArray, contrasts: FloatArray, found: BoolArray) -> Iterator[dict[str, Json]]:
    for size, contrast in product(pairwise(SIZE_EDGES), pairwise(CONTRAST_EDGES)):
        inside = (sizes > size[0]) & (sizes <= size[1]) & (contrasts > contrast[0]) & (contrasts <= contrast[1])
        if inside.any():
            yield {
                "size_low": size[0],
                "size_high": size[1],
                "contrast_low": contrast[0],
                "contrast_high": contrast[1],
                **_share(int(found[inside].sum()), int(inside.sum())),
            }


def _share(found: int, planted: int) -> dict[str, Json]:
    interval = binomtest(found, planted).proportion_ci(INTERVAL)
    return {"planted": planted, "found": found, "low": float(interval.low), "high": float(interval.high)}


def families_like_nominal(power: Power, nominal: FloatArray) -> list[str]:
    """Return the families of planted defects whose scores do not differ from those of nominal images.

    Args:
        power: of one nominal set.
        nominal: (K,) joined scores of its kept images.
    """
    names = np.array([defect.family for defect in power.defects])
    like = []
    for name in sorted(set(names.tolist())):
        scores = power.values[names == name]
        enough = len(nominal) > 0 and len(scores) >= LEAST_OF_FAMILY
        if enough and mannwhitneyu(scores, nominal, alternative="greater").pvalue > UNLIKE_NOMINAL:
            like.append(name)
    return like
