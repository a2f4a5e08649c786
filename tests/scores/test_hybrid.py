"""The hybrid: views on one scale, joined by the two highest."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from curate.records import Scores
from curate.scores.hybrid import bulk, highest, join

N = 60
LABELS = [""] * N
ALONE = np.arange(N)


def view(values: np.ndarray, name: str = "drawn") -> Scores:
    """Return a view with those scores, and maps of four places: three at the bottom of a bulk and one at the score."""
    low = np.random.default_rng(9).normal(values.min(), 0.1 * np.ptp(values) + 1e-9, (len(values), 3))
    maps = [np.append(few, value).reshape(2, 2).astype(np.float32) for few, value in zip(low, values, strict=True)]
    return Scores(
        scorer=name, values=values.astype(np.float32), maps=maps, neighbours=np.zeros((len(values), 0), dtype=np.int64)
    )


def nominal(seed: int, **planted: float) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0, 1, N)
    for image, value in planted.items():
        values[int(image[1:])] = value
    return values


def test_the_bulk_of_a_normal_curve_is_its_middle_and_its_standard_deviation():
    values = np.random.default_rng(0).normal(7, 2, 20_000)
    found = bulk(values.astype(np.float32))
    assert (found.middle, found.spread) == (pytest.approx(7, abs=0.4), pytest.approx(2, rel=0.1))
    found = bulk(np.concatenate([values, np.full(9_000, 40.0)]).astype(np.float32))
    assert (found.middle, found.spread) == (pytest.approx(7, abs=0.6), pytest.approx(3, rel=0.1))  # all: 17 and 15


def test_a_view_that_is_blind_to_a_defect_does_not_average_it_away():
    seen = join([view(nominal(1, i3=9)), view(nominal(2, i3=9)), view(nominal(3, i3=-9))], LABELS, ALONE)
    both = join([view(nominal(1, i3=9)), view(nominal(2, i3=9))], LABELS, ALONE)
    assert seen.values[3] == both.values[3]
    assert seen.values.argmax() == 3


def test_what_one_view_alone_cries_at_counts_half_of_what_two_see():
    alone = join([view(nominal(1, i3=20)), view(nominal(2, i3=0)), view(nominal(3, i3=0))], LABELS, ALONE)
    two = join([view(nominal(1, i3=20)), view(nominal(2, i3=20)), view(nominal(3, i3=0))], LABELS, ALONE)
    assert alone.values[3] == pytest.approx(two.values[3] / 2, rel=0.25)


def test_a_view_that_cannot_judge_a_class_has_no_say_in_it_and_in_no_other():
    labels = ["a"] * 30 + ["b"] * 30
    heard, loud = view(nominal(1, i3=9, i40=9)), view(nominal(2, i5=50, i45=50))
    mute = replace(loud, mute=np.arange(N) < 30)
    joined = join([heard, mute], labels, ALONE)
    assert_allclose(joined.values[:30], join([heard], labels, ALONE).values[:30])
    assert_allclose(joined.values[30:], join([heard, loud], labels, ALONE).values[30:])
    assert_allclose(joined.maps[5], join([heard], labels, ALONE).maps[5])


def test_where_every_view_is_mute_all_are_heard():
    views = [view(nominal(1, i3=9)), view(nominal(2))]
    mute = [replace(one, mute=np.ones(N, dtype=np.bool_)) for one in views]
    assert_allclose(join(mute, LABELS, ALONE).values, join(views, LABELS, ALONE).values)


def test_one_view_is_itself_on_the_common_scale():
    values = nominal(4)
    assert_allclose(join([view(values)], LABELS, ALONE).values, bulk(values).standard(values), rtol=1e-5)


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=5))
def test_the_join_is_the_mean_of_the_two_highest_and_of_one_itself(values: list[float]):
    together = float(highest(np.array(values, dtype=np.float32)))
    assert together == pytest.approx(np.mean(sorted(values)[-2:]), rel=1e-5, abs=1e-4)


@settings(max_examples=20)
@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_the_units_of_a_view_do_not_matter(scale: float, shift: float):
    plain = join([view(nominal(1)), view(nominal(2)), view(nominal(3))], LABELS, ALONE)
    moved = join([view(nominal(1) * scale + shift), view(nominal(2)), view(nominal(3))], LABELS, ALONE)
    assert_allclose(moved.values, plain.values, rtol=1e-2, atol=1e-3)


def test_each_class_has_its_own_scale():
    half = N // 2
    values, labels = nominal(5), ["a"] * half + ["b"] * (N - half)
    wide = values.copy()
    wide[half:] = 100 + 50 * wide[half:]
    assert_allclose(join([view(wide)], labels, ALONE).values, join([view(values)], labels, ALONE).values, rtol=1e-3)


def test_copies_of_an_image_count_once():
    values = nominal(6)
    copied = np.concatenate([values, np.full(200, values[0])])
    duplicates = np.concatenate([ALONE, np.zeros(200, dtype=np.int64)])
    joined = join([view(copied)], [""] * len(copied), duplicates)
    assert_allclose(joined.values[:N], join([view(values)], LABELS, ALONE).values, rtol=1e-6)


def test_maps_are_joined_place_by_place_as_the_scores_are():
    seen = [view(nominal(seed, i3=12)) for seed in (1, 2)]
    with_a_blind_one = join([*seen, view(nominal(3, i3=-12))], LABELS, ALONE).maps[3]
    assert with_a_blind_one.shape == (2, 2)
    assert with_a_blind_one[1, 1] == pytest.approx(join(seen, LABELS, ALONE).maps[3][1, 1])
    assert with_a_blind_one.argmax() == 3
