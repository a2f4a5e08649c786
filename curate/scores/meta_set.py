"""The Evolving Meta-Set: the images that a learner takes as most nominal, ranked anew while it learns.

Its life, epoch by epoch:

    epoch  1 .. warm_up           no meta-set: the learner sees batches alone
    after  warm_up                all images are ranked by disagreement; the least disagreeing 5 % enter
    every  P epochs from there    all images are ranked again; the set has grown; images leave and return
    after  the last epoch         ranked once more; it has grown to 20 %, and this set is handed on

Membership is spread over looks: clusters of the pooled vectors, each with its share of the places, so that the set
does not collapse on the look that is easiest to learn.

Source: MLG-STPM (Sensors 2025, 25(19), 6255): a small, dynamically kept set of training images with low disagreement.
Sizes, ranking and spread are our own decisions; nothing readable says them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from curate.records import BoolArray, FloatArray, IntArray, MetaSet

KMEANS_ROUNDS = 10


@dataclass(frozen=True, kw_only=True)
class MetaSetConfig:
    """The settings of the Evolving Meta-Set.

    Attributes:
        first_share: share of the images, 0-1, that the first ranking lets in.
        last_share: the same of the last ranking; between them it grows evenly.
        least: images that it holds at least, where there are as many.
        looks: clusters that it is spread over; 1 for no spread.
    """

    first_share: float = 0.05
    last_share: float = 0.2
    least: int = 8
    looks: int = 4


@dataclass
class EvolvingMetaSet:
    """The meta-set of N images while it changes.

    Attributes:
        config: see there.
        look: (N,) the cluster of each image.
        allowed: (N,) whether an image may enter: never one that an earlier round rejected.
    """

    config: MetaSetConfig
    look: IntArray
    allowed: BoolArray
    _epochs: list[int] = field(default_factory=list)
    _members: list[IntArray] = field(default_factory=list)

    @property
    def members(self) -> IntArray:
        """The images that it holds now, ascending; none before the first ranking."""
        return self._members[-1] if self._members else np.zeros(0, dtype=np.int64)

    def rank(self, epoch: int, disagreement: FloatArray, grown: float) -> None:
        """Draw the set anew from the images that the learner disagrees with least.

        Args:
            epoch: after which this is, larger than at the ranking before.
            disagreement: (N,) lower is more nominal.
            grown: how far the set has grown from its first size to its last, 0-1.
        """
        share = self.config.first_share + grown * (self.config.last_share - self.config.first_share)
        candidates = np.flatnonzero(self.allowed)
        size = min(len(candidates), max(self.config.least, round(share * len(candidates))))
        self._epochs.append(epoch)
        self._members.append(lowest_spread(disagreement, self.look, candidates, size))

    def record(self) -> MetaSet:
        """Return its whole life, for the audit and for other views."""
        return MetaSet(epochs=tuple(self._epochs), members=tuple(self._members))


def lowest_spread(disagreement: FloatArray, look: IntArray, candidates: IntArray, size: int) -> IntArray:
    """Return the `size` candidates with the lowest disagreement, each look having its share of the places.

    Args:
        disagreement: (N,) lower is more nominal.
        look: (N,) cluster of each image.
        candidates: images that may be taken, ascending.
        size: how many are taken, at most the number of candidates.

    Returns:
        Indices, ascending.
    """
    taken = []
    names, counts = np.unique(look[candidates], return_counts=True)
    for name, places in zip(names, quotas(counts, size), strict=True):
        of_look = candidates[look[candidates] == name]
        taken.append(of_look[np.argsort(disagreement[of_look], kind="stable")[:places]])
    return np.sort(np.concatenate(taken)) if taken else candidates[:0]


def quotas(counts: IntArray, size: int) -> IntArray:
    """Share out `size` places in proportion to some counts, by the largest remainder; never more than there are.

    Args:
        counts: (L,) each at least 1.
        size: at most their sum.
    """
    exact = size * counts / max(1, counts.sum())
    places: IntArray = np.floor(exact).astype(np.int64)
    most_left = np.argsort(places - exact, kind="stable")[: size - int(places.sum())]
    places[most_left] += 1
    return places


def looks(vectors: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
    """Cluster images by k-means, (N, P) -> (N,) cluster numbers; fewer clusters where there are fewer images."""
    count = max(1, min(count, len(vectors)))
    centres = vectors[np.sort(rng.permutation(len(vectors))[:count])]
    nearest: IntArray = np.zeros(len(vectors), dtype=np.int64)
    for _ in range(KMEANS_ROUNDS if count > 1 else 0):
        # the images' own lengths do not change which centre is nearest
        nearest = np.argmin(np.square(centres).sum(axis=1) - 2 * vectors @ centres.T, axis=1).astype(np.int64)
        held = np.unique(nearest)
        centres = np.stack([vectors[nearest == centre].mean(axis=0) for centre in held])
    return np.asarray(nearest, dtype=np.int64)
