"""The first scorer: how far is each patch from the nearest patches of other images?

An image is nominal where other images of the set show the same. Each patch descriptor is compared with
the patches of all other images (a memory bank as in Roth et al. 2022, PatchCore, §3.1, but leave-one-out:
no image is in its own bank). A defect that a second image repeats is still seen, since the distance is
the mean over the k nearest *different* images, and exact duplicates count as the image itself.

Ours, and measured on real parts: the mean over k images rather than the k-th, and the mean of the
highest 1 % of the map rather than its maximum as the image score.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from curate.records import Embeddings, FloatArray, IntArray, Progress, Scores, no_progress
from curate.scores.bank import Bank, ExactBank, IndexedBank

POOLED_BLOCK = 512
"""Images whose pooled vectors are compared at once."""


@dataclass(frozen=True, kw_only=True)
class NeighboursConfig:
    """The settings of `Neighbours`.

    Attributes:
        images: k, how many different images must show a patch too.
        top_share: the share of an image's patches, the highest of the map, whose mean is its score.
        exact_flop: the search is exact while it costs at most so many floating point operations
            (1e12 are about five seconds on two cores).
        index_patches: patches that the index holds at most, above that cost; 512 bytes each.
        recall: the share (0-1) of the nearest images that the index must find; see `IndexedBank`.
        seed: of every sample.
    """

    images: int = 5
    top_share: float = 0.01
    exact_flop: float = 1e12
    index_patches: int = 60_000
    recall: float = 0.9
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The scorer `neighbours`. It has no state but its settings."""

    config: NeighboursConfig = field(default_factory=NeighboursConfig)
    name: str = "neighbours"

    def score(self, embeddings: Embeddings, kin: IntArray, *, progress: Progress = no_progress) -> Scores:
        """Score every image by its patches' distances to other images; see `Scorer.score`.

        A set in which all images are kin (one image, say) scores 0 throughout: nothing can be compared.

        Raises:
            CouldNotFinish: the set needs the index, and faiss is not installed.
        """
        bank, facts = self._bank(embeddings, kin)
        maps = []
        for index in range(len(embeddings)):
            gaps = bank.nearest(embeddings.patches(index), int(kin[index]))
            maps.append(mean_of_found(gaps).reshape(embeddings.grids[index]))
            progress(1)
        return Scores(
            scorer=self.name,
            values=np.array([top_mean(m, self.config.top_share) for m in maps], dtype=np.float32),
            maps=maps,
            neighbours=nearest_images(embeddings, kin, self.config.images),
            facts={"settings": asdict(self.config), "images_compared": len(np.unique(kin)), **facts},
        )

    def _bank(self, embeddings: Embeddings, kin: IntArray) -> tuple[Bank, dict[str, Any]]:
        if exact_cost_flop(embeddings) <= self.config.exact_flop:
            return ExactBank(embeddings, kin, self.config.images), {"search": "exact", "recall": 1.0}
        rng = np.random.default_rng(self.config.seed)
        wanted = self.config
        bank = IndexedBank(embeddings, kin, wanted.images, patches=wanted.index_patches, recall=wanted.recall, rng=rng)
        known = {name: getattr(bank, name) for name in ("recall", "patches", "lists", "probes")}
        return bank, {"search": "index", **known}


def exact_cost_flop(embeddings: Embeddings) -> float:
    """Return the floating point operations of an exact search: every patch against every patch."""
    counts = embeddings.patch_counts()
    return 2.0 * embeddings.width * float(counts.sum()) * len(counts) * float(counts.max(initial=0))


def mean_of_found(gaps: FloatArray) -> FloatArray:
    """Return the mean over the images that were found, (k, P) -> (P,); 0 where there is none."""
    found = np.isfinite(gaps)
    total = np.where(found, gaps, np.float32(0)).sum(axis=0)
    return np.asarray(total / np.maximum(found.sum(axis=0), 1), dtype=np.float32)


def top_mean(anomaly_map: FloatArray, share: float) -> float:
    """Return the mean of the highest `share` (0-1) of a map, of one patch at least."""
    count = max(1, round(share * anomaly_map.size))
    return float(np.partition(anomaly_map.ravel(), -count)[-count:].mean())


def nearest_images(embeddings: Embeddings, kin: IntArray, count: int) -> IntArray:
    """Return the images nearest to each by their pooled vectors, kin left out.

    Args:
        embeddings: of N images.
        kin: (N,) see `Scorer.score`.
        count: how many are wanted.

    Returns:
        (N, count) indices, nearest first; -1 where there are fewer.
    """
    pooled = balanced(embeddings)
    squares = np.einsum("np,np->n", pooled, pooled)
    out = np.full((len(pooled), count), -1, dtype=np.int64)
    taken = min(count, len(pooled))
    for start in range(0, len(pooled), POOLED_BLOCK):
        rows = slice(start, start + POOLED_BLOCK)
        gap = squares - 2 * (pooled[rows] @ pooled.T)  # (block, N), squared distance but for a constant a row
        gap[kin[rows, None] == kin] = np.inf
        near = np.argsort(gap, axis=1, kind="stable")[:, :taken]
        known = np.isfinite(np.take_along_axis(gap, near, axis=1))
        out[rows, :taken] = np.where(known, near, -1)
    return out


def balanced(embeddings: Embeddings) -> FloatArray:
    """Return the pooled vectors, centered, each stage scaled to a mean squared length of 1: (N, P)."""
    pooled: FloatArray = embeddings.pooled - embeddings.pooled.mean(axis=0, dtype=np.float64).astype(np.float32)
    for stage in embeddings.stages:
        length = float(np.sqrt(np.square(pooled[:, stage], dtype=np.float64).sum(axis=1).mean()))
        pooled[:, stage] /= max(length, 1e-6)
    return pooled
