"""A search index over the patches of many images: the nearest patches that other images show.

    PatchIndex(patches_of, images, groups) -> nearest(query, group, count) -> (count, P) distances

faiss sorts the patches into lists around cluster centres, and a query is compared with the nearest few lists. The
images of a leakage group lie side by side, so that leaving a group out is leaving a range out. Distances are exact; a
patch that is not found costs little where a hundred others are as near. A small bank is searched whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from curate.records import FloatArray, IntArray
from curate.scores.similar import import_faiss

EXACT_UP_TO = 4_000
"""Patches that are compared one by one."""

LISTS, PROBED = 4.0, 8
"""Lists for each square root of a patch, and how many of them are searched for one patch."""

TRAINED_ON = 16
"""Patches a list that the centres are fitted to."""

ITERATIONS = 4
"""Of k-means."""

WIDER = 8
"""How many times as many patches and lists are searched again where too few images were found."""

ADDED_AT_A_TIME = 64


class PatchIndex:
    """The patches of some images, ready to be searched. Safe to use from several threads.

    Args:
        patches_of: returns the patches of an image, (P, D) fp32.
        images: the images to search, of one at least.
        groups: (len(images),) the leakage group of each.

    Raises:
        CouldNotFinish: faiss is not installed.
    """

    def __init__(self, patches_of: Callable[[int], FloatArray], images: IntArray, groups: IntArray) -> None:
        order = np.argsort(groups, kind="stable")
        self._images, self._groups = images[order], groups[order]
        blocks = [patches_of(image) for image in self._images.tolist()]
        self._edges = np.concatenate([[0], np.cumsum([len(block) for block in blocks])]).astype(np.int64)
        self._owner = np.repeat(np.arange(len(blocks)), np.diff(self._edges))
        self._index = _filled(blocks, int(self._edges[-1]))

    def nearest(self, query: FloatArray, group: int, count: int, *, exact: bool = False) -> FloatArray:
        """Return the distances from each patch to its nearest patch in each of its nearest images.

        Args:
            query: (P, D) fp32.
            group: the leakage group that is left out.
            count: how many different images are wanted.
            exact: compare with all patches.

        Returns:
            (count, P), nearest first; inf where there are fewer.
        """
        lowest, highest = np.searchsorted(self._groups, [group, group + 1])
        left_out = (int(self._edges[lowest]), int(self._edges[highest]))
        out = np.full((count, len(query)), np.inf, dtype=np.float32)
        wanted = min(count, len(self._images) - int(highest - lowest))
        rows, results, probed = np.arange(len(query)), 4 * count + 12, self._lists if exact else PROBED
        while wanted and len(rows):
            found = self._search(query[rows], left_out, results, probed=probed)
            out[:, rows] = _by_image(*found, count)
            if results >= self._edges[-1] and probed >= self._lists:
                break
            rows = rows[~np.isfinite(out[wanted - 1, rows])]
            results, probed = results * WIDER, probed * WIDER
        return out

    @property
    def _lists(self) -> int:
        return int(getattr(self._index, "nlist", 1))

    def _search(
        self, query: FloatArray, left_out: tuple[int, int], results: int, *, probed: int
    ) -> tuple[FloatArray, IntArray]:
        """Return the squared distances of the nearest patches, (P, results), and the image of each; -1 for none."""
        faiss = import_faiss()
        faiss.omp_set_num_threads(1)  # of this thread: the images are searched in threads of their own
        selector = faiss.IDSelectorNot(faiss.IDSelectorRange(*left_out))
        parameters = (
            faiss.SearchParameters(sel=selector)
            if self._lists == 1
            else faiss.SearchParametersIVF(sel=selector, nprobe=min(self._lists, probed))
        )
        count = min(int(self._edges[-1]), results)
        squared, patches = self._index.search(np.ascontiguousarray(query), count, params=parameters)
        return squared, np.where(patches < 0, -1, self._owner[patches])


def _filled(blocks: list[FloatArray], patches: int) -> Any:
    """Return a faiss index of the patches of some images."""
    faiss = import_faiss()
    width = blocks[0].shape[1]
    flat = faiss.IndexFlatL2(width)
    index = flat
    if patches > EXACT_UP_TO:
        lists = min(patches, int(LISTS * np.sqrt(patches)))
        index = faiss.IndexIVFFlat(flat, width, lists)
        index.cp.niter, index.cp.min_points_per_centroid = ITERATIONS, 1  # else faiss warns on stderr
        step = max(1, patches // (TRAINED_ON * lists))
        index.train(np.concatenate([block[(-start) % step :: step] for start, block in _with_starts(blocks)]))
    for start in range(0, len(blocks), ADDED_AT_A_TIME):
        index.add(np.concatenate(blocks[start : start + ADDED_AT_A_TIME]))
    return index


def _with_starts(blocks: list[FloatArray]) -> list[tuple[int, FloatArray]]:
    starts = np.concatenate([[0], np.cumsum([len(block) for block in blocks])])[:-1].tolist()
    return list(zip(starts, blocks, strict=True))


def _by_image(squared: FloatArray, owner: IntArray, count: int) -> FloatArray:
    """Keep of each row's results, (P, R) nearest first, the nearest of each image: (count, P) distances."""
    order = np.argsort(owner, axis=1, kind="stable")  # stable: the nearest of each image stays its first
    sorted_owner = np.take_along_axis(owner, order, axis=1)
    first = np.ones(owner.shape, dtype=np.bool_)
    first[:, 1:] = sorted_owner[:, 1:] != sorted_owner[:, :-1]
    first &= sorted_owner >= 0
    kept = np.where(first, np.take_along_axis(squared, order, axis=1), np.inf)
    kept.sort(axis=1)
    out = np.full((count, len(squared)), np.inf, dtype=np.float32)
    columns = min(count, kept.shape[1])
    out[:columns] = np.sqrt(np.maximum(kept[:, :columns], 0)).T
    return out
