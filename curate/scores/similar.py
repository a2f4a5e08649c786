"""Which images of a set are most similar to each other as a whole? By pooled vectors, through faiss."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from curate.errors import CouldNotFinish
from curate.records import BoolArray, Embeddings, FloatArray, IntArray

EXACT_UP_TO = 100_000
"""Images whose pooled vectors are compared one by one; above that through an inverted-file index."""

PROBED_SHARE = 0.05
"""Share of the index's lists that is searched for one image."""

WIDTHS = (16, 256)
"""How many more images than wanted are searched, since some may be of the same leakage group; after that, each group
is searched for by itself."""

RECALL_ROWS = 64
"""Images on which an inverted-file index is compared with the exact search."""


@dataclass(frozen=True)
class Similar:
    """The images most similar to each of R images as a whole.

    Attributes:
        near: (R, count) indices, nearest first; -1 where there are fewer.
        search: "exact", or "inverted lists".
        recall: share of the truly nearest images that the search found, 0-1, on a sample; 1 where it is exact.
    """

    near: IntArray
    search: str
    recall: float


def similar_images(
    embeddings: Embeddings,
    groups: IntArray,
    count: int,
    *,
    rows: IntArray | None = None,
    allowed: BoolArray | None = None,
) -> Similar:
    """Find the images most similar to each as a whole; its leakage group is left out, copies of one image count once.

    Args:
        embeddings: of N images.
        groups: (N,) leakage groups.
        count: how many are wanted.
        rows: the R images to answer for; None for all.
        allowed: (N,) whether an image may be named; None for all.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    rows = np.arange(len(embeddings)) if rows is None else rows
    near = np.full((len(rows), count), -1, dtype=np.int64)
    counted = without_copies(embeddings.pooled, groups)
    vectors = balanced(embeddings, counted)
    searched = counted if allowed is None else counted[allowed[counted]]
    if len(np.unique(groups)) < 2 or not len(searched) or not len(rows):
        return Similar(near, "exact", 1.0)
    search = _Search(vectors, groups, searched)
    index, exact = _index(vectors[searched])
    short = np.arange(len(rows))
    for width in WIDTHS:
        places = _search(index, vectors[rows[short]], min(len(searched), count + width))
        near[short] = search.others(places, rows[short], count)
        if count + width >= len(searched):
            short = short[:0]
            break
        short = short[(near[short] < 0).any(axis=1)]
    for group in np.unique(groups[rows[short]]):
        members = short[groups[rows[short]] == group]
        near[members] = search.outside(group, rows[members], count)
    recall = 1.0 if exact else _index_recall(index, vectors[searched], count)
    return Similar(near, "exact" if exact else "inverted lists", recall)


def nearest_vectors(vectors: FloatArray, count: int) -> IntArray:
    """Return (N, count) the rows whose vectors (N, P) are nearest to each other one, nearest first; -1 for none.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    near = np.full((len(vectors), count), -1, dtype=np.int64)
    if len(vectors) < 2:
        return near
    index, _ = _index(np.ascontiguousarray(vectors))
    places = _search(index, vectors, min(count + 1, len(vectors)))
    for row, found in enumerate(places):
        others = found[(found >= 0) & (found != row)][:count]
        near[row, : len(others)] = others
    return near


def without_copies(pooled: FloatArray, groups: IntArray) -> IntArray:
    """Return the first image of each leakage group and vector: a copy is of the same group, with an equal vector."""
    first: dict[tuple[int, bytes], int] = {}
    for image, group in enumerate(groups.tolist()):
        first.setdefault((group, pooled[image].tobytes()), image)
    return np.array(sorted(first.values()), dtype=np.int64)


def _index(vectors: FloatArray) -> tuple[Any, bool]:
    """Return a faiss index of the vectors, and whether it is exact; above `EXACT_UP_TO` it has inverted lists."""
    faiss = import_faiss()
    flat = faiss.IndexFlatL2(vectors.shape[1])
    if len(vectors) <= EXACT_UP_TO:
        flat.add(vectors)
        return flat, True
    lists = int(4 * np.sqrt(len(vectors)))
    index = faiss.IndexIVFFlat(flat, vectors.shape[1], lists)
    index.nprobe = max(1, int(PROBED_SHARE * lists))
    index.train(vectors[:: max(1, len(vectors) // (40 * lists))])  # faiss seeds its k-means itself
    index.add(vectors)
    return index, False


def _search(index: Any, queries: FloatArray, count: int) -> IntArray:
    """Return (Q, count) places in the index, nearest first; -1 where fewer were found."""
    places: IntArray = index.search(np.ascontiguousarray(queries), count)[1]
    return places


@dataclass(frozen=True)
class _Search:
    """What is searched: the `searched` of N vectors, and the leakage group of each."""

    vectors: FloatArray
    groups: IntArray
    searched: IntArray

    def others(self, places: IntArray, rows: IntArray, count: int) -> IntArray:
        """Keep of each row's places in the index the first `count` that are not of its group: (R, count), -1 for none.

        Args:
            places: (R, F) places in the index, nearest first; -1 for none.
            rows: (R,) images.
            count: how many are wanted.
        """
        images = np.where(places >= 0, self.searched[places], -1)
        bad = (images < 0) | (self.groups[images] == self.groups[rows, None])
        order = np.argsort(bad, axis=1, kind="stable")[:, :count]
        near = np.where(np.take_along_axis(bad, order, axis=1), -1, np.take_along_axis(images, order, axis=1))
        return np.pad(near, ((0, 0), (0, count - near.shape[1])), constant_values=-1)

    def outside(self, group: int, rows: IntArray, count: int) -> IntArray:
        """Return the images most similar to some of one large leakage group among all outside it: (R, count)."""
        near = np.full((len(rows), count), -1, dtype=np.int64)
        outside = self.searched[self.groups[self.searched] != group]
        if len(outside):
            index, _ = _index(self.vectors[outside])
            places = _search(index, self.vectors[rows], min(count, len(outside)))
            near[:, : places.shape[1]] = np.where(places >= 0, outside[places], -1)
        return near


def _index_recall(index: Any, vectors: FloatArray, count: int) -> float:
    """Return which share of the `count` nearest vectors the index finds, on an even sample of them."""
    sample = vectors[:: max(1, len(vectors) // RECALL_ROWS)][:RECALL_ROWS]
    truth = import_faiss().knn(np.ascontiguousarray(sample), vectors, count)[1]
    places = _search(index, sample, count)
    return float(np.mean([len(np.intersect1d(a, b)) / count for a, b in zip(truth, places, strict=True)]))


def balanced(embeddings: Embeddings, counted: IntArray | None = None) -> FloatArray:
    """Return the pooled vectors, centred, each stage scaled to a mean squared length of 1: (N, P).

    Args:
        embeddings: of N images.
        counted: the images that mean and length are taken over; None for all.
    """
    rows = slice(None) if counted is None else counted
    mean = embeddings.pooled[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    pooled: FloatArray = embeddings.pooled - mean
    for stage in embeddings.stages:
        length = float(np.sqrt(np.square(pooled[rows][:, stage], dtype=np.float64).sum(axis=1).mean()))
        pooled[:, stage] /= max(length, 1e-6)
    return pooled


def import_faiss() -> ModuleType:
    """Import faiss, or say how to bring it.

    Raises:
        CouldNotFinish: neither of the two packages that hold it is installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise CouldNotFinish(
            "faiss is not installed: install exactly one of curate-vision[cpu] (faiss-cpu) and curate-vision[gpu] "
            "(faiss-gpu-cu12)"
        ) from error
    return faiss


def walk_order(embeddings: Embeddings, leaf: int) -> IntArray:
    """Return all images in an order in which similar ones follow each other: (N,).

    The set is halved at the median of its widest direction until a part has at most `leaf` images. Reading the
    neighbours of one image after another in this order finds most of them in memory.
    """
    vectors = balanced(embeddings)
    parts, done = [np.arange(len(vectors))], []
    while parts:
        rows = parts.pop()
        if len(rows) <= leaf:
            done.append(rows)
            continue
        widest = int(vectors[rows].var(axis=0).argmax())
        rows = rows[np.argsort(vectors[rows, widest], kind="stable")]
        parts += [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return np.concatenate(done) if done else np.zeros(0, dtype=np.int64)
