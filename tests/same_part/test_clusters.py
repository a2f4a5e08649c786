"""Tests of clusters by complete linkage."""

from __future__ import annotations

import numpy as np

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
