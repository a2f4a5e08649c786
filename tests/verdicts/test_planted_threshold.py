"""The threshold and the confidence where defects were planted in the set's images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.verdicts.significance import expected_precision, uncertain
from curate.verdicts.threshold import EVEN, TELLS_FROM, defect_lift, find_threshold

N = 80


def clean(seed: int = 0, spread: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, spread, N).astype(np.float32)


@pytest.mark.parametrize("lift", [None, 0.05, 0.5, 3.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_confidence_falls_as_the_score_rises_and_is_at_most_even_above_the_threshold(lift: float | None, seed: int):
    scores = clean(seed)
    scores[:8] += 1
    found = find_threshold(scores, lift=lift)
    rising = np.linspace(-2, 6, 400).astype(np.float32)
    confidence = found.confidence(rising)
    assert (np.diff(confidence) <= 1e-9).all()
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    if lift is not None:
        assert (confidence[rising > found.value] <= EVEN).all()


def test_without_a_mixture_nothing_speaks_against_an_image():
    found = find_threshold(np.ones(30), lift=1.0)
    assert found.confidence(np.array([0.0, 5.0])).tolist() == [1, 1]
    assert not found.cannot_tell


def test_the_threshold_follows_what_a_planted_defect_adds_but_keeps_clear_of_the_nominal_images():
    scores = clean()
    far, near, nothing = (find_threshold(scores, lift=lift).value for lift in (3.0, 0.6, 0.0))
    assert far > near > nothing > scores.max() - 0.1
    assert (scores > nothing).mean() < 0.03


@pytest.mark.parametrize(("lift", "cannot"), [(0.0, True), (0.5, True), (1.5, False), (20.0, False)])
def test_a_lift_below_what_nominal_images_vary_by_says_that_nobody_can_tell(lift: float, cannot: bool):
    spread = find_threshold(clean()).mixture.nominal_spread
    found = find_threshold(clean(), lift=lift * TELLS_FROM * spread)
    assert found.cannot_tell is cannot
    assert (found.contamination_high > 0.5) or not cannot  # whatever is there would not be seen
    assert not find_threshold(clean()).cannot_tell


@pytest.mark.parametrize("lift", [None, 0.02, 0.4, 2.0])
@pytest.mark.parametrize("defects", [0, 8, 30])
def test_the_estimated_contamination_lies_within_its_interval(lift: float | None, defects: int):
    scores = clean()
    scores[:defects] += 1
    found = find_threshold(scores, lift=lift)
    assert 0 <= found.contamination_low <= found.contamination <= found.contamination_high <= 1


@settings(max_examples=20)
@given(added=st.floats(0.1, 10), seed=st.integers(0, 20))
def test_a_lift_is_what_the_clear_defects_add_to_ordinary_images(added: float, seed: int):
    values, base = clean(seed), np.arange(0, N, 2)
    assert defect_lift(values, values[base] + np.float32(added), base) == pytest.approx(added, rel=1e-3)


def test_a_lift_is_never_negative_and_an_image_that_is_defective_already_does_not_count():
    values = clean()
    base = np.arange(N)
    assert defect_lift(values, values - 5, base) == 0
    planted = values + 1
    values[:20] = planted[:20] = 9  # nothing can be added to these
    assert defect_lift(values, planted, base) == pytest.approx(1, rel=1e-3)
    assert defect_lift(values, planted[:20], base[:20]) == 0  # where there are no others


def test_an_image_is_uncertain_if_it_is_kept_but_not_surely_nominal_or_flagged_by_a_score_but_rather_nominal():
    confidence = np.array([0.2, 0.2, 0.8, 0.8, 0.8, 0.5], dtype=np.float32)
    flagged = np.array([False, True, False, True, True, False])
    above = np.array([False, True, False, True, False, False])
    found = uncertain(confidence, flagged=flagged, above=above)
    assert found.tolist() == [True, False, False, True, False, True]  # the last but one is flagged for its light, say


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), min_size=1, max_size=30))
def test_expected_precision_is_the_mean_over_all_that_score_at_least_as_high(images: list[tuple[int, float]]):
    scores, confidence = (np.array(values, dtype=np.float32) for values in zip(*images, strict=True))
    found = expected_precision(scores, confidence)
    for i in range(len(scores)):
        assert found[i] == pytest.approx(1 - confidence[scores >= scores[i]].mean(dtype=np.float64), abs=1e-6)


def test_no_image_has_no_expected_precision():
    nothing = np.zeros(0, dtype=np.float32)
    assert len(expected_precision(nothing, nothing)) == 0
