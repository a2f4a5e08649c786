"""The hybrid: views on one scale, joined by the two highest votes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from curate.records import Scores
from curate.scores.hybrid import agreement, bulk, highest, join, votes

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
    """Return scores that say the same of the images, but for noise of their own, and planted ones: i3=9 is image 3."""
    values = np.random.default_rng(99).normal(0, 0.9, N) + np.random.default_rng(seed).normal(0, 0.4, N)
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
    views = [nominal(1, i3=9), nominal(2, i3=9), nominal(3, i3=-9)]
    seen = join([view(values, name) for values, name in zip(views, "abc", strict=True)], LABELS, ALONE)
    a, b = (seen.facts[""]["votes"][name] for name in "ab")
    high, higher, low = (float(bulk(v.astype(np.float32)).standard(v)[3]) for v in views)
    assert seen.values[3] == pytest.approx((a * high + b * higher + (2 - a - b) * low) / 2, rel=1e-3)
    assert 2 - a - b < 0.1  # of two votes, all that the blind view has here
    assert seen.values.argmax() == 3


def test_what_one_view_alone_cries_at_counts_half_of_what_two_see():
    alone = join([view(nominal(1, i3=20)), view(nominal(2, i3=0)), view(nominal(3, i3=0))], LABELS, ALONE)
    two = join([view(nominal(1, i3=20)), view(nominal(2, i3=20)), view(nominal(3, i3=0))], LABELS, ALONE)
    assert alone.values[3] == pytest.approx(two.values[3] / 2, rel=0.25)


def test_a_view_that_no_other_bears_out_has_little_say_in_scores_and_maps():
    noise = np.random.default_rng(11).lognormal(0, 1.5, N)
    two = [view(nominal(1, i3=9), "a"), view(nominal(2, i3=9), "b")]
    joined, without = join([view(noise, "noise"), *two], LABELS, ALONE), join(two, LABELS, ALONE)
    assert joined.values.argmax() == 3
    assert np.corrcoef(joined.values, without.values)[0, 1] > 0.95
    loudest = int(noise.argmax())
    assert joined.maps[loudest].max() < 0.5 * joined.maps[3].max()
    told = joined.facts[""]["votes"]
    assert told["noise"] < 0.3 < 0.9 < told["a"]
    assert max(told.values()) == 1


def test_views_that_agree_alike_have_a_vote_each():
    same = np.stack([nominal(1)] * 3).astype(np.float32)
    for count in (1, 2, 3):
        assert_allclose(votes(same[:count]), np.ones(count))
    assert_allclose(votes(np.stack([nominal(1), nominal(2)])), [1, 1])


def test_copies_of_an_image_do_not_change_the_votes():
    views = [nominal(seed) for seed in (1, 2)] + [np.random.default_rng(3).normal(size=N)]
    copied = [np.concatenate([values, np.full(200, values[0])]) for values in views]
    duplicates = np.concatenate([ALONE, np.zeros(200, dtype=np.int64)])
    once = join([view(v, str(i)) for i, v in enumerate(views)], LABELS, ALONE)
    often = join([view(v, str(i)) for i, v in enumerate(copied)], [""] * len(copied[0]), duplicates)
    assert often.facts == once.facts


@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_and_views_that_say_nothing_give_finite_scores(images: int, count: int):
    views = [view(np.zeros(images), str(i)) for i in range(count)]
    joined = join(views, [""] * images, np.arange(images))
    assert np.isfinite(joined.values).all()


def test_of_few_images_that_differ_by_noise_alone_no_view_is_silenced():
    rng = np.random.default_rng(0)
    least = [votes(rng.normal(size=(3, 20)).astype(np.float32)).min() for _ in range(50)]
    assert min(least) > 0.25


def test_a_view_that_says_the_same_of_all_images_is_borne_out_by_none():
    assert_allclose(agreement(np.stack([nominal(1), nominal(1), np.zeros(N)])), [0.5, 0.5, 0])


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
    assert_allclose(join([view(values)], LABELS, ALONE).values, bulk(values).standard(values), rtol=1e-5, atol=1e-6)


@given(st.lists(st.tuples(st.floats(-50, 50, width=32), st.floats(0.1, 2)), min_size=1, max_size=5))
def test_the_join_lies_among_the_views_and_not_below_their_mean_by_votes(told: list[tuple[float, float]]):
    values, given_votes = (np.array(part) for part in zip(*told, strict=True))
    together = float(highest(values.astype(np.float32), given_votes))
    assert np.average(values, weights=given_votes) - 1e-3 <= together <= values.max() + 1e-3
    again = np.random.default_rng(0).permutation(len(values))
    assert together == pytest.approx(float(highest(values[again].astype(np.float32), given_votes[again])), abs=1e-3)


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=5))
def test_with_a_vote_each_the_join_is_the_mean_of_the_two_highest(values: list[float]):
    together = float(highest(np.array(values, dtype=np.float32), np.ones(len(values))))
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
    views = [view(nominal(seed, i3=12 * sign), str(seed)) for seed, sign in ((1, 1), (2, 1), (3, -1))]
    joined = join(views, LABELS, ALONE)
    given = np.array(list(joined.facts[""]["votes"].values()))
    scales = [bulk(np.concatenate([anomaly_map.ravel() for anomaly_map in one.maps])) for one in views]
    alone = np.stack([scale.standard(one.maps[3]) for scale, one in zip(scales, views, strict=True)])
    assert joined.maps[3].shape == (2, 2)
    assert_allclose(joined.maps[3], highest(alone, given), rtol=1e-3)
    assert joined.maps[3].argmax() == 3
