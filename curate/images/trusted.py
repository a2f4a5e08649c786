"""Which images are known to be nominal: a split of the dataset, a folder, a manifest, or a column of its own manifest.

A file that the dataset lists too is trusted there. All others lie outside the dataset: the dataset's images are judged
by them, and nothing is said about them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curate.errors import NothingToAudit, UsageError
from curate.images.names import unicode_name
from curate.images.sources import ALL_SPLITS, STDIN, list_images
from curate.records import Layout, Listing

SPLITS_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class TrustedFiles:
    """A dataset with what is known to be nominal.

    Attributes:
        listing: the N files of the dataset, `trusted` settled; then those outside of it (`Listing.outside`).
        of_no_class: how many images were named whose label the dataset does not have: they are of no use.
    """

    listing: Listing
    of_no_class: int = 0


def find_trusted(
    listing: Listing,
    trusted: str | None,
    dataset: str | Path,
    *,
    layout: Layout | None = None,
    root: Path | None = None,
) -> TrustedFiles:
    """Say of a dataset's files which are known to be nominal, and add those outside the dataset.

    Args:
        listing: the dataset's files.
        trusted: a split of the dataset, a folder, or a manifest, of which rows whose column `trusted` says no are left
            out; None for the column `trusted` of the dataset's own manifest.
        dataset, layout, root: what the listing was made from; the paths of a trusted manifest begin at `root` too.

    Raises:
        UsageError: there is no such split, folder or manifest, it holds no image, or none with a label of the dataset.
        InputError: the manifest cannot be used.
    """
    if trusted is None:
        return TrustedFiles(listing=replace(listing, trusted=tuple(mark is True for mark in listing.trusted)))
    named = _named(trusted, dataset, layout=layout, root=root)
    place = {os.path.realpath(file): row for row, file in enumerate(listing.files)}
    rows = [place.get(os.path.realpath(file)) for file in named.files]
    listed = {row for row in rows if row is not None}
    settled = replace(listing, trusted=tuple(row in listed for row in range(len(listing))))
    others = [i for i, row in enumerate(rows) if row is None]
    labels = _labels(named, others, set(listing.labels))
    usable = [i for i, label in zip(others, labels, strict=True) if label is not None]
    if not listed and not usable:
        raise UsageError(_no_label(trusted, named, sorted(set(listing.labels))))
    if usable:
        outside = _outside(named, usable, [label for label in labels if label is not None])
        settled = settled.followed_by(outside)
    return TrustedFiles(listing=settled, of_no_class=len(others) - len(usable))


def _named(trusted: str, dataset: str | Path, *, layout: Layout | None, root: Path | None) -> Listing:
    """Return the files that `--trusted` names."""
    splits: Sequence[str] = ()
    if str(dataset) != STDIN:
        everything = list_images(dataset, layout=layout, split=ALL_SPLITS, root=root)
        splits = sorted(set(everything.splits) - {""})
        if trusted in splits:
            return _rows(everything, [row for row, split in enumerate(everything.splits) if split == trusted])
    if trusted == STDIN or not os.path.exists(trusted):  # noqa: PTH110  False also for names that no file can have
        there = ", ".join(splits[:SPLITS_NAMED]) or "none"
        raise UsageError(
            f"--trusted {unicode_name(trusted)}: there is no such folder or manifest, and no such split of the dataset "
            f"(its splits: {there}): check the path"
        )
    try:
        named = list_images(trusted, split=ALL_SPLITS, root=None if Path(trusted).is_dir() else root)
    except NothingToAudit as error:
        raise UsageError(f"--trusted {unicode_name(trusted)}: holds no image: check the path") from error
    kept = [row for row, mark in enumerate(named.trusted) if mark is not False]
    if not kept:
        raise UsageError(
            f"--trusted {unicode_name(trusted)}: its column trusted says no throughout: name nominal images"
        )
    return _rows(named, kept)


def _rows(listing: Listing, rows: Sequence[int]) -> Listing:
    """Return some files of a listing, without its findings."""
    return Listing(
        root=listing.root,
        layout=listing.layout,
        paths=tuple(listing.paths[row] for row in rows),
        files=tuple(listing.files[row] for row in rows),
        labels=tuple(listing.labels[row] for row in rows),
        splits=tuple(listing.splits[row] for row in rows),
        groups=tuple(listing.groups[row] for row in rows),
    )


def _labels(named: Listing, rows: Sequence[int], known: set[str]) -> list[str | None]:
    """Return by row the label of the dataset that an image outside of it has; None if it has none of them.

    Without a label of its own it has the name of the folder above it, if the dataset has that label. Where the dataset
    has a single label, an image without one has it; and so has any image, where that label is "".
    """
    only = next(iter(known)) if len(known) == 1 else None
    labels: list[str | None] = []
    for row in rows:
        own, folder = named.labels[row], unicode_name(named.files[row].parent.name)
        if own in known:
            labels.append(own)
        elif not own and folder in known:
            labels.append(folder)
        else:
            labels.append(only if only == "" or not own else None)
    return labels


def _outside(named: Listing, rows: Sequence[int], labels: Sequence[str]) -> Listing:
    """Return files outside the dataset, trusted; a path is absolute there, so that it is none of the dataset's."""
    files = _rows(named, rows)
    paths = tuple(f"{unicode_name(str(named.root)).rstrip('/')}/{path}" for path in files.paths)
    return replace(files, paths=paths, labels=tuple(labels), splits=("",) * len(rows), trusted=(True,) * len(rows))


def _no_label(trusted: str, named: Listing, labels: Sequence[str]) -> str:
    first = named.labels[0]
    known = ", ".join(repr(label) for label in labels[:SPLITS_NAMED])
    return (
        f"--trusted {unicode_name(trusted)}: none of the {len(named)} images has a label of the dataset ({known}), the "
        f"first has {first!r}: put them into folders named as the classes, or list them in a manifest with a label"
    )
