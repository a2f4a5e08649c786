"""Exact duplicates, and which images must not vouch for one another. Linear in the number of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np

from curate.records import IntArray

JPEG_SUFFIXES = frozenset((".jpg", ".jpeg"))


def needs_full_hash(paths: Sequence[str]) -> bool:
    """Return whether a set mixes JPEG with other formats: then their keys must be of full pixels (`decode_image`)."""
    kinds = {PurePath(path).suffix.lower() in JPEG_SUFFIXES for path in paths}
    return len(kinds) == 2


def duplicate_groups(keys: Sequence[str]) -> IntArray:
    """Return (N,) group numbers: the row of the first image with the same key; an image with key "" is alone."""
    first: dict[str, int] = {}
    numbers = (first.setdefault(key, row) if key else row for row, key in enumerate(keys))
    return np.fromiter(numbers, dtype=np.int64, count=len(keys))


def duplicate_pairs(groups: IntArray) -> Iterator[tuple[int, int]]:
    """Yield (first, other) for each image that is not the first of its group: a star, not all pairs."""
    for other in np.flatnonzero(groups != np.arange(len(groups))):
        yield int(groups[other]), int(other)


def kin(duplicates: IntArray, groups: Sequence[str]) -> IntArray:
    """Return (N,) numbers, equal for images joined by any chain of duplicates and equal, non-empty user groups.

    Scorers do not count kin as neighbours: a copy, or another shot of the same part, would vouch for its own defect.
    The number is the smallest row of the kin.
    """
    parent = np.arange(len(duplicates), dtype=np.int64).tolist()
    for numbers in (duplicates.tolist(), duplicate_groups(groups).tolist()):
        for row, other in enumerate(numbers):
            low, high = sorted((_root(parent, row), _root(parent, other)))
            parent[high] = low
    return np.array([_root(parent, row) for row in range(len(parent))], dtype=np.int64)


def _root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]  # path halving keeps the chains short
        row = parent[row]
    return row
