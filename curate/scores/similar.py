"""Which images of a set are most like each other as a whole? By pooled vectors, through faiss."""

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
"""How many more images than wanted are asked for, since some may be kin; beyond that each kin is searched for alone."""

RECALL_ROWS = 64
"""Images on which an inverted-file index is held against the exact search."""


@dataclass(frozen=True)
class Similar:
    """The images most like each of R images as a whole.

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
    kin: IntArray,
    count: int,
    rows: IntArray | None = None,
    *,
    allowed: BoolArray | None = None,
) -> Similar:
    """Find the images most like each as a whole; kin are left out, copies of one image count once.

    Args:
        embeddings: of N images.
        kin: (N,) see `Scorer.score`.
        count: how many are wanted.
        rows: the R images to answer for; None for all.
        allowed: (N,) whether an image may be named; None for all.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    rows = np.arange(len(embeddings)) if rows is None else rows
    out = np.full((len(rows), count), -1, dtype=np.int64)
    known = _without_copies(embeddings.pooled, kin)
    vectors = balanced(embeddings, known)
    known = known if allowed is None else known[allowed[known]]
    if len(np.unique(kin)) < 2 or not len(known) or not len(rows):
        return Similar(out, "exact", 1.0)
    index, exact = _index(vectors[known])
    short = np.arange(len(rows))
    for width in WIDTHS:
        found = _search(index, vectors[rows[short]], min(len(known), count + width))
        out[short] = _others(found, known, kin, rows[short], count)
        if count + width >= len(known):
            short = short[:0]
            break
        short = short[(out[short] < 0).any(axis=1)]
    for family in np.unique(kin[rows[short]]):
        _search_around(family, short, rows, vectors, known, kin, out)
    recall = 1.0 if exact else _index_recall(index, vectors[known], count)
    return Similar(out, "exact" if exact else "inverted lists", recall)


def _without_copies(pooled: FloatArray, kin: IntArray) -> IntArray:
    """Return the first image of each kin and vector: a copy is kin with an equal vector."""
    first: dict[tuple[int, bytes], int] = {}
    for image, family in enumerate(kin.tolist()):
        first.setdefault((family, pooled[image].tobytes()), image)
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
    found: IntArray = index.search(np.ascontiguousarray(queries), count)[1]
    return found


def _others(found: IntArray, known: IntArray, kin: IntArray, rows: IntArray, count: int) -> IntArray:
    """Keep of each row's images, nearest first, the first `count` that are not its kin: (R, count), -1 for none."""
    images = np.where(found >= 0, known[found], -1)
    bad = (images < 0) | (kin[images] == kin[rows, None])
    order = np.argsort(bad, axis=1, kind="stable")[:, :count]
    near = np.where(np.take_along_axis(bad, order, axis=1), -1, np.take_along_axis(images, order, axis=1))
    return np.pad(near, ((0, 0), (0, count - near.shape[1])), constant_values=-1)


def _search_around(
    family: int, short: IntArray, rows: IntArray, vectors: FloatArray, known: IntArray, kin: IntArray, out: IntArray
) -> None:
    """Answer for the rows of one large family among all images outside it; writes into `out`."""
    mine = short[kin[rows[short]] == family]
    outside = known[kin[known] != family]
    if not len(outside):
        return
    index, _ = _index(vectors[outside])
    count = min(out.shape[1], len(outside))
    found = _search(index, vectors[rows[mine]], count)
    out[mine[:, None], np.arange(count)] = np.where(found >= 0, outside[found], -1)


def _index_recall(index: Any, vectors: FloatArray, count: int) -> float:
    """Return which share of the `count` nearest vectors the index finds, on an even sample of them."""
    sample = vectors[:: max(1, len(vectors) // RECALL_ROWS)][:RECALL_ROWS]
    truth = import_faiss().knn(np.ascontiguousarray(sample), vectors, count)[1]
    found = _search(index, sample, count)
    return float(np.mean([len(np.intersect1d(a, b)) / count for a, b in zip(truth, found, strict=True)]))


def balanced(embeddings: Embeddings, counted: IntArray | None = None) -> FloatArray:
    """Return the pooled vectors, centered, each stage scaled to a mean squared length of 1: (N, P).

    Args:
        embeddings: of N images.
        counted: the images that mean and length are taken over; None for all.
    """
    known = embeddings.pooled if counted is None else embeddings.pooled[counted]
    pooled: FloatArray = embeddings.pooled - known.mean(axis=0, dtype=np.float64).astype(np.float32)
    known = pooled if counted is None else pooled[counted]
    for stage in embeddings.stages:
        length = float(np.sqrt(np.square(known[:, stage], dtype=np.float64).sum(axis=1).mean()))
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
            "faiss is not installed: install exactly one of curate[cpu] (faiss-cpu) and curate[gpu] (faiss-gpu-cu12)"
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
