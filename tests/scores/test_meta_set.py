"""The Evolving Meta-Set: who is in it, and when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from curate.scores.meta_set import EvolvingMetaSet, MetaSetConfig, looks, lowest_spread, quotas


def fresh(count: int, allowed: np.ndarray | None = None, **settings: float) -> EvolvingMetaSet:
    held = np.ones(count, dtype=np.bool_) if allowed is None else allowed
    return EvolvingMetaSet(MetaSetConfig(**settings), np.zeros(count, dtype=np.int64), held)


def test_it_is_empty_before_the_first_ranking():
    assert len(fresh(100).members) == 0


def test_it_grows_from_its_first_share_to_its_last():
    kept, disagreement = fresh(1000), np.arange(1000, dtype=np.float32)
    for epoch, grown in ((3, 0.0), (5, 0.5), (8, 1.0)):
        kept.rank(epoch, disagreement, grown)
    assert [len(members) for members in kept.record().members] == [50, 125, 200]
    assert kept.record().epochs == (3, 5, 8)


def test_those_with_the_lowest_disagreement_enter_and_leave_when_it_rises():
    kept, disagreement = fresh(100, first_share=0.1), np.arange(100, dtype=np.float32)
    kept.rank(3, disagreement, 0.0)
    assert_array_equal(kept.members, np.arange(10))
    disagreement[4] = 99
    kept.rank(5, disagreement, 0.0)
    assert_array_equal(kept.members, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10])


def test_an_image_that_an_earlier_round_rejected_never_enters():
    allowed = np.arange(60) % 2 == 1
    kept = fresh(60, allowed)
    kept.rank(8, np.arange(60, dtype=np.float32), 1.0)
    assert allowed[kept.members].all()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_set_smaller_than_the_least_size_is_in_it_whole(count: int):
    kept = fresh(count)
    kept.rank(8, np.zeros(count, dtype=np.float32), 1.0)
    assert_array_equal(kept.members, np.arange(count))


def test_the_easiest_look_does_not_take_all_places():
    look = np.repeat([0, 1], [80, 20])
    disagreement = np.where(look == 0, 1.0, 9.0).astype(np.float32)
    members = lowest_spread(disagreement, look, np.arange(100), 20)
    assert_array_equal(np.bincount(look[members]), [16, 4])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9), st.floats(0, 1))
def test_quotas_share_out_every_place_and_none_that_is_not_there(counts: list[int], share: float):
    held = np.array(counts)
    size = int(share * held.sum())
    places = quotas(held, size)
    assert places.sum() == size
    assert (places <= held).all()
    assert (np.abs(places - size * held / held.sum()) <= 1).all()


def test_looks_find_separate_heaps():
    rng = np.random.default_rng(0)
    heap = np.arange(90) % 3
    vectors = (20 * np.eye(3)[heap] + rng.normal(size=(90, 3))).astype(np.float32)
    found = looks(vectors, 6, rng)
    assert all(len(set(heap[found == name])) == 1 for name in set(found))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_there_are_no_more_looks_than_images(count: int):
    assert len(looks(np.zeros((count, 4), dtype=np.float32), 4, np.random.default_rng(0))) == count
