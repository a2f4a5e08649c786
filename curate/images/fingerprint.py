"""The identity of a dataset: one hash of all its files, labels, splits and groups."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from curate.records import ImageFacts, Listing


def fingerprint(listing: Listing, facts: Sequence[ImageFacts]) -> str:
    """Return the sha256 of all paths, labels, splits, groups and file hashes, hex: equal for an unchanged dataset.

    Args:
        listing: of N files.
        facts: (N,) of the same files.
    """
    digest = hashlib.sha256()
    for row in zip(
        listing.paths, listing.labels, listing.splits, listing.groups, (f.sha256 for f in facts), strict=True
    ):
        digest.update(repr(row).encode())
    return digest.hexdigest()
