"""The L2 penalty that uncertainty guides."""

import numpy as np
import pytest
import torch

from curate.scores.regularization import AdaptiveL2, mean_square, uncertainty

RNG = np.random.default_rng


def settled(tasks: int = 50) -> np.ndarray:
    """Losses that jump about at first and then lie still."""
    pairs = RNG(0).normal(size=(tasks, 2))
    pairs[-10:] *= 1e-3
    return pairs


def test_lambda_lies_between_its_base_and_the_whole_gain():
    penalty = AdaptiveL2(0.01, 0.5)
    for support, query in RNG(1).normal(size=(60, 2)):
        assert 0.01 <= penalty.weight() <= 0.015
        penalty.saw(support, query)
    assert len(penalty.trajectory) == 60
    assert len(set(penalty.trajectory)) > 10


def test_lambda_equals_the_formula():
    pairs = RNG(2).normal(size=(9, 2))
    standard = (pairs - pairs.mean(axis=0)) / pairs.std(axis=0)
    determinant = np.linalg.det(np.cov(standard[-5:], rowvar=False))
    penalty = AdaptiveL2(0.005, 0.5)
    for support, query in pairs:
        penalty.saw(support, query)
    assert penalty.weight() == pytest.approx(0.005 * (1 + 0.5 * np.log1p(determinant) / np.log1p(100)))


def test_losses_that_have_settled_ask_for_less():
    pairs = settled()
    assert uncertainty(pairs, 5) < 0.01 < uncertainty(pairs[:30], 5)


def test_uncertainty_does_not_depend_on_the_losses_units():
    pairs = settled()
    assert uncertainty(pairs * (3.0, 0.2) + (5.0, -1.0), 5) == pytest.approx(uncertainty(pairs, 5))


@pytest.mark.parametrize("pairs", [np.zeros((0, 2)), np.zeros((1, 2)), np.ones((20, 2))])
def test_nothing_to_go_by_leaves_lambda_at_its_base(pairs: np.ndarray):
    assert uncertainty(pairs, 5) == pytest.approx(0, abs=1e-6)


def test_without_a_gain_the_penalty_is_constant():
    penalty = AdaptiveL2(0.005, 0.0)
    for support, query in settled():
        penalty.saw(support, query)
        penalty.weight()
    assert set(penalty.trajectory) == {0.005}


def test_the_penalty_is_the_mean_of_squares_whatever_the_number_of_weights():
    small = {"a": torch.full((2,), 3.0), "b": torch.full((2,), 1.0)}
    large = {name: weight.repeat(1000) for name, weight in small.items()}
    assert float(mean_square(small)) == pytest.approx(5)
    assert float(mean_square(large)) == pytest.approx(5)
