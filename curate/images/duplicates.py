"""Exact duplicates, and which images must not vouch for one another. Linear in the number of images.

    facts -> confirmed_keys -> duplicate_groups -> kin

JPEGs are decoded at reduced scale, and what is equal there may differ in full: `confirmed_keys` decodes in full only
those for which this matters, so that an image's facts never depend on the rest of its set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from curate.images.decode import REDUCED, DecodeConfig, full_key
from curate.images.levels import Levels
from curate.records import Finding, ImageFacts, IntArray

THREADS = 4
SHALLOW_BITS = 8


def confirmed_keys(
    files: Sequence[Path], facts: Sequence[ImageFacts], *, levels: Levels, config: DecodeConfig
) -> list[str]:
    """Return the duplicate keys of a set: equal only where the full pixels or the files are.

    A reduced key is replaced by that of the full pixels where a file of other bytes shares it, or where an image that
    was not reduced has the same size and may hold the same pixels; each content is decoded once. Missed are JPEGs
    of equal pixels whose coefficients differ: they differ at reduced scale too.

    Args:
        files, facts: aligned; facts as `decode_image` gave them with these `levels` and `config`.

    Returns:
        Aligned with `facts`; "" for an unreadable image. Of a file that can no longer be decoded, its own `sha256`:
        then only files of equal bytes are its duplicates.
    """
    suspects = {facts[row].sha256: files[row] for row in _suspects(facts)}
    with ThreadPoolExecutor(THREADS, thread_name_prefix="confirm") as pool:
        found = list(pool.map(lambda file: full_key(file, levels, config), suspects.values()))
    keys = {sha256: sha256 if isinstance(key, Finding) else key for sha256, key in zip(suspects, found, strict=True)}
    return [keys.get(known.sha256, known.duplicate_key) if known.duplicate_key else "" for known in facts]


def _suspects(facts: Sequence[ImageFacts]) -> Iterator[int]:
    """Yield the rows whose reduced key does not settle what they are duplicates of."""
    contents: dict[str, set[str]] = {}
    sizes: set[tuple[int, int]] = set()
    for known in facts:
        contents.setdefault(known.duplicate_key, set()).add(known.sha256)
        if known.duplicate_key and not _is_reduced(known) and known.bit_depth <= SHALLOW_BITS:
            sizes.add((known.width_px, known.height_px))
    for row, known in enumerate(facts):
        if _is_reduced(known) and (
            len(contents[known.duplicate_key]) > 1 or (known.width_px, known.height_px) in sizes
        ):
            yield row


def _is_reduced(known: ImageFacts) -> bool:
    return known.duplicate_key.startswith(REDUCED)


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
