"""The mixture: what it says of scores whose truth is known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from curate.verdicts.mixture import fit_mixture
from tests.verdicts.test_threshold import contaminated


def fitted(scores: np.ndarray):
    return fit_mixture(np.sort(scores.astype(np.float64)), 1e-9)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
def test_the_contamination_is_estimated_and_its_interval_holds_it(share: float):
    off = []
    for seed in range(4):
        mixture = fitted(contaminated(share, seed)[0])
        off.append(mixture.contamination - share)
        assert mixture.contamination_low - 0.02 <= share <= mixture.contamination_high + 0.02
    assert abs(np.mean(off)) < 0.03


def test_confidence_falls_and_never_rises_with_the_score():
    scores, _ = contaminated(0.2, 0)
    confidence = fitted(scores).confidence(np.linspace(scores.min() - 9, scores.max() + 50, 2000))
    assert (np.diff(confidence) <= 1e-9).all()
    assert confidence[0] > 0.99
    assert confidence[-1] < 0.01


def test_confidence_means_what_it_says():
    """Of images drawn with effects as the model takes them, about the share that the confidence promises is nominal."""
    rng = np.random.default_rng(0)
    said, true = [], []
    for _ in range(30):
        truth = rng.random(200) < rng.uniform(0.05, 0.4)
        scores = rng.normal(0, 1, 200) + truth * rng.gamma(3, 2, 200)
        said.append(fitted(scores).confidence(scores))
        true.append(~truth)
    said, true = np.concatenate(said), np.concatenate(true)
    bins = np.minimum((said * 10).astype(int), 9)
    gaps = [np.mean(bins == b) * abs(said[bins == b].mean() - true[bins == b].mean()) for b in np.unique(bins)]
    assert sum(gaps) < 0.05  # the expected calibration error


def test_p_values_of_nominal_images_are_uniform_at_least():
    rng = np.random.default_rng(1)
    p = np.concatenate([fitted(s := rng.normal(0, 1, 200)).p_value(s) for _ in range(20)])
    for level in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(p <= level) < 1.5 * level


def test_shift_and_scale_change_nothing_but_the_place():
    scores, _ = contaminated(0.3, 2)
    values = scores.astype(np.float64)
    one, other = fitted(values), fitted(5 * values - 100)
    assert_allclose(one.confidence(values), other.confidence(5 * values - 100), atol=1e-6)
    assert one.contamination == pytest.approx(other.contamination, abs=1e-6)


def test_a_large_set_costs_no_more_than_a_small_one_and_says_the_same():
    small, large = (fitted(contaminated(0.2, 0, images=n)[0]) for n in (400, 20_000))
    assert small.contamination == pytest.approx(large.contamination, abs=0.05)


def test_scores_with_ties_and_a_spread_of_nothing_below_are_judged():
    scores = np.array([1.0] * 40 + [2.0, 3.0], dtype=np.float64)
    confidence = fitted(scores).confidence(scores)
    assert confidence[0] > 0.9
    assert confidence[-1] < 0.5
