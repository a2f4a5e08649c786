"""The Evolving Meta-Set: who is in it, and when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from curate.scores.published.mlg_stpm import (
    EvolvingMetaSet,
    MetaSetConfig,
    appearance_clusters,
    lowest_per_cluster,
    quotas,
)


def fresh(count: int, allowed: np.ndarray | None = None, **settings: float) -> EvolvingMetaSet:
    allowed = np.ones(count, dtype=np.bool_) if allowed is None else allowed
    return EvolvingMetaSet(MetaSetConfig(**settings), np.zeros(count, dtype=np.int64), allowed)


def test_it_is_empty_before_the_first_ranking():
    assert len(fresh(100).members) == 0


def test_it_grows_from_its_first_share_to_its_last():
    meta_set, disagreement = fresh(1000), np.arange(1000, dtype=np.float32)
    for epoch, growth in ((3, 0.0), (5, 0.5), (8, 1.0)):
        meta_set.rank(epoch, disagreement, growth)
    assert [len(members) for members in meta_set.record().members] == [50, 125, 200]
    assert meta_set.record().epochs == (3, 5, 8)


def test_those_with_the_lowest_disagreement_enter_and_leave_when_it_rises():
    meta_set, disagreement = fresh(100, first_share=0.1), np.arange(100, dtype=np.float32)
    meta_set.rank(3, disagreement, 0.0)
    assert_array_equal(meta_set.members, np.arange(10))
    disagreement[4] = 99
    meta_set.rank(5, disagreement, 0.0)
    assert_array_equal(meta_set.members, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10])


def test_an_image_that_an_earlier_round_rejected_never_enters():
    allowed = np.arange(60) % 2 == 1
    meta_set = fresh(60, allowed)
    meta_set.rank(8, np.arange(60, dtype=np.float32), 1.0)
    assert allowed[meta_set.members].all()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_set_smaller_than_the_least_size_is_in_it_whole(count: int):
    meta_set = fresh(count)
    meta_set.rank(8, np.zeros(count, dtype=np.float32), 1.0)
    assert_array_equal(meta_set.members, np.arange(count))


def test_the_easiest_cluster_does_not_fill_the_set():
    clusters = np.repeat([0, 1], [80, 20])
    disagreement = np.where(clusters == 0, 1.0, 9.0).astype(np.float32)
    members = lowest_per_cluster(disagreement, clusters, np.arange(100), size=20)
    assert_array_equal(np.bincount(clusters[members]), [16, 4])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9), st.floats(0, 1))
def test_quotas_add_up_to_the_size_and_none_is_above_its_count(counts: list[int], share: float):
    available = np.array(counts)
    size = int(share * available.sum())
    shared = quotas(available, size)
    assert shared.sum() == size
    assert (shared <= available).all()
    assert (np.abs(shared - size * available / available.sum()) <= 1).all()


def test_no_cluster_mixes_separate_groups_of_vectors():
    rng = np.random.default_rng(0)
    group = np.arange(90) % 3
    vectors = (20 * np.eye(3)[group] + rng.normal(size=(90, 3))).astype(np.float32)
    clusters = appearance_clusters(vectors, 6, rng)
    assert all(len(set(group[clusters == number])) == 1 for number in set(clusters))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_copies_of_one_image_are_one_cluster(count: int):
    clusters = appearance_clusters(np.zeros((count, 4), dtype=np.float32), 4, np.random.default_rng(0))
    assert_array_equal(clusters, np.zeros(count))


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 1000))
def test_there_are_no_more_clusters_than_different_images(different: int, count: int, seed: int):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(different, 3)).astype(np.float32)[rng.integers(0, different, 20)]
    clusters = appearance_clusters(vectors, count, rng)
    assert len(clusters) == 20
    assert len(set(clusters)) <= min(count, len(np.unique(vectors, axis=0)))


def test_a_cluster_that_loses_its_images_stays_empty():
    vectors = np.array([[-5], [-4], [1], [4], [5]], dtype=np.float32)
    for seed in range(30):
        assert len(set(appearance_clusters(vectors, 4, np.random.default_rng(seed)))) >= 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_left_in_one_cluster(value: float):
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    vectors[5, 2] = value
    assert_array_equal(appearance_clusters(vectors, 3, np.random.default_rng(0)), np.zeros(9))
