"""Tests of clusters by complete linkage."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.same_part.clusters import complete_clusters, components

CHAIN = np.array([(0, 1), (1, 2)])


def test_a_chain_does_not_join_its_ends():
    assert complete_clusters(CHAIN, np.arange(4)).tolist() == [0, 0, 2, 3]


def test_images_that_are_all_paired_are_one_cluster():
    pairs = np.array([(1, 3), (0, 1), (0, 3)])
    assert complete_clusters(pairs, np.arange(5)).tolist() == [0, 0, 2, 0, 4]


def test_a_known_group_counts_as_paired():
    assert complete_clusters(CHAIN, np.array([0, 1, 0])).tolist() == [0, 0, 0]


def test_components_follow_chains():
    assert [rows.tolist() for rows in components(np.array([(0, 1), (1, 2), (4, 5)]))] == [[0, 1, 2], [4, 5]]
    assert list(components(np.zeros((0, 2), np.int64))) == []


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40),
    st.lists(st.integers(0, 5), min_size=10, max_size=10),
)
def test_all_images_of_a_cluster_are_paired_and_no_two_clusters_could_be_one(pairs, groups):
    found = np.array(pairs, np.int64).reshape(-1, 2)
    clusters = complete_clusters(found, np.array(groups))
    paired = {frozenset(pair) for pair in pairs}

    def linked(rows):
        return all(groups[a] == groups[b] or {a, b} in paired for a in rows for b in rows if a < b)

    members = {name: np.flatnonzero(clusters == name).tolist() for name in clusters.tolist()}
    assert all(linked(rows) and rows[0] == name for name, rows in members.items())
    for a, b in pairs:
        left, right = members[int(clusters[a])], members[int(clusters[b])]
        assert left is right or not linked([*left, *right])


def test_two_large_clusters_that_one_missing_pair_keeps_apart_cost_little():
    side = 150
    within = [(a, b) for a in range(side) for b in range(a)]
    across = [(a, side + b) for a in range(side) for b in range(side)][:-1]
    found = np.array(within + [(a + side, b + side) for a, b in within] + across)
    start = time.perf_counter()
    assert set(complete_clusters(found, np.arange(2 * side)).tolist()) == {0, side}
    assert time.perf_counter() - start < 20
