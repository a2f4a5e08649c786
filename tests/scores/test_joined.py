"""The joined score: views on one scale, joined by the weighted mean of the highest."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from curate.records import Scores
from curate.scorers import SCORERS
from curate.scores.joined import agreement, bulk, join, view_weights, weighted_highest

N = 60
ALONE = np.arange(N)


def view(values: np.ndarray, name: str = "drawn") -> Scores:
    """Return a view with those scores, and maps of four places: three at the bottom of a bulk and one at the score."""
    low = np.random.default_rng(9).normal(values.min(), 0.1 * np.ptp(values) + 1e-9, (len(values), 3))
    maps = [np.append(few, value).reshape(2, 2).astype(np.float32) for few, value in zip(low, values, strict=True)]
    return Scores(
        scorer=name, values=values.astype(np.float32), maps=maps, neighbours=np.zeros((len(values), 0), dtype=np.int64)
    )


def joined_scores(views: list[Scores], duplicates: np.ndarray | None = None) -> Scores:
    return join(views, np.arange(len(views[0].values)) if duplicates is None else duplicates)[0]


def weights_of(views: list[Scores], duplicates: np.ndarray | None = None) -> dict[str, float]:
    return dict(join(views, np.arange(len(views[0].values)) if duplicates is None else duplicates)[1])


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
    seen = joined_scores([view(values, name) for values, name in zip(views, "abc", strict=True)])
    high, higher, _ = (float(bulk(v.astype(np.float32)).standard(v)[3]) for v in views)
    assert min(high, higher) - 1e-3 <= seen.values[3] <= max(high, higher) + 1e-3
    assert seen.values.argmax() == 3


def test_what_a_view_of_half_the_weight_alone_sees_counts_half():
    three = [np.array([value], dtype=np.float32) for value in (20, 0, 0)]
    assert weighted_highest(np.stack(three), np.array([0.5, 1, 0.25])) == pytest.approx([10])
    assert weighted_highest(np.stack(three), np.array([1, 0.5, 0.25])) == pytest.approx([20])


def test_each_scorer_has_a_weight_of_its_own_in_the_joined_score():
    weights = weights_of([view(nominal(1), name) for name in SCORERS])
    assert weights == pytest.approx({name: entry.weight for name, entry in SCORERS.items()})
    assert weights_of([view(nominal(1), name) for name in ("flow", "student")]) == pytest.approx(
        {"flow": SCORERS["flow"].weight / SCORERS["student"].weight, "student": 1}
    )


def test_a_view_that_agrees_with_no_other_has_little_weight_in_scores_and_maps():
    noise = np.random.default_rng(11).lognormal(0, 1.5, N)
    two = [view(nominal(1, i3=9), "a"), view(nominal(2, i3=9), "b")]
    joined, without = joined_scores([view(noise, "noise"), *two]), joined_scores(two)
    assert joined.values.argmax() == 3
    assert np.corrcoef(joined.values, without.values)[0, 1] > 0.95
    loudest = int(noise.argmax())
    assert joined.maps[loudest].max() < 0.5 * joined.maps[3].max()
    weights = weights_of([view(noise, "noise"), *two])
    assert weights["noise"] < 0.3 < 0.9 < weights["a"]
    assert max(weights.values()) == 1


def test_views_that_agree_equally_have_a_weight_of_one_each():
    same = np.stack([nominal(1)] * 3).astype(np.float32)
    for count in (1, 2, 3):
        assert_allclose(view_weights(same[:count]), np.ones(count))
    assert_allclose(view_weights(np.stack([nominal(1), nominal(2)])), [1, 1])


def test_copies_of_an_image_do_not_change_the_weights():
    views = [nominal(seed) for seed in (1, 2)] + [np.random.default_rng(3).normal(size=N)]
    copied = [np.concatenate([values, np.full(200, values[0])]) for values in views]
    duplicates = np.concatenate([ALONE, np.zeros(200, dtype=np.int64)])
    once = weights_of([view(v, str(i)) for i, v in enumerate(views)])
    assert weights_of([view(v, str(i)) for i, v in enumerate(copied)], duplicates) == once


@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_and_views_that_say_nothing_give_finite_scores(images: int, count: int):
    views = [view(np.zeros(images), str(i)) for i in range(count)]
    joined = joined_scores(views)
    assert np.isfinite(joined.values).all()


def test_of_few_images_that_differ_by_noise_alone_no_view_is_silenced():
    rng = np.random.default_rng(0)
    least = [view_weights(rng.normal(size=(3, 20)).astype(np.float32)).min() for _ in range(50)]
    assert min(least) > 0.25


def test_a_view_that_scores_all_images_the_same_agrees_with_none():
    assert_allclose(agreement(np.stack([nominal(1), nominal(1), np.zeros(N)])), [0.5, 0.5, 0])


def test_a_view_that_abstains_has_no_part_in_scores_and_maps():
    active, loud = view(nominal(1, i3=9)), view(nominal(2, i5=50))
    views = [active, replace(loud, abstains="the images are not aligned")]
    assert_allclose(joined_scores(views).values, joined_scores([active]).values)
    assert_allclose(joined_scores(views).maps[5], joined_scores([active]).maps[5])


def test_where_every_view_abstains_all_are_joined():
    views = [view(nominal(1, i3=9)), view(nominal(2))]
    abstaining = [replace(one, abstains="the images are not aligned") for one in views]
    assert_allclose(joined_scores(abstaining).values, joined_scores(views).values)


def test_one_view_is_itself_on_the_common_scale():
    values = nominal(4)
    assert_allclose(joined_scores([view(values)]).values, bulk(values).standard(values), rtol=1e-5, atol=1e-6)


@given(st.lists(st.tuples(st.floats(-50, 50, width=32), st.floats(0.1, 2)), min_size=1, max_size=5))
def test_the_join_lies_among_the_views_and_not_below_their_weighted_mean(drawn: list[tuple[float, float]]):
    values, weights = (np.array(part) for part in zip(*drawn, strict=True))
    together = float(weighted_highest(values.astype(np.float32), weights))
    assert np.average(values, weights=weights) - 1e-3 <= together <= values.max() + 1e-3
    again = np.random.default_rng(0).permutation(len(values))
    assert together == pytest.approx(
        float(weighted_highest(values[again].astype(np.float32), weights[again])), abs=1e-3
    )


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=5))
def test_with_a_weight_of_one_each_the_join_is_the_highest(values: list[float]):
    together = float(weighted_highest(np.array(values, dtype=np.float32), np.ones(len(values))))
    assert together == pytest.approx(max(values), rel=1e-5, abs=1e-4)


@settings(max_examples=20)
@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_the_units_of_a_view_do_not_matter(scale: float, shift: float):
    plain = joined_scores([view(nominal(1)), view(nominal(2)), view(nominal(3))])
    moved = joined_scores([view(nominal(1) * scale + shift), view(nominal(2)), view(nominal(3))])
    assert_allclose(moved.values, plain.values, rtol=1e-2, atol=1e-3)


def test_copies_of_an_image_count_once():
    values = nominal(6)
    copied = np.concatenate([values, np.full(200, values[0])])
    joined = joined_scores([view(copied)], np.concatenate([ALONE, np.zeros(200, dtype=np.int64)]))
    assert_allclose(joined.values[:N], joined_scores([view(values)]).values, rtol=1e-6)


def test_maps_are_joined_position_by_position_as_the_scores_are():
    views = [view(nominal(seed, i3=12 * sign), str(seed)) for seed, sign in ((1, 1), (2, 1), (3, -1))]
    joined = joined_scores(views)
    weights = np.array(list(weights_of(views).values()))
    scales = [bulk(np.concatenate([anomaly_map.ravel() for anomaly_map in one.maps])) for one in views]
    alone = np.stack([scale.standard(one.maps[3]) for scale, one in zip(scales, views, strict=True)])
    assert joined.maps[3].shape == (2, 2)
    assert_allclose(joined.maps[3], weighted_highest(alone, weights), rtol=1e-3)
    assert joined.maps[3].argmax() == 3
