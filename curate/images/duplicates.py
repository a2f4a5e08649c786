"""Exact duplicates and leakage groups, in time linear in the number of images.

    facts -> confirmed_keys -> duplicate_groups -> leakage_groups

JPEGs are decoded at reduced scale, and images that are equal there may differ in full. `confirmed_keys` decodes in full
only those for which this matters, so that an image's facts never depend on the rest of its set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from curate.images.decode import REDUCED, DecodeConfig, full_key
from curate.records import Finding, ImageFacts, IntArray

THREADS = 4
SHALLOW_BITS = 8


def confirmed_keys(files: Sequence[Path], facts: Sequence[ImageFacts], *, config: DecodeConfig) -> list[str]:
    """Return the duplicate keys of a set: equal only where the full stored samples or the files are.

    A reduced key is replaced by that of the full pixels where a file of other bytes shares it, or where an image that
    was not reduced has the same size and may hold the same pixels; each content is decoded once. Missed are JPEGs
    of equal pixels whose coefficients differ: they differ at reduced scale too.

    Args:
        files, facts: aligned; facts as `decode_image` gave them with this `config`.

    Returns:
        Aligned with `facts`; "" for an unreadable image. Of a file that can no longer be decoded, its own `sha256`:
        then only files of equal bytes are its duplicates.
    """
    suspects = {facts[row].sha256: files[row] for row in _suspects(facts)}
    with ThreadPoolExecutor(THREADS, thread_name_prefix="confirm") as pool:
        decoded = list(pool.map(lambda file: full_key(file, config), suspects.values()))
    keys = {sha256: sha256 if isinstance(key, Finding) else key for sha256, key in zip(suspects, decoded, strict=True)}
    return [keys.get(image.sha256, image.duplicate_key) if image.duplicate_key else "" for image in facts]


def _suspects(facts: Sequence[ImageFacts]) -> Iterator[int]:
    """Yield the rows whose reduced key does not tell for certain what they are duplicates of."""
    contents: dict[str, set[str]] = {}
    sizes: set[tuple[int, int]] = set()
    for image in facts:
        contents.setdefault(image.duplicate_key, set()).add(image.sha256)
        if image.duplicate_key and not _is_reduced(image) and image.bit_depth <= SHALLOW_BITS:
            sizes.add((image.width_px, image.height_px))
    for row, image in enumerate(facts):
        if _is_reduced(image) and (
            len(contents[image.duplicate_key]) > 1 or (image.width_px, image.height_px) in sizes
        ):
            yield row


def _is_reduced(image: ImageFacts) -> bool:
    return image.duplicate_key.startswith(REDUCED)


def duplicate_groups(keys: Sequence[str]) -> IntArray:
    """Return (N,) group numbers: the row of the first image with the same key; an image with key "" is alone."""
    first: dict[str, int] = {}
    numbers = (first.setdefault(key, row) if key else row for row, key in enumerate(keys))
    return np.fromiter(numbers, dtype=np.int64, count=len(keys))


def duplicate_pairs(groups: IntArray) -> Iterator[tuple[int, int]]:
    """Yield (first, other) for each image that is not the first of its group: a star, not all pairs."""
    for other in np.flatnonzero(groups != np.arange(len(groups))):
        yield int(groups[other]), int(other)


def leakage_groups(duplicates: IntArray, groups: Sequence[str], *same: IntArray) -> IntArray:
    """Return (N,) leakage groups: images that may not speak for each other have equal numbers.

    Images are in one group if any chain of duplicates, of equal, non-empty user groups and of equal numbers in `same`
    joins them: a copy, or another shot, would confirm its own defect. The number is the smallest row of the group.

    Args:
        duplicates: (N,) as `duplicate_groups` returns them.
        groups: (N,) the user's groups; "" for none.
        same: (N,) each: the row of the first copy of one file, of the first shot of one part.
    """
    from scipy.cluster.hierarchy import DisjointSet  # here, where it is needed: it loads half of scipy

    joined = DisjointSet(range(len(duplicates)))
    for numbers in (duplicates, duplicate_groups(groups), *same):
        for first, other in duplicate_pairs(numbers):
            joined.merge(first, other)
    leakage = np.arange(len(duplicates), dtype=np.int64)
    for rows in joined.subsets():
        if len(rows) > 1:
            leakage[list(rows)] = min(rows)
    return leakage
