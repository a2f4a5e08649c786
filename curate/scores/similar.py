"""Which images of a set are most like each other as a whole? By pooled vectors, through faiss."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.errors import CouldNotFinish
from curate.records import Embeddings, FloatArray, IntArray

EXACT_UP_TO = 100_000
"""Images whose pooled vectors are compared one by one; above that through an inverted-file index."""

PROBED_SHARE = 0.05
"""Share of the index's lists that is searched for one image."""


def similar_images(embeddings: Embeddings, kin: IntArray, count: int) -> IntArray:
    """Return the images most like each as a whole, kin left out, copies of one image counted once.

    Args:
        embeddings: of N images.
        kin: (N,) see `Scorer.score`.
        count: how many are wanted.

    Returns:
        (N, count) indices, nearest first; -1 where there are fewer.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    vectors = balanced(embeddings)
    total, index = len(vectors), _index(vectors)
    out = np.full((total, count), -1, dtype=np.int64)
    rows, width = np.arange(total), min(total, count + 16)
    while len(rows):
        _, found = index.search(vectors[rows], width)
        near = _usable(found, rows, vectors, kin, count)
        out[rows] = near
        short = (near < 0).any(axis=1)
        rows, width = rows[short & (width < total)], min(total, 8 * width)
    return out


def _index(vectors: FloatArray) -> Any:
    """Return a faiss index of the vectors: exact while that is affordable, else inverted lists, seeded by faiss."""
    faiss = import_faiss()
    exact = faiss.IndexFlatL2(vectors.shape[1])
    if len(vectors) <= EXACT_UP_TO:
        exact.add(vectors)
        return exact
    lists = int(4 * np.sqrt(len(vectors)))
    index = faiss.IndexIVFFlat(exact, vectors.shape[1], lists)
    index.nprobe = max(1, int(PROBED_SHARE * lists))
    index.train(vectors[:: max(1, len(vectors) // (40 * lists))])
    index.add(vectors)
    return index


def _usable(found: IntArray, rows: IntArray, vectors: FloatArray, kin: IntArray, count: int) -> IntArray:
    """Keep of each row's images, nearest first, the first `count` that are not its kin and not copies: (R, count)."""
    known = np.where(found >= 0, found, rows[:, None])  # what was not found counts as the image itself
    bad: NDArray[np.bool_] = kin[known] == kin[rows, None]
    for place in range(1, known.shape[1]):  # a copy of another image stands beside it: equal kin, equal vector
        here, before = known[:, place], known[:, place - 1]
        bad[:, place] |= (kin[here] == kin[before]) & (vectors[here] == vectors[before]).all(axis=1)
    order = np.argsort(bad, axis=1, kind="stable")[:, :count]
    near = np.where(np.take_along_axis(bad, order, axis=1), -1, np.take_along_axis(known, order, axis=1))
    return np.pad(near, ((0, 0), (0, count - near.shape[1])), constant_values=-1)


def balanced(embeddings: Embeddings) -> FloatArray:
    """Return the pooled vectors, centered, each stage scaled to a mean squared length of 1: (N, P)."""
    pooled: FloatArray = embeddings.pooled - embeddings.pooled.mean(axis=0, dtype=np.float64).astype(np.float32)
    for stage in embeddings.stages:
        length = float(np.sqrt(np.square(pooled[:, stage], dtype=np.float64).sum(axis=1).mean()))
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
