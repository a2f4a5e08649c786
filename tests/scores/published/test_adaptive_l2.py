"""The L2 penalty that uncertainty guides."""

import numpy as np
import pytest
import torch

from curate.scores.published.rad.adaptive_l2 import AdaptiveL2, mean_square, uncertainty

RNG = np.random.default_rng


def settled(tasks: int = 50) -> np.ndarray:
    """Return losses that vary at first and are then constant, almost."""
    pairs = RNG(0).normal(size=(tasks, 2))
    pairs[-10:] *= 1e-3
    return pairs


def test_lambda_lies_between_its_base_and_the_whole_gain():
    penalty = AdaptiveL2(0.01, 0.5)
    for support, query in RNG(1).normal(size=(60, 2)):
        assert 0.01 <= penalty.next_weight() <= 0.015
        penalty.observe(support, query)
    assert len(penalty.trajectory) == 60
    assert len(set(penalty.trajectory)) > 10


def test_lambda_equals_the_formula():
    pairs = RNG(2).normal(size=(9, 2))
    standard = (pairs - pairs.mean(axis=0)) / pairs.std(axis=0)
    determinant = np.linalg.det(np.cov(standard[-5:], rowvar=False))
    penalty = AdaptiveL2(0.005, 0.5)
    for support, query in pairs:
        penalty.observe(support, query)
    assert penalty.next_weight() == pytest.approx(0.005 * (1 + 0.5 * np.log1p(determinant) / np.log1p(100)))


def test_losses_that_have_settled_lower_the_uncertainty():
    pairs = settled()
    assert uncertainty(pairs, 5) < 0.01 < uncertainty(pairs[:30], 5)


def test_uncertainty_does_not_depend_on_the_losses_units():
    pairs = settled()
    assert uncertainty(pairs * (3.0, 0.2) + (5.0, -1.0), 5) == pytest.approx(uncertainty(pairs, 5))


@pytest.mark.parametrize("pairs", [np.zeros((0, 2)), np.zeros((1, 2)), np.ones((20, 2))])
def test_too_few_or_constant_losses_leave_lambda_at_its_base(pairs: np.ndarray):
    assert uncertainty(pairs, 5) == pytest.approx(0, abs=1e-6)


def test_without_a_gain_the_penalty_is_constant():
    penalty = AdaptiveL2(0.005, 0.0)
    for support, query in settled():
        penalty.observe(support, query)
        penalty.next_weight()
    assert set(penalty.trajectory) == {0.005}


def test_the_penalty_is_the_mean_of_squares_whatever_the_number_of_weights():
    small = {"a": torch.full((2,), 3.0), "b": torch.full((2,), 1.0)}
    large = {name: weight.repeat(1000) for name, weight in small.items()}
    assert float(mean_square(small)) == pytest.approx(5)
    assert float(mean_square(large)) == pytest.approx(5)
