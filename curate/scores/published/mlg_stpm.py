"""MLG-STPM: the Evolving Meta-Set, the images that a student takes as most nominal, ranked anew while it trains.

Epoch by epoch:

    epoch  1 .. warm_up           no meta-set: the student trains on batches alone
    after  warm_up                all images are ranked by disagreement; the 5 % that disagree least enter
    every  P epochs from there    all images are ranked again; the set has grown; images leave and return
    after  the last epoch         ranked once more; the set has grown to 20 %, and is handed on to other views

Each cluster of the pooled vectors has its share of the members, so that the set does not collapse on the images that
are easiest to learn.

The method as published is STPM (`stpm.py`) with this set: `curate bench --ablate student-mlg-stpm`.

Source: MLG-STPM (Sensors 2025, 25(19), 6255): a small, dynamically kept set of training images with low disagreement.
Differs: sizes, ranking and clusters are our own decisions, since the text does not give them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from scipy.cluster.vq import kmeans2

from curate.records import BoolArray, FloatArray, IntArray, MetaSet

KMEANS_ROUNDS = 10


class Curriculum(StrEnum):
    """What a student trains on after its warm-up."""

    BATCHES = "batches"
    META_SET = "meta-set"
    META_SET_ONLY = "meta-set-only"
    TRIMMED = "trimmed"


def training_images(curriculum: Curriculum, images: IntArray, members: IntArray) -> tuple[IntArray, IntArray]:
    """Return the images that batches are drawn from, and those of a second sample in each step (none: no sample).

    Args:
        curriculum: `BATCHES`: from all images. `META_SET`: from all, with the members as the second sample.
            `META_SET_ONLY`, `TRIMMED`: from the members.
        images: that may be trained on.
        members: those of them in the meta-set; none before the first ranking.
    """
    if not len(members) or curriculum is Curriculum.BATCHES:
        return images, members[:0]
    return (images, members) if curriculum is Curriculum.META_SET else (members, members[:0])


@dataclass(frozen=True, kw_only=True)
class MetaSetConfig:
    """The settings of the Evolving Meta-Set.

    Attributes:
        first_share: share of the images, 0-1, that enter at the first ranking.
        last_share: the same of the last ranking; it grows evenly from one to the other.
        least: members at least, where there are as many images.
        clusters: that the members are spread over; 1 for no spread.
    """

    first_share: float = 0.05
    last_share: float = 0.2
    least: int = 8
    clusters: int = 4


@dataclass
class EvolvingMetaSet:
    """The meta-set of N images while it changes.

    Attributes:
        config: see there.
        clusters: (N,) the cluster of each image.
        allowed: (N,) whether an image may enter: never one that an earlier round rejected.
    """

    config: MetaSetConfig
    clusters: IntArray
    allowed: BoolArray
    _epochs: list[int] = field(default_factory=list)
    _members: list[IntArray] = field(default_factory=list)

    @property
    def members(self) -> IntArray:
        """The images in it now, ascending; none before the first ranking."""
        return self._members[-1] if self._members else np.zeros(0, dtype=np.int64)

    def rank(self, epoch: int, disagreement: FloatArray, growth: float) -> None:
        """Replace its members by the images with the lowest disagreement.

        Args:
            epoch: after which this is, larger than at the ranking before.
            disagreement: (N,) lower is more nominal.
            growth: 0 for the first size of the set, 1 for its last.
        """
        share = self.config.first_share + growth * (self.config.last_share - self.config.first_share)
        candidates = np.flatnonzero(self.allowed)
        size = min(len(candidates), max(self.config.least, round(share * len(candidates))))
        self._epochs.append(epoch)
        self._members.append(lowest_per_cluster(disagreement, self.clusters, candidates, size=size))

    def record(self) -> MetaSet:
        """Return its members after each ranking, for the audit and for other views."""
        return MetaSet(epochs=tuple(self._epochs), members=tuple(self._members))


def lowest_per_cluster(disagreement: FloatArray, clusters: IntArray, candidates: IntArray, *, size: int) -> IntArray:
    """Return the `size` candidates with the lowest disagreement, from each cluster in proportion to its candidates.

    Args:
        disagreement: (N,) lower is more nominal.
        clusters: (N,) cluster of each image.
        candidates: images that may be taken, ascending.
        size: how many are taken, at most the number of candidates.

    Returns:
        Indices, ascending.
    """
    taken = [candidates[:0]]
    numbers, counts = np.unique(clusters[candidates], return_counts=True)
    for number, quota in zip(numbers, quotas(counts, size), strict=True):
        inside = candidates[clusters[candidates] == number]
        taken.append(inside[np.argsort(disagreement[inside], kind="stable")[:quota]])
    return np.sort(np.concatenate(taken))


def quotas(counts: IntArray, size: int) -> IntArray:
    """Divide `size` in proportion to some counts, by the largest remainder; no quota is above its count.

    Args:
        counts: (L,) each at least 1.
        size: at most their sum.
    """
    exact = size * counts / max(1, counts.sum())
    whole: IntArray = np.floor(exact).astype(np.int64)
    largest_remainders = np.argsort(whole - exact, kind="stable")[: size - int(whole.sum())]
    whole[largest_remainders] += 1
    return whole


def appearance_clusters(vectors: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
    """Cluster images by k-means, (N, P) -> (N,) cluster numbers: at most `count` clusters, none for copies alone.

    Vectors that are not finite are left in one cluster: the student refuses such images by name.
    """
    centres = vectors[np.sort(rng.permutation(len(vectors))[: max(1, count)])]
    centres = centres[np.sort(np.unique(centres, axis=0, return_index=True)[1])]  # of equal centres one is empty
    if len(centres) < 2 or not np.isfinite(vectors).all():
        return np.zeros(len(vectors), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster is left empty
        _, nearest = kmeans2(vectors, centres, iter=KMEANS_ROUNDS, minit="matrix")
    return np.asarray(nearest, dtype=np.int64)
