"""What planted defects score: the share found with its interval, and the families that nobody could find."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from curate.records import PlantedDefect, PlantedImages
from curate.verdicts.power import (
    CONTRAST_EDGES,
    INTERVAL,
    LEAST_OF_FAMILY,
    SIZE_EDGES,
    Power,
    families_like_nominal,
    found_share,
    power_of,
    power_table,
)
from curate.verdicts.threshold import find_threshold
from tests.verdicts.test_judge import embeddings_of


def defect(family: str = "scratch", size: float = 0.1, contrast: float = 0.5) -> PlantedDefect:
    return PlantedDefect(family=family, size=size, contrast=contrast)


def power(defects: list[PlantedDefect], values: list[float], *, above: float = 1.0) -> Power:
    scores = np.array(values, dtype=np.float32)
    return Power(defects=tuple(defects), values=scores, found=scores > above)


def test_the_table_counts_each_defect_once_over_all_nominal_sets():
    sizes, contrasts = (0.03, 0.07, 0.0701, 0.15, 0.4, 1.0), (0.4, 0.65, 1.0)
    drawn = [defect(size=size, contrast=contrast) for size in sizes for contrast in contrasts]
    parts = [power(drawn[:7], [2.0] * 7), power(drawn[7:], [0.0] * (len(drawn) - 7)), power([], [])]
    table = power_table(parts)
    assert sum(row["planted"] for row in table) == len(drawn)
    assert sum(row["found"] for row in table) == 7
    assert {(row["size_low"], row["size_high"]) for row in table} == set(pairwise(SIZE_EDGES))
    assert {row["contrast_high"] for row in table} == set(CONTRAST_EDGES[1:])
    assert power_table([]) == power_table([power([], [])]) == []
    assert found_share(parts) == pytest.approx(7 / len(drawn))
    assert found_share([]) is found_share([power([], [])]) is None


@given(planted=st.integers(1, 30), found=st.integers(0, 30))
def test_the_interval_holds_the_share_and_no_likelier_end_would_exclude_it(planted: int, found: int):
    """Clopper and Pearson 1934: each end is the share at which so extreme a count has half the error's probability."""
    found = min(found, planted)
    (row,) = power_table([power([defect()] * planted, [2.0] * found + [0.0] * (planted - found))])
    assert 0 <= row["low"] <= found / planted <= row["high"] <= 1
    error = (1 - INTERVAL) / 2
    if found:
        assert binom.sf(found - 1, planted, row["low"]) == pytest.approx(error, abs=1e-6)
    if found < planted:
        assert binom.cdf(found, planted, row["high"]) == pytest.approx(error, abs=1e-6)


def planted_images(count: int) -> PlantedImages:
    return PlantedImages(
        embeddings=embeddings_of(np.zeros((count, 3))), base=np.arange(count), defects=(defect(),) * count
    )


def test_a_planted_defect_is_found_above_the_threshold_and_none_is_where_nothing_can_be_flagged():
    rng = np.random.default_rng(0)
    threshold = find_threshold(rng.normal(1, 0.1, 60))
    scores = np.array([threshold.value - 0.01, threshold.value + 0.01, 5], dtype=np.float32)
    assert power_of(planted_images(3), scores, threshold).found.tolist() == [False, True, True]
    assert not power_of(planted_images(3), scores, find_threshold(np.ones(60))).found.any()


def test_a_family_that_scores_as_nominal_images_do_is_named_and_one_that_scores_higher_is_not():
    rng = np.random.default_rng(0)
    nominal = rng.normal(1, 0.1, 100).astype(np.float32)
    drawn = [defect("blur")] * 8 + [defect("scratch")] * 8 + [defect("stain")] * (LEAST_OF_FAMILY - 1)
    scores = [*rng.normal(1, 0.1, 8), *rng.normal(1.3, 0.1, 8), *[0.9] * (LEAST_OF_FAMILY - 1)]
    assert families_like_nominal(power(drawn, scores), nominal) == ["blur"]  # too few stains to say anything
    assert families_like_nominal(power(drawn, scores), nominal[:0]) == []
