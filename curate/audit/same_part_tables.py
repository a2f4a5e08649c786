"""What an audit says of copies of one file and of shots of the same part: rows of `duplicates`, and findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from curate.audit.judged_dataset import JudgedDataset
from curate.audit.schema import COPY, SAME_PART, SAME_PART_DIFFERS
from curate.findings import Code
from curate.records import Finding
from curate.same_part.orientations import ORIENTATIONS

SHOWN_IN_PART = frozenset((Code.SEVERAL_PAGES, Code.CLIPPED, Code.TRANSPARENT, Code.EXTRA_CHANNELS))
"""Findings of files that hold more than was compared."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two files that show the same part: rows of the listing, the later one second, and what joins them."""

    first: int
    other: int
    differs: bool
    similarity: float
    shift_y: float
    shift_x: float


def same_part_pairs(dataset: JudgedDataset) -> Iterator[Pair]:
    """Yield the pairs of images that show the same part, the highest score first."""
    found, images = dataset.same_part, dataset.embeddings.images
    if found is None:
        return
    for pair, score, (down, right), differs in zip(
        found.pairs.tolist(), found.scores.tolist(), found.shifts.tolist(), found.local.tolist(), strict=True
    ):
        first, other = (int(images[row]) for row in pair)
        yield Pair(
            first=first, other=other, differs=differs, similarity=score, shift_y=float(down), shift_x=float(right)
        )


def pairs_across_groups(dataset: JudgedDataset) -> Iterator[tuple[int, int]]:
    """Yield the rows of the listing of each pair, but for those that differ, of which the user's groups are two."""
    groups = dataset.listing.groups
    for pair in same_part_pairs(dataset):
        if not pair.differs and groups[pair.first] and groups[pair.other] and groups[pair.first] != groups[pair.other]:
            yield pair.first, pair.other


def copies_of(dataset: JudgedDataset) -> Iterator[tuple[int, int, str]]:
    """Yield the rows of the listing of two copies, the later one second, and how it lies beside the first, in words."""
    copies = None if dataset.same_part is None else dataset.same_part.copies
    if copies is not None:
        for pair, orientation in zip(copies.pairs.tolist(), copies.orientations.tolist(), strict=True):
            first, other = (int(dataset.embeddings.images[row]) for row in pair)
            yield first, other, ORIENTATIONS[orientation]


def same_part_rows(dataset: JudgedDataset) -> Iterator[dict[str, Any]]:
    """Yield a row of `duplicates` for each pair of copies, and of images that show the same part."""
    paths, labels = dataset.listing.paths, dataset.listing.labels
    for first, other, _ in copies_of(dataset):
        yield {
            "path": paths[other],
            "duplicate_of": paths[first],
            "kind": COPY,
            "same_label": labels[first] == labels[other],
        }
    for pair in same_part_pairs(dataset):
        yield {
            "path": paths[pair.other],
            "duplicate_of": paths[pair.first],
            "kind": SAME_PART_DIFFERS if pair.differs else SAME_PART,
            "similarity": pair.similarity,
            "shift_x": pair.shift_x,
            "shift_y": pair.shift_y,
            "same_label": labels[pair.first] == labels[pair.other],
        }


def same_part_findings(dataset: JudgedDataset) -> Iterator[tuple[int, Finding]]:
    """Yield the findings for the later image of each pair, with its row of the listing."""
    paths, labels = dataset.listing.paths, dataset.listing.labels
    for first, other, how in copies_of(dataset):
        label = "" if labels[first] == labels[other] else ", which carries another label"
        partly = any(SHOWN_IN_PART & {one.code for one in dataset.facts[row].findings} for row in (first, other))
        shown = " in what is shown of the two files" if partly else ""
        message = f"a copy of {paths[first]}{shown}{', ' if how else ''}{how}{label}"
        yield other, Finding(code=Code.NEAR_COPY, message=message)
    for pair in same_part_pairs(dataset):
        code = Code.SAME_PART_DIFFERS if pair.differs else Code.SAME_PART
        but = " but for one place" if pair.differs else ""
        message = f"the same part as {paths[pair.first]}{but}, {pair.similarity:.1f} deviations above different parts"
        yield pair.other, Finding(code=code, message=message)
    for first, other in pairs_across_groups(dataset):
        names = " and ".join(repr(dataset.listing.groups[row]) for row in (first, other))
        message = f"the same part as {dataset.listing.paths[first]}, though their groups are {names}"
        yield other, Finding(code=Code.SAME_PART_ACROSS_GROUPS, message=message)
