"""The memory bank of `neighbours`: what a patch is compared with, and how the nearest are found.

Two ways, one answer: for each patch of an image the distances to its nearest patch in each of the k
nearest *other* images. `ExactBank` compares with every patch of the set; `IndexedBank` compares with an
even sample through an inverted-file index (Jégou et al. 2011, as in faiss), so that the cost grows
linearly with the number of images and the memory not at all.
"""

from __future__ import annotations

from math import ceil
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from curate.errors import CouldNotFinish
from curate.records import Embeddings, FloatArray, IntArray

RESOLUTION = 4e-6
"""Squared distances below this share of a patch's squared length are 0: fp16 does not resolve them."""

LIST_PATCHES, MOST_LISTS, TRAIN_PER_LIST, TRAIN_ROUNDS = 100, 1024, 40, 8
"""Of the index: patches a list aims at, lists at most, patches a list that k-means sees, its rounds."""

LEAST_PER_IMAGE = 64
"""An image speaks for itself in the index with at least so many patches, or not at all."""

FOUND_PER_IMAGE = 4
"""How many patches the index returns for each image that is wanted: some come from the same image."""

PROBES = (1, 2, 4, 8, 16, 32)
"""How many lists may be searched for one patch: the first number with the wanted recall is taken."""

TUNE_IMAGES, TUNE_PATCHES = 64, 4
"""Images, and patches of each, on which the recall is measured."""

BLOCK_ROWS = 4096
"""Rows of the exact bank that are compared at once; bounds the memory of one comparison."""


class Bank(Protocol):
    """The patches of a set, ready to be searched."""

    def nearest(self, query: FloatArray, kin: int) -> FloatArray:
        """Return the distances from each patch to its nearest patch in each of the k nearest images.

        Args:
            query: (P, D) patches of one image.
            kin: the number of the image and of its kin, none of which are searched.

        Returns:
            (k, P), nearest image first; inf where fewer images were found.
        """
        ...


class ExactBank:
    """Every patch of a set, searched by brute force. Memory and cost grow with the set."""

    def __init__(self, embeddings: Embeddings, kin: IntArray, images: int) -> None:
        """Read all patches.

        Args:
            embeddings: of N images.
            kin: (N,) see `Scorer.score`.
            images: k, how many nearest images are looked for.
        """
        self._images = images
        self._order = np.argsort(kin, kind="stable")
        self._kin, self._first_of_kin = np.unique(kin[self._order], return_index=True)
        depth = int(embeddings.patch_counts().max())
        # (depth, N, D): patch d of every image, then patch d + 1: the minimum over an image's patches runs over
        # whole rows. Images with fewer patches repeat theirs, which leaves that minimum as it is.
        bank = np.empty((depth, len(embeddings), embeddings.width), dtype=np.float32)
        for place, image in enumerate(self._order):
            bank[:, place] = np.resize(embeddings.patches(int(image)), (depth, embeddings.width))
        self._center = bank.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)  # keeps the squares small
        bank -= self._center
        self._bank, self._squares = bank, np.einsum("dnw,dnw->dn", bank, bank)
        self._step = max(1, BLOCK_ROWS // len(embeddings))
        self._room = np.empty((self._step * len(embeddings), depth), dtype=np.float32)  # made once: it is large

    def nearest(self, query: FloatArray, kin: int) -> FloatArray:
        centered = query - self._center
        gap = self._gap(centered)
        if len(self._kin) < len(gap):
            gap = np.minimum.reduceat(gap, self._first_of_kin, axis=0)  # kin speak with one voice
        gap[np.searchsorted(self._kin, kin)] = np.inf
        squared = _smallest(gap, self._images) + np.einsum("pw,pw->p", centered, centered)
        return _distances(squared, query)

    def _gap(self, query: FloatArray) -> FloatArray:
        """Return the least squared distance from each patch to each image, (N, P), less the patch's own square."""
        depth, images, width = self._bank.shape
        gap = np.full((images, len(query)), np.inf, dtype=np.float32)
        minus_two = np.ascontiguousarray(-2 * query.T)  # (D, P)
        for start in range(0, depth, self._step):
            part = self._bank[start : start + self._step]
            dots = self._room[: len(part) * images, : len(query)]
            np.matmul(part.reshape(-1, width), minus_two, out=dots)
            dots += self._squares[start : start + self._step].reshape(-1, 1)
            np.minimum(gap, dots.reshape(len(part), images, -1).min(axis=0), out=gap)
        return gap


class IndexedBank:
    """An even sample of a set's patches behind an inverted-file index."""

    def __init__(
        self,
        embeddings: Embeddings,
        kin: IntArray,
        images: int,
        *,
        patches: int,
        recall: float,
        rng: np.random.Generator,
    ) -> None:
        """Draw the sample, train and fill the index, and search as many lists as the wanted recall needs.

        Args:
            embeddings: of N images.
            kin: (N,) see `Scorer.score`.
            images: k, how many nearest images are looked for.
            patches: how many patches the index holds at most.
            recall: the share (0-1) of the k nearest images, as an exhaustive search of the index finds them,
                that are to be found.
            rng: draws the samples.

        Raises:
            CouldNotFinish: faiss is not installed.
        """
        self._faiss = import_faiss()
        self._images = images
        order = np.argsort(kin, kind="stable")  # kin stand together: one range of patches to pass over
        held = order[np.sort(rng.permutation(len(order))[: max(1, patches // LEAST_PER_IMAGE)])]
        quota = max(1, patches // len(held))
        counts = np.minimum(embeddings.patch_counts()[held], quota)
        chosen = [rng.permutation(int(embeddings.patch_counts()[i]))[:c] for i, c in zip(held, counts, strict=True)]
        self._kin = np.repeat(kin[held], counts)
        self._index = self._fill(embeddings, held, chosen, rng)
        self.probes, self.recall = self._tune(embeddings, kin, recall, rng)

    @property
    def patches(self) -> int:
        """How many patches the index holds."""
        return len(self._kin)

    @property
    def lists(self) -> int:
        """How many lists the index has."""
        return int(self._index.nlist)

    def _fill(self, embeddings: Embeddings, held: IntArray, chosen: list[IntArray], rng: np.random.Generator) -> Any:
        width = embeddings.width
        lists = int(np.clip(self.patches // LIST_PATCHES, 1, MOST_LISTS))
        share = min(1.0, lists * TRAIN_PER_LIST / self.patches)
        index = self._faiss.IndexIVFFlat(self._faiss.IndexFlatL2(width), width, lists)
        index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = int(rng.integers(2**31)), TRAIN_ROUNDS, 1
        read = [(int(image), rows) for image, rows in zip(held, chosen, strict=True)]
        index.train(np.concatenate([embeddings.patches(i)[rows[: ceil(share * len(rows))]] for i, rows in read]))
        for i, rows in read:
            index.add(embeddings.patches(i)[rows])
        return index

    def _tune(
        self, embeddings: Embeddings, kin: IntArray, wanted: float, rng: np.random.Generator
    ) -> tuple[int, float]:
        """Return how many lists must be searched, and the recall that was measured with so many."""
        images = rng.permutation(len(kin))[:TUNE_IMAGES]
        samples = [(rng.permutation(embeddings.patches(int(i)))[:TUNE_PATCHES], int(kin[i])) for i in images]
        truth = [self._search(query, own, self.lists, 4) for query, own in samples]
        recall = 0.0
        for probes in PROBES:
            found = [self._search(query, own, probes, 1) for query, own in samples]
            hits = [f <= t * (1 + 1e-4) for f, t in zip(found, truth, strict=True)]
            recall = float(np.mean(np.concatenate(hits, axis=1)))
            if recall >= wanted:
                break
        return probes, round(recall, 4)

    def nearest(self, query: FloatArray, kin: int) -> FloatArray:
        return self._search(query, kin, self.probes, 1)

    def _search(self, query: FloatArray, kin: int, probes: int, generosity: int) -> FloatArray:
        """Search `probes` lists for `generosity` times the usual number of patches; see `nearest`."""
        first, last = np.searchsorted(self._kin, (kin, kin + 1))
        others = self._faiss.IDSelectorNot(self._faiss.IDSelectorRange(int(first), int(last)))
        how = self._faiss.SearchParametersIVF(sel=others, nprobe=min(probes, self.lists))
        count = min(generosity * FOUND_PER_IMAGE * self._images, self.patches)
        squared, found = self._index.search(query, count, params=how)
        owner = np.where(found >= 0, self._kin[found], -1)
        return _distances(_first_of_each(squared, owner, self._images), query)


def import_faiss() -> ModuleType:
    """Import faiss, or say how to bring it.

    Raises:
        CouldNotFinish: neither of the two packages that hold it is installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise CouldNotFinish(
            "faiss is not installed: install exactly one of curate[cpu] (faiss-cpu) and curate[gpu] (faiss-gpu-cu12)"
        ) from error
    return faiss


def _smallest(gap: FloatArray, count: int) -> FloatArray:
    """Return the `count` smallest of each column, ascending: (M, P) -> (count, P), inf where M is smaller."""
    if len(gap) < count:
        gap = np.concatenate([gap, np.full((count - len(gap), gap.shape[1]), np.inf, dtype=np.float32)])
    return np.sort(np.partition(gap, count - 1, axis=0)[:count], axis=0)


def _first_of_each(squared: FloatArray, owner: IntArray, count: int) -> FloatArray:
    """Return the `count` smallest of each row with different owners, (P, M) -> (count, P).

    Args:
        squared: (P, M) ascending in each row.
        owner: (P, M) whose each is; -1 for nobody's.
        count: how many are wanted; inf where there are fewer.
    """
    earlier = np.tril(np.ones((owner.shape[1],) * 2, dtype=bool), -1)
    seen = ((owner[:, :, None] == owner[:, None, :]) & earlier).any(axis=2)
    gap = np.where(seen | (owner < 0), np.float32(np.inf), squared)
    return _smallest(np.ascontiguousarray(gap.T), count)


def _distances(squared: FloatArray, query: FloatArray) -> FloatArray:
    """Return the roots of squared distances (k, P) to patches (P, D); what fp16 cannot resolve is 0."""
    resolved = squared > RESOLUTION * np.einsum("pw,pw->p", query, query)
    return np.sqrt(np.where(resolved, squared, np.float32(0)))
