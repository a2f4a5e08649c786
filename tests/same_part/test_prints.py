"""Tests of prints, planted re-shots and the null distribution."""

from __future__ import annotations

import numpy as np
import pytest
from parts import look_again, part
from scipy.stats import norm

from curate.same_part.null import measure_null, measure_tail, rate_above, threshold_for
from curate.same_part.pairs import INNER, fitted, mutual_differences, register, shifted, shifts_onto, weights_of
from curate.same_part.planted import RESHOTS, plant
from curate.same_part.prints import SIDE_PX, print_of, prints_of, spectra_of, thumbnails_of
from curate.scores.similar import nearest_vectors


def test_a_print_does_not_depend_on_the_exposure():
    light = part(0).astype(np.float32)
    difference = print_of(light) - print_of(0.5 * light)
    assert np.abs(difference).mean() < 0.05 * np.abs(print_of(light)).mean()


def test_grey_of_eight_bits_and_of_more_give_the_same_print():
    np.testing.assert_allclose(print_of(part(0)), print_of(part(0).astype(np.float32)), atol=0.06)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 2), (700, 40)])
def test_any_shape_has_a_print(shape):
    assert print_of(np.zeros((*shape, 3), np.uint8)).shape == (SIDE_PX, SIDE_PX)
    assert set(plant(np.zeros((*shape, 3), np.uint8), np.random.default_rng(0))) == set(RESHOTS)


def test_a_shift_is_found_to_a_tenth_of_a_pixel():
    first = print_of(part(0))
    spectrum = spectra_of(first)
    asked = np.array([(0.4, -1.3), (3.0, 2.6)], np.float32)
    moved = spectra_of(shifted(np.stack([spectrum] * 2), asked))
    np.testing.assert_allclose(shifts_onto(spectrum, moved), -asked, atol=0.15)


def test_a_turn_is_undone_by_the_fit():
    picture = part(0)
    turned = print_of(plant(picture, np.random.default_rng(0))["turn"])
    first = print_of(picture)
    again, _ = fitted(first, turned[None])
    assert np.std((again[0] - first)[INNER, INNER]) < 0.6 * np.std((turned - first)[INNER, INNER])


def test_the_null_is_of_the_different_parts_alone():
    scores = np.random.default_rng(0).normal(0.1, 0.05, 4000)
    with_same = np.concatenate([scores, np.full(300, 1.5)])
    assert measure_null(with_same).middle == pytest.approx(0.1, abs=0.01)
    assert measure_null(with_same).deviation == pytest.approx(0.05, rel=0.15)


def test_the_tail_of_normal_scores_is_the_normal_tail():
    scores = norm.ppf((np.arange(20000) + 0.5) / 20000)
    assert measure_tail(scores).threshold(1e-6) == pytest.approx(norm.isf(1e-6), rel=0.06)


def test_a_heavier_tail_needs_a_higher_threshold_and_gives_its_rate_back():
    scores = np.random.default_rng(0).standard_t(4, 20000)
    tail = measure_tail(scores)
    assert tail.threshold(1e-6) > threshold_for(1e-6, 200)
    assert tail.rate(tail.threshold(1e-6)) == pytest.approx(1e-6)
    assert rate_above(threshold_for(1e-6, 200), 200) == pytest.approx(1e-6)


def test_a_second_shot_is_the_nearest_by_the_thumbnail_of_its_print():
    shots = [*(part(number) for number in range(20)), look_again(part(7))]
    prints = prints_of(shots.__getitem__, len(shots))
    near = nearest_vectors(thumbnails_of(prints), 4)
    assert near.shape == (21, 4)
    assert near[20, 0] == 7
    assert near[7, 0] == 20
    assert not (near == np.arange(21)[:, None]).any()


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [[-1, -1]]), (2, [[1, -1], [0, -1]])])
def test_where_there_are_fewer_others_the_nearest_are_none(count, expected):
    assert nearest_vectors(np.eye(2, 3, dtype=np.float32)[:count], 2).tolist() == expected


def test_what_parts_differ_by_is_everywhere_and_what_shots_differ_by_is_little():
    prints = np.stack([print_of(one) for one in (part(0), look_again(part(0)), part(1))])
    weights = weights_of(prints_of([part(number) for number in range(8)].__getitem__, 8))
    differences = mutual_differences(register(prints[0], prints[1:], weights))
    assert differences[0, 1] < 0.1 * differences[0, 2]
