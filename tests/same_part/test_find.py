"""Tests of finding the same part twice."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from parts import SIDE, as_pixels, find, look_again, nearest, pairs, part

from curate.errors import CouldNotFinish
from curate.same_part.find import SamePart, find_same_part
from curate.same_part.planted import ALL_TOGETHER, RESHOTS, plant
from curate.same_part.prints import Pictures, Pixels

PARTS = 24
AGAIN, TWIN, EVEN, WIDE = PARTS, PARTS + 1, (PARTS + 2, PARTS + 3), PARTS + 4


@cache
def pictures() -> tuple[Pixels, ...]:
    """Draw 24 parts, part 0 again, part 1 again with a hole, two even images, and part 2 in another shape."""
    wide = np.repeat(part(2), 2, axis=1)[:, : SIDE * 3 // 2]
    even = np.full((SIDE, SIDE, 3), 90, np.uint8)
    return (*map(part, range(PARTS)), look_again(part(0)), look_again(part(1, hole=True)), even, even, wide)


@cache
def found() -> SamePart:
    return find(pictures())


def test_a_second_shot_is_found_and_different_parts_are_not():
    assert pairs(found()) == {(0, AGAIN), (1, TWIN)}
    assert found().clusters[AGAIN] == 0


def test_the_shift_of_the_second_shot_is_told():
    row = int(np.flatnonzero((found().pairs == (0, AGAIN)).all(axis=1))[0])
    np.testing.assert_allclose(found().shifts[row], (-1 / SIDE, -2 / SIDE), atol=0.5 / SIDE)


def test_a_twin_with_a_defect_is_a_pair_that_differs_locally_and_in_no_cluster():
    local = {(int(a), int(b)): bool(flag) for (a, b), flag in zip(found().pairs, found().local, strict=True)}
    assert local == {(0, AGAIN): False, (1, TWIN): True}
    assert found().clusters[TWIN] == TWIN


def test_planted_reshots_are_found_and_the_false_rate_is_kept():
    assert found().recall.keys() == RESHOTS.keys()
    assert min(found().recall.values()) >= 0.9
    assert found().false_rate <= 1.001e-6


def test_even_images_and_other_shapes_are_undecidable_and_never_the_same_part():
    assert not found().decidable[[*EVEN, WIDE]].any()
    assert found().decidable[: TWIN + 1].all()
    assert found().undecidable == pytest.approx(3 / len(pictures()))


def few() -> tuple[Pixels, ...]:
    """Return fifteen parts and the first of them again."""
    return (*pictures()[:15], pictures()[AGAIN])


def test_the_same_seed_finds_the_same_and_progress_counts_every_image():
    counted: list[int] = []
    first, again = find(few(), progress=counted.append), find(few())
    assert sum(counted) == 2 * len(few())
    assert pairs(first) == pairs(again) == {(0, 15)}
    np.testing.assert_array_equal(first.scores, again.scores)
    assert first.recall == again.recall


def test_pairs_within_a_known_group_are_not_compared():
    known = find(few(), np.append(np.arange(15), 0))
    assert pairs(known) == set()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_images_are_undecidable(count):
    near = np.full((count, 16), -1)
    if count == 2:
        near[:, 0] = (1, 0)
    lone = find_same_part(Pictures(lambda row: part(0), count), near, np.arange(count), seed=0)
    assert len(lone.pairs) == 0
    assert lone.undecidable == 1
    assert not lone.decidable.any()


def test_a_set_of_even_images_is_undecidable():
    even = find([np.full((SIDE, SIDE, 3), 128, np.uint8)] * 4)
    assert len(even.pairs) == 0
    assert even.undecidable == 1


def test_parts_that_show_no_surface_of_their_own_are_not_told_apart():
    noise = np.random.default_rng(0)
    plain = [as_pixels(part(0, surface=0)[..., 0] + noise.normal(0, 2, (SIDE, SIDE))) for _ in range(8)]
    assert len(find(plain).pairs) == 0


@cache
def bursts() -> tuple[SamePart, frozenset[tuple[int, int]]]:
    """Find what 40 parts show of which three were photographed nine times; and the pairs that there are."""
    numbers = [*range(40), *(row for row in range(3) for _ in range(8))]
    draw = np.random.default_rng(0)
    shown = [part(n) if row < 40 else plant(part(n), draw, 0.5)[ALL_TOGETHER] for row, n in enumerate(numbers)]
    same = {(a, b) for a in range(len(shown)) for b in range(a + 1, len(shown)) if numbers[a] == numbers[b]}
    return find(shown, near=63), frozenset(same)


def test_the_shots_of_a_burst_are_found_and_do_not_hide_each_other():
    found, same = bursts()
    assert len(pairs(found) & same) >= 0.95 * len(same)
    assert pairs(found) <= same
    assert found.recall[ALL_TOGETHER] >= 0.9


def test_the_shots_of_a_burst_are_one_cluster():
    found, _ = bursts()
    for part_number in range(3):
        shots = [part_number, *range(40 + 8 * part_number, 48 + 8 * part_number)]
        assert len(set(found.clusters[shots].tolist())) <= 2


def test_parts_that_share_a_defect_are_not_one_part():
    holes = [part(number, hole=number >= 20) for number in range(30)]
    assert pairs(find(holes)) == set()


def test_an_image_that_cannot_be_read_any_more_is_undecidable_and_counted():
    shown = few()

    def read(row: int) -> Pixels:
        if row == 3:
            raise CouldNotFinish("03.png: was read before and cannot be read any more")
        return shown[row]

    found = find_same_part(Pictures(read, len(shown)), nearest(shown), np.arange(len(shown)), seed=0)
    assert found.unread == 1
    assert not found.decidable[3]
    assert pairs(found) == {(0, 15)}
