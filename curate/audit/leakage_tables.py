"""What an audit says of images that share something across two splits, or under two labels.

Each image that leaks has the finding, whatever its split, so that both sides are found; the message names an image of
another split, of `train` if there is one there. An image without a split leaks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curate.findings import Code
from curate.images.duplicates import duplicate_groups
from curate.records import Finding, ImageFacts, IntArray, Listing

if TYPE_CHECKING:
    from curate.audit.same_part_tables import Pair

TRAIN = "train"


@dataclass(frozen=True, kw_only=True)
class _Leak:
    """An image, one of another split that shares something with it, and how many more there are."""

    image: int
    other: int
    more: int


def file_leaks(listing: Listing, facts: Sequence[ImageFacts], duplicates: IntArray) -> Iterator[tuple[int, Finding]]:
    """Yield a finding for each image whose pixels or `group` are also in another split, with its row.

    Args:
        listing: of N files.
        facts: of the N files.
        duplicates: (N,) as `duplicate_groups` gives them.
    """
    for leak in _leaks(listing, duplicates):
        what = "file" if facts[leak.image].sha256 == facts[leak.other].sha256 else "pixels"
        message = f"the same {what} as {_named(listing, leak.other)}{_more(leak)}"
        yield leak.image, Finding(code=Code.LEAKED_PIXELS, message=message)
    for leak in _leaks(listing, duplicate_groups(listing.groups)):
        group = listing.groups[leak.image]
        message = f"of group {group!r}, as is {_named(listing, leak.other)}{_more(leak)}"
        yield leak.image, Finding(code=Code.LEAKED_GROUP, message=message)


def copy_leaks(listing: Listing, copies: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, Finding]]:
    """Yield a finding for each image of which a copy, with other pixels, is in another split, with its row.

    Args:
        listing: of N files.
        copies: rows of two copies, and how one lies beside the other.
    """
    others: dict[int, list[int]] = {}
    for first, other, _ in copies:
        for image, copy in ((first, other), (other, first)):
            if _splits_differ(listing, image, copy):
                others.setdefault(image, []).append(copy)
    for image, found in sorted(others.items()):
        other = min(found, key=lambda row: listing.splits[row] != TRAIN)
        leak = _Leak(image=image, other=other, more=len(found) - 1)
        message = f"a copy of {_named(listing, other)}{_more(leak)}"
        yield image, Finding(code=Code.LEAKED_PIXELS, message=message)


def part_leaks(listing: Listing, pairs: Iterable[Pair]) -> Iterator[tuple[int, Finding]]:
    """Yield a finding for each image whose part is also in another split, or under another label, with its row.

    Images that differ in one place, which may be a part and its damaged twin, are no finding here.

    Args:
        listing: of N files.
        pairs: of images that show the same part, the highest score first.
    """
    shots = _shots(pair for pair in pairs if not pair.differs)
    for image, scores in shots.items():
        others = [other for other in scores if _splits_differ(listing, image, other)]
        if others:
            other = min(others, key=lambda row: listing.splits[row] != TRAIN)  # of equals the highest score
            leak = _Leak(image=image, other=other, more=len(others) - 1)
            message = f"the same part as {_named(listing, other)}{_more(leak)}{_sure(scores[other])}"
            yield image, Finding(code=Code.LEAKED_PART, message=message)
        conflict = next((other for other in scores if _labels_differ(listing, image, other)), None)
        if conflict is not None:
            message = f"labelled {listing.labels[image]!r}, the same part as {_named(listing, conflict)}"
            message += _sure(scores[conflict])
            yield image, Finding(code=Code.CONFLICTING_SHOTS, message=message)


def _leaks(listing: Listing, numbers: IntArray) -> Iterator[_Leak]:
    """Yield each image whose number (N,) occurs in another split, too."""
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order])) + 1
    for rows in np.split(order, starts):
        by_split: dict[str, list[int]] = {}
        for row in rows.tolist() if len(rows) > 1 else ():
            by_split.setdefault(listing.splits[row], []).append(row)
        by_split.pop("", None)
        splits = sorted(by_split, key=lambda split: (split != TRAIN, split))
        count = sum(map(len, by_split.values()))
        for split in splits if len(splits) > 1 else ():
            other = by_split[next(one for one in splits if one != split)][0]
            more = count - len(by_split[split]) - 1
            yield from (_Leak(image=row, other=other, more=more) for row in by_split[split])


def _shots(pairs: Iterable[Pair]) -> Mapping[int, dict[int, float]]:
    """Return the scores of the other shots of each image's part, the highest first; by image, ascending."""
    shots: dict[int, dict[int, float]] = {}
    for pair in pairs:
        shots.setdefault(pair.first, {})[pair.other] = pair.similarity
        shots.setdefault(pair.other, {})[pair.first] = pair.similarity
    return dict(sorted(shots.items()))


def _splits_differ(listing: Listing, one: int, other: int) -> bool:
    return "" != listing.splits[one] != listing.splits[other] != ""


def _labels_differ(listing: Listing, one: int, other: int) -> bool:
    return "" != listing.labels[one] != listing.labels[other] != ""


def _named(listing: Listing, row: int) -> str:
    """Return an image's path, and what else the dataset says of it."""
    facts = (("split", listing.splits[row]), ("label", listing.labels[row]), ("group", listing.groups[row]))
    return f"{listing.paths[row]} ({', '.join(f'{name} {value!r}' for name, value in facts if value)})"


def _more(leak: _Leak) -> str:
    images = "image" if leak.more == 1 else "images"
    return f", and {leak.more} more {images} of other splits" if leak.more else ""


def _sure(similarity: float) -> str:
    return f"; {similarity:.1f} deviations above different parts"
