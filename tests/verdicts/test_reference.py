"""Trusted images: p-values without a model, the bound that holds at every score, and what is never flagged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import false_discovery_control

from curate.verdicts.reference import (
    DEFAULT_FDR,
    FEWEST_TRUSTED,
    Reference,
    SideInformation,
    make_reference,
    q_values,
)
from curate.verdicts.significance import significance
from curate.verdicts.threshold import Threshold, find_threshold


def reference_of(scores: np.ndarray) -> Reference:
    return Reference(scores=np.sort(scores.astype(np.float64)))


def trusted_set(seed: int, *, trusted: int = 200, tested: int = 200, anomalous: int = 0):
    """Return scores and which of them are trusted; the first tested ones are anomalous."""
    rng = np.random.default_rng(seed)
    scores = rng.gumbel(1, 0.1, tested + trusted).astype(np.float32)  # a long tail, as no model expects
    scores[:anomalous] += 3
    return scores, np.arange(tested + trusted) >= tested


def threshold_of(scores: np.ndarray, trusted: np.ndarray, fdr: float | None = None) -> Threshold:
    reference = make_reference(scores[trusted], np.arange(int(trusted.sum())))
    return find_threshold(scores, fdr=fdr, side=SideInformation(reference=reference, trusted=trusted))


def test_a_p_value_counts_the_trusted_scores_that_are_as_high():
    reference = reference_of(np.arange(20.0))
    assert_array_equal(reference.p_value(np.array([-1.0, 18.0, 18.5, 99.0])), np.array([21, 3, 2, 1]) / 21)
    assert_array_equal(reference.own_p_value(np.array([19.0, 0.0])), np.array([1, 20]) / 20)  # its own score aside


@pytest.mark.parametrize("trusted", [20, 57, 300])
def test_of_nominal_images_no_more_than_a_share_a_has_a_p_value_up_to_a(trusted: int):
    """Super-uniform, over draws of the trusted and of the nominal images."""
    draws = [np.random.default_rng(seed).lognormal(size=trusted + 50) for seed in range(300)]
    p = np.array([reference_of(scores[:trusted]).p_value(scores[trusted:]) for scores in draws])
    for level in (0.05, 0.1, 0.25, 0.5, 0.9):
        assert (p <= level).mean() <= level + 0.015


@pytest.mark.parametrize("anomalous", [0, 20])
@pytest.mark.parametrize(("trusted", "tested"), [(20, 60), (100, 100), (400, 60)])
def test_the_bound_holds_at_every_score_at_once_in_nine_of_ten_draws(trusted: int, tested: int, anomalous: int):
    failed = []
    for seed in range(60):
        scores, known = trusted_set(seed, trusted=trusted, tested=tested, anomalous=anomalous)
        asked, nominal = scores[~known], np.arange(tested) >= anomalous
        bound = reference_of(scores[known]).fdr_bound(asked, asked)
        order = np.argsort(-asked, kind="stable")
        share = np.cumsum(nominal[order]) / np.arange(1, tested + 1)
        failed.append((share > bound[order] + 1e-9).any())
    assert np.mean(failed) <= 0.1


def test_the_bound_says_something_where_clear_defects_stand_out():
    scores, known = trusted_set(0, anomalous=20)
    bound = reference_of(scores[known]).fdr_bound(scores[~known], scores[~known])
    assert bound[:20].min() < 0.3
    assert bound.max() == 1


def test_copies_and_shots_of_a_part_count_once_by_their_highest_score():
    scores = np.arange(40.0)
    groups = np.arange(40) // 2
    assert_array_equal(make_reference(scores, groups).scores, np.arange(1.0, 40, 2))
    assert make_reference(scores[:38], groups[:38]) is None
    assert len(make_reference(scores, groups)) == FEWEST_TRUSTED


@pytest.mark.parametrize("fdr", [None, 0.06, 0.3])
def test_images_are_flagged_by_their_q_value_and_trusted_ones_have_none_below_1(fdr: float | None):
    scores, known = trusted_set(1, anomalous=20)
    found = threshold_of(scores, known, fdr)
    sure = significance(scores, found, trusted=known)
    assert found.fdr == (DEFAULT_FDR if fdr is None else fdr)
    assert_array_equal(scores[~known] > found.value, sure.q_value[~known] <= found.fdr)
    assert_allclose(sure.q_value[~known], false_discovery_control(sure.p_value[~known]), rtol=1e-6)
    assert (sure.q_value[known] == 1).all()
    assert (scores > found.value)[:20].all()


def test_false_discoveries_among_the_flagged_are_no_more_than_asked_for():
    false = []
    for seed in range(60):
        scores, known = trusted_set(seed, anomalous=20)
        q = q_values(reference_of(scores[known]).p_value(scores[~known]))
        flagged = np.flatnonzero(q <= DEFAULT_FDR)
        false.append((flagged >= 20).mean() if len(flagged) else 0.0)
    assert np.mean(false) <= DEFAULT_FDR


def test_an_exact_copy_of_a_tested_image_is_tested_once():
    scores, known = trusted_set(2, anomalous=20)
    number = np.arange(len(scores))
    alone = significance(scores, threshold_of(scores, known), trusted=known, duplicates=number)
    more, copied = np.append(scores, scores[0]), np.append(number, 0)
    together = significance(more, threshold_of(scores, known), trusted=np.append(known, False), duplicates=copied)
    for name in ("p_value", "q_value", "fdr_bound"):
        assert_array_equal(getattr(together, name), np.append(getattr(alone, name), getattr(alone, name)[0]))


@settings(max_examples=5)
@given(seed=st.integers(0, 20))
def test_the_order_of_the_images_does_not_matter(seed: int):
    scores, known = trusted_set(seed, trusted=40, tested=40, anomalous=5)
    order = np.random.default_rng(seed).permutation(len(scores))
    found, moved = threshold_of(scores, known), threshold_of(scores[order], known[order])
    assert moved.as_json() == found.as_json()
    sure = significance(scores, found, trusted=known)
    again = significance(scores[order], moved, trusted=known[order])
    for name in ("p_value", "q_value", "confidence", "fdr_bound"):
        assert_array_equal(getattr(again, name), getattr(sure, name)[order])


def test_where_all_images_are_trusted_none_is_flagged():
    scores, _ = trusted_set(0, trusted=30, tested=0)
    found = threshold_of(scores, np.ones(30, dtype=np.bool_))
    assert not (scores > found.value).any()
    assert (significance(scores, found, trusted=np.ones(30, dtype=np.bool_)).fdr_bound == 1).all()


def test_without_trusted_images_there_is_no_bound():
    scores, _ = trusted_set(0)
    assert np.isnan(significance(scores, find_threshold(scores)).fdr_bound).all()


def test_confidence_and_contamination_do_not_depend_on_what_flags():
    scores, _ = trusted_set(3, anomalous=30)
    scores = scores.astype(np.float64)
    plain, strict = (find_threshold(scores, lift=2.0, fdr=fdr) for fdr in (None, 1e-9))
    assert strict.value != plain.value
    assert strict.contamination == plain.contamination
    assert_array_equal(strict.confidence(scores), plain.confidence(scores))
