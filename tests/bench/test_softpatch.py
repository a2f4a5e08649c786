"""SoftPatch's parts agree with the libraries that have them."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.neighbors import LocalOutlierFactor

from curate.bench import softpatch
from curate.bench.patch_distances import PatchDistances
from curate.records import Embeddings, PatchesInMemory


def embeddings(count: int = 12, side: int = 4, width: int = 8) -> Embeddings:
    rng = np.random.default_rng(0)
    patches = [rng.normal(size=(side * side, width)).astype(np.float16) for _ in range(count)]
    return Embeddings(
        images=np.arange(count),
        grids=np.full((count, 2), side),
        pooled=np.array([p.mean(axis=0) for p in patches], dtype=np.float32),
        stages=(slice(0, width),),
        source=PatchesInMemory(patches),
        width=width,
    )


def test_the_local_outlier_factor_is_that_of_scikit_learn():
    patches = torch.from_numpy(np.random.default_rng(1).normal(size=(30, 5, 8)).astype(np.float32))
    found = softpatch.local_outlier_factors(patches, 6)
    for position in range(5):
        reference = LocalOutlierFactor(n_neighbors=6).fit(patches[:, position].numpy())
        np.testing.assert_allclose(found[position], -reference.negative_outlier_factor_, rtol=1e-4)


def test_a_bank_leaves_the_noisiest_patches_out_and_keeps_a_tenth():
    known = embeddings()
    bank = softpatch.fit(known, seed=0)
    factors = softpatch.local_outlier_factors(softpatch.common_grid(known))
    assert len(bank.patches) == int(0.1 * factors.size)
    assert float(bank.weights.max()) <= np.quantile(factors, 0.85) + 1e-6


def test_a_coreset_is_spread_out_and_equal_for_equal_seeds():
    clusters = torch.from_numpy(np.repeat(np.eye(8, dtype=np.float32) * 50, 10, axis=0))
    chosen = softpatch.coreset(clusters, 8, seed=3)
    assert len({int(i) // 10 for i in chosen}) == 8
    assert torch.equal(chosen, softpatch.coreset(clusters, 8, seed=3))


def test_distances_are_the_same_whether_kept_or_computed_anew():
    known = embeddings()
    others = np.array([1, 5, 7])
    expected = [
        np.linalg.norm(known.patches(0)[:, None] - known.patches(int(j))[None], axis=2).min(axis=1) for j in others
    ]
    for distances in (PatchDistances(known), PatchDistances(known, memory_bytes=1)):
        for _ in range(2):
            np.testing.assert_allclose(distances.between(0, others), expected, atol=1e-3)
            distances.between(3, np.array([0, 1]))
