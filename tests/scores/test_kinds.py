"""Kinds of images within a class."""

import numpy as np
import pytest

from curate.scores import kinds as module
from curate.scores.kinds import LEAST_APART, LEAST_IMAGES, OF_LARGEST, groups_apart, kinds, nominal_sets
from tests.verdicts.test_judge import embeddings_of

FAR = 40.0


def cloud(count: int, *, at: float = 0.0, width: int = 24, seed: int = 0) -> np.ndarray:
    """Return vectors that spread by 1 in each of some directions around a point on the first axis."""
    vectors = np.random.default_rng(seed).normal(size=(count, width))
    vectors[:, 0] += at
    return vectors


def found(*clouds: np.ndarray, kin: np.ndarray | None = None) -> list[int]:
    """Return the kind of each image."""
    pooled = np.concatenate(clouds).astype(np.float32)
    return kinds(pooled, np.arange(len(pooled)) if kin is None else kin).tolist()


def test_two_groups_with_a_gap_between_them_are_two_kinds_the_larger_first():
    assert found(cloud(40, at=FAR), cloud(60, seed=1)) == [1] * 40 + [0] * 60


def test_their_order_in_the_list_does_not_matter():
    pooled = np.concatenate([cloud(40, at=FAR), cloud(60, seed=1)]).astype(np.float32)
    shuffled = np.random.default_rng(2).permutation(100)
    assert kinds(pooled[shuffled], np.arange(100)).tolist() == [int(i < 40) for i in shuffled]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("tail", ["normal", "heavy", "two that overlap"])
def test_one_group_is_one_kind_also_with_a_heavy_tail(tail: str, seed: int):
    vectors = cloud(200, seed=seed)
    if tail == "heavy":
        vectors *= np.random.default_rng(seed).lognormal(0, 0.7, (200, 1))
    if tail == "two that overlap":
        vectors[:100, 0] += 4
    assert set(found(vectors)) == {0}


def test_a_group_less_than_half_as_large_as_the_largest_is_no_kind_but_unlike_the_set():
    few, many = int(OF_LARGEST * 90) - 1, 90
    assert set(found(cloud(many), cloud(few, at=FAR, seed=1))) == {0}
    assert set(found(cloud(many), cloud(few + 1, at=FAR, seed=1))) == {0, 1}


def test_a_group_of_fewer_images_than_can_be_judged_is_no_kind():
    assert set(found(cloud(LEAST_IMAGES - 1), cloud(LEAST_IMAGES, at=FAR, seed=1))) == {0}
    assert set(found(cloud(LEAST_IMAGES), cloud(LEAST_IMAGES, at=FAR, seed=1))) == {0, 1}


def test_strays_go_with_the_nearest_kind_and_make_none():
    strays = [cloud(3, at=-FAR, seed=2), cloud(3, at=3 * FAR, seed=3)]
    assert found(cloud(50), cloud(50, at=FAR, seed=1), *strays) == [0] * 50 + [1] * 50 + [0] * 3 + [1] * 3


def test_four_kinds_are_told_apart():
    assert found(*(cloud(50, at=FAR * k, seed=k) for k in range(4))) == [k for k in range(4) for _ in range(50)]


def test_shots_of_one_part_are_no_kind():
    family = np.repeat(cloud(1, at=FAR, seed=1), 60, axis=0) + cloud(60, seed=2) / 1e3
    kin = np.concatenate([np.arange(60), np.full(60, 99)])
    assert set(found(cloud(60), family, kin=kin)) == {0}


def test_images_that_are_all_alike_are_one_kind_up_to_rounding():
    same = np.ones((100, 8))
    assert set(found(same)) == {0}
    assert set(found(same[:50], same[:50] + 1e-6)) == {0}


def test_a_large_class_is_told_apart_by_a_sample(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SEEN", 100)
    monkeypatch.setattr(module, "BLOCK", 64)
    assert found(cloud(150), cloud(100, at=FAR, seed=1)) == [0] * 150 + [1] * 100


def test_a_class_without_images_and_one_of_few_are_of_one_kind():
    assert found(np.zeros((0, 4))) == []
    assert found(cloud(1), cloud(1, at=FAR)) == [0, 0]


def test_nominal_sets_are_named_by_label_and_kind_and_a_class_of_one_kind_by_its_label_alone():
    pooled = np.concatenate([cloud(40), cloud(40, at=FAR, seed=1), cloud(40, seed=2)])
    labels = ["good"] * 80 + ["bent"] * 40
    sets = nominal_sets(embeddings_of(pooled), np.arange(120), labels)
    assert sets.names == ("good, kind 1 of 2",) * 40 + ("good, kind 2 of 2",) * 40 + ("bent",) * 40
    assert dict(sets.label_of) == {"bent": "bent", "good, kind 1 of 2": "good", "good, kind 2 of 2": "good"}
    assert sets.kinds == {"bent": 1, "good": 2}
    assert nominal_sets(embeddings_of(pooled), np.arange(120), labels, apart=False).names == tuple(labels)


def test_a_class_that_bears_the_name_of_a_kind_is_not_mixed_with_it():
    pooled = np.concatenate([cloud(40), cloud(40, at=FAR, seed=1), cloud(40, seed=2)])
    sets = nominal_sets(embeddings_of(pooled), np.arange(120), [""] * 80 + ["kind 2 of 2"] * 40)
    assert sets.names == ("kind 1 of 2",) * 40 + ("kind 2 of 2'",) * 40 + ("kind 2 of 2",) * 40
    assert sets.label_of["kind 2 of 2'"] == ""


def sizes(*clouds: np.ndarray) -> list[int]:
    pooled = np.concatenate(clouds).astype(np.float32)
    return groups_apart(pooled, np.arange(len(pooled))).tolist()


def test_a_group_too_small_for_a_kind_is_said_to_lie_apart_and_how_large_it_is():
    assert sizes(cloud(20, at=FAR), cloud(90, seed=1), cloud(10, at=-FAR, seed=2)) == [20] * 20 + [0] * 90 + [10] * 10


def test_fewer_images_than_make_a_group_one_cloud_and_a_small_set_hold_no_group_apart():
    assert set(sizes(cloud(LEAST_APART - 1, at=FAR), cloud(90, seed=1))) == {0}
    assert set(sizes(cloud(200))) == {0}
    assert set(sizes(cloud(8, at=FAR), cloud(LEAST_IMAGES - 9, seed=1))) == {0}


def test_a_kind_holds_groups_apart_of_its_own():
    pooled = np.concatenate([cloud(60), cloud(60, at=3 * FAR, seed=1), cloud(9, at=4 * FAR, seed=2)])
    sets = nominal_sets(embeddings_of(pooled), np.arange(129), ["good"] * 129)
    assert sets.kinds["good"] == 2
    assert dict(sets.apart) == dict.fromkeys(range(120, 129), 9)
