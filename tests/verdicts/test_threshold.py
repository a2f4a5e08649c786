"""The fence: its laws, and that it holds from a clean to a half contaminated set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import false_discovery_control

from curate.choices import ThresholdMethod
from curate.verdicts.threshold import FAR_OUT, FEWEST_IMAGES, find_threshold

METHODS = tuple(ThresholdMethod)


def contaminated(share: float, seed: int, images: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth: nominal scores around 1, anomalous ones well above."""
    rng = np.random.default_rng(seed)
    truth = np.arange(images) < round(share * images)
    scores = np.where(truth, rng.normal(3, 0.4, images), rng.normal(1, 0.1, images))
    return scores.astype(np.float32), truth


def flagged_share(scores: np.ndarray) -> float:
    return float(np.mean(scores > find_threshold(scores).value))


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25)
@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10), seed=st.integers(0, 5))
def test_the_threshold_moves_with_shift_and_scale(method: ThresholdMethod, scale: float, shift: float, seed: int):
    scores, _ = contaminated(0.2, seed)
    moved = find_threshold(scores.astype(np.float64) * scale + shift, method)
    assert_allclose(moved.value, find_threshold(scores, method).value * scale + shift, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.3, 0.4, 0.45])
def test_the_fence_parts_the_anomalous_at_any_minority_share(share: float):
    for seed in range(5):
        scores, truth = contaminated(share, seed)
        flagged = scores > find_threshold(scores).value
        assert flagged[truth].all()
        assert flagged[~truth].mean() < 0.05


def test_a_clean_set_is_left_almost_whole():
    flagged = [flagged_share(contaminated(0, seed)[0]) for seed in range(40)]
    assert np.mean(flagged) < 0.02


def test_the_published_fence_is_masked_where_ours_holds():
    scores, truth = contaminated(0.4, 0)
    assert not (scores > find_threshold(scores, ThresholdMethod.IQR).value).any()
    assert (scores > find_threshold(scores).value).sum() >= truth.sum()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.4])
def test_the_median_based_threshold_holds_where_the_quartile_is_anomalous(share: float):
    """Until the anomalous images themselves widen the distances from the median."""
    scores, truth = contaminated(share, 0)
    flagged = scores > find_threshold(scores, ThresholdMethod.MEDIAN).value
    assert flagged[truth].all()
    assert flagged[~truth].mean() <= 0.03


def test_the_median_based_threshold_is_three_standard_deviations_of_a_normal_curve():
    scores = np.random.default_rng(0).normal(5, 2, 100_000)
    assert find_threshold(scores, ThresholdMethod.MEDIAN).value == pytest.approx(5 + 3 * 2, rel=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30, 1e20])
def test_equal_scores_flag_nothing(method: ThresholdMethod, value: float):
    found = find_threshold(np.full(50, value, dtype=np.float32), method)
    assert found.contamination == 0
    assert found.note


def test_few_images_flag_nothing_and_say_why():
    found = find_threshold(np.array([*[1.0] * (FEWEST_IMAGES - 2), 100.0], dtype=np.float32))
    assert found.contamination == 0
    assert str(FEWEST_IMAGES) in found.note


def test_the_order_of_the_scores_does_not_matter():
    scores, _ = contaminated(0.3, 1)
    assert find_threshold(scores[::-1]).as_json() == find_threshold(scores).as_json()


def test_scores_that_are_whole_numbers_are_fenced_too():
    scores = np.array([*[1.0] * 12, *[1.1] * 12, *[3.0] * 14, 50.0, 51.0])
    assert 1.1 < find_threshold(scores).value < 3


def test_a_false_discovery_rate_flags_by_q_value_and_takes_the_place_of_the_threshold():
    scores, truth = contaminated(0.2, 3)
    strict, loose = (scores > find_threshold(scores, fdr=fdr).value for fdr in (0.01, 0.3))
    assert strict[truth].all()
    assert strict.sum() <= loose.sum()
    q = false_discovery_control(find_threshold(scores).mixture.p_value(scores.astype(np.float64)))
    assert (loose == (q <= 0.3)).all()


def test_a_skewed_clean_set_is_left_almost_whole():
    rng = np.random.default_rng(0)
    flagged = [flagged_share(rng.lognormal(0, 0.3, 200)) for _ in range(40)]
    assert np.mean(flagged) < 0.02


def by_degrees(seed: int, images: int = 100) -> np.ndarray:
    """Return scores of images that differ by degrees in one thing: the square of how far each is off, and noise."""
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 1, images) ** 2 + rng.normal(0, 0.1, images)).astype(np.float32)


def test_a_clean_set_that_differs_by_degrees_in_one_thing_is_left_almost_whole():
    shares = [flagged_share(by_degrees(seed)) for seed in range(30)]
    assert np.mean(shares) < 0.04
    assert np.quantile(shares, 0.9) < 0.1  # without that shape 29 % are flagged in the mean


def test_defects_among_images_that_differ_by_degrees_are_found():
    found, false = [], []
    for seed in range(10):
        scores = by_degrees(seed)
        scores[:10] += np.random.default_rng(seed).uniform(15, 40, 10).astype(np.float32)
        flagged = scores > find_threshold(scores).value
        found.append(flagged[:10].mean())
        false.append(flagged[10:].mean())
    assert np.mean(found) > 0.95
    assert np.mean(false) < 0.05


def test_a_handful_far_out_is_flagged_though_a_long_tail_is_likelier():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.lognormal(0, 0.3, 197), [2.7, 2.9, 3.1]])
    found = find_threshold(scores)
    assert (scores > found.value).sum() == 3
    assert found.value == pytest.approx(found.q3 + FAR_OUT * (found.q3 - found.q1))
    assert found.mixture.confidence(np.array([2.7]))[0] > 0.5


def test_two_kinds_of_nominal_images_are_not_taken_for_halves():
    flagged = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores = rng.normal(np.where(np.arange(200) % 2, 0, 1.8), 0.6).astype(np.float32)
        flagged.append(flagged_share(scores) if find_threshold(scores).may_be_clean else 0.0)
    assert np.mean(flagged) < 0.01


def test_where_a_clean_set_is_excluded_the_fence_may_lie_low():
    scores, _ = contaminated(0.4, 0)
    found = find_threshold(scores)
    assert not found.may_be_clean
    assert found.value < found.q3
