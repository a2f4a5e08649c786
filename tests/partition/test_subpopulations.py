"""Subpopulations of a class."""

import numpy as np
import pytest

from curate.partition import subpopulations as module
from curate.partition.subpopulations import (
    LEAST_APART,
    LEAST_IMAGES,
    LEAST_OF_LARGEST,
    small_groups_apart,
    subpopulations_of,
)

FAR = 40.0


def cloud(count: int, *, at: float = 0.0, width: int = 24, seed: int = 0) -> np.ndarray:
    """Return vectors that spread by 1 in each of some directions around a point on the first axis."""
    vectors = np.random.default_rng(seed).normal(size=(count, width))
    vectors[:, 0] += at
    return vectors


def found(*clouds: np.ndarray, groups: np.ndarray | None = None) -> list[int]:
    """Return the subpopulation of each image."""
    pooled = np.concatenate(clouds).astype(np.float32)
    return subpopulations_of(pooled, np.arange(len(pooled)) if groups is None else groups).tolist()


def test_two_groups_with_a_gap_between_them_are_two_subpopulations_the_larger_first():
    assert found(cloud(40, at=FAR), cloud(60, seed=1)) == [1] * 40 + [0] * 60


def test_their_order_in_the_list_does_not_matter():
    pooled = np.concatenate([cloud(40, at=FAR), cloud(60, seed=1)]).astype(np.float32)
    shuffled = np.random.default_rng(2).permutation(100)
    assert subpopulations_of(pooled[shuffled], np.arange(100)).tolist() == [int(i < 40) for i in shuffled]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("tail", ["normal", "heavy", "two that overlap"])
def test_one_group_is_one_subpopulation_also_with_a_heavy_tail(tail: str, seed: int):
    vectors = cloud(200, seed=seed)
    if tail == "heavy":
        vectors *= np.random.default_rng(seed).lognormal(0, 0.7, (200, 1))
    if tail == "two that overlap":
        vectors[:100, 0] += 4
    assert set(found(vectors)) == {0}


def test_a_group_less_than_half_as_large_as_the_largest_is_no_subpopulation_but_unlike_the_set():
    few, many = int(LEAST_OF_LARGEST * 90) - 1, 90
    assert set(found(cloud(many), cloud(few, at=FAR, seed=1))) == {0}
    assert set(found(cloud(many), cloud(few + 1, at=FAR, seed=1))) == {0, 1}


def test_a_group_of_fewer_images_than_can_be_judged_is_no_subpopulation():
    assert set(found(cloud(LEAST_IMAGES - 1), cloud(LEAST_IMAGES, at=FAR, seed=1))) == {0}
    assert set(found(cloud(LEAST_IMAGES), cloud(LEAST_IMAGES, at=FAR, seed=1))) == {0, 1}


def test_strays_go_with_the_nearest_subpopulation_and_make_none():
    strays = [cloud(3, at=-FAR, seed=2), cloud(3, at=3 * FAR, seed=3)]
    assert found(cloud(50), cloud(50, at=FAR, seed=1), *strays) == [0] * 50 + [1] * 50 + [0] * 3 + [1] * 3


def test_four_subpopulations_are_found():
    assert found(*(cloud(50, at=FAR * k, seed=k) for k in range(4))) == [k for k in range(4) for _ in range(50)]


def test_shots_of_one_part_are_no_subpopulation():
    family = np.repeat(cloud(1, at=FAR, seed=1), 60, axis=0) + cloud(60, seed=2) / 1e3
    groups = np.concatenate([np.arange(60), np.full(60, 99)])
    assert set(found(cloud(60), family, groups=groups)) == {0}


def test_images_that_are_all_alike_are_one_subpopulation_up_to_rounding():
    same = np.ones((100, 8))
    assert set(found(same)) == {0}
    assert set(found(same[:50], same[:50] + 1e-6)) == {0}


def test_a_large_class_is_split_by_a_sample(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_COMPARED", 100)
    monkeypatch.setattr(module, "BLOCK", 64)
    assert found(cloud(150), cloud(100, at=FAR, seed=1)) == [0] * 150 + [1] * 100


def test_a_class_without_images_and_one_of_few_are_of_one_subpopulation():
    assert found(np.zeros((0, 4))) == []
    assert found(cloud(1), cloud(1, at=FAR)) == [0, 0]


def sizes(*clouds: np.ndarray) -> list[int]:
    pooled = np.concatenate(clouds).astype(np.float32)
    return small_groups_apart(pooled, np.arange(len(pooled))).tolist()


def test_a_group_too_small_for_a_subpopulation_is_said_to_lie_apart_and_how_large_it_is():
    assert sizes(cloud(20, at=FAR), cloud(90, seed=1), cloud(10, at=-FAR, seed=2)) == [20] * 20 + [0] * 90 + [10] * 10


def test_fewer_images_than_make_a_group_one_cloud_and_a_small_set_hold_no_group_apart():
    assert set(sizes(cloud(LEAST_APART - 1, at=FAR), cloud(90, seed=1))) == {0}
    assert set(sizes(cloud(200))) == {0}
    assert set(sizes(cloud(8, at=FAR), cloud(LEAST_IMAGES - 9, seed=1))) == {0}
