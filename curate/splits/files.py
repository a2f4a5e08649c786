"""From the paths of an audit to files on disk, none outside the dataset.

An audit is not trusted: its paths are looked up in a new listing of the dataset where the layout allows one, and are
never joined to the root unchecked.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.audit.parquet import Audit
from curate.errors import CouldNotFinish, InputError, UsageError
from curate.images.files import open_regular
from curate.images.integrity import Unreadable
from curate.images.name_groups import captured
from curate.images.names import unicode_name
from curate.images.sources import ALL_SPLITS, TRAIN, list_images
from curate.progress import Progress, no_progress
from curate.records import Layout, Listing
from curate.splits.sidecars import find_sidecars

WALKED = frozenset((Layout.FLAT, Layout.CLASSES, Layout.MVTEC, Layout.HUGGINGFACE))
THREADS = 4
CHANGED = "the dataset changed since the audit"


@dataclass(frozen=True, kw_only=True)
class UnjudgedImage:
    """An image of a split that the audit did not judge."""

    path: str
    label: str
    split: str
    group: str


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where the files of a dataset are.

    Attributes:
        root: the dataset's folder, resolved.
        layout: how it was read.
        files: by path, all images, masks and sidecar files.
        others: images of splits that were not judged.
        attached: the image of each mask and sidecar file, by that file's path.
        unattached: number of masks that belong to no image, or to several.
    """

    root: Path
    layout: Layout
    files: Mapping[str, Path]
    others: Sequence[UnjudgedImage] = ()
    attached: Mapping[str, str] = field(default_factory=dict)
    unattached: int = 0


def locate(audit: Audit, dataset: Path | None = None) -> Located:
    """Find the files of an audit's images.

    Args:
        audit: as read; not trusted.
        dataset: the dataset's present location; None for where it was scanned.

    Raises:
        InputError: the audit names no dataset or layout, or a path that leads out of the dataset.
        UsageError: the dataset does not exist.
        CouldNotFinish: images were added or removed since the audit.
    """
    source = dataset if dataset is not None else Path(_setting(audit, "dataset"))
    if not os.path.exists(source):  # noqa: PTH110  False also for names that no file can have
        raise UsageError(
            f"{unicode_name(str(source))}: the dataset does not exist; name its new location with --dataset"
        )
    rows = audit.tables["images"].select(["path", "sha256"]).to_pylist()
    for row in rows:
        refuse_path(row["path"])
    try:
        layout = Layout(_setting(audit, "layout"))
    except ValueError as error:
        raise InputError(f"{audit.path}: the audit has an unknown layout; scan again") from error
    if layout in WALKED or not source.is_dir():
        return _listed(audit, source, layout=layout, paths=[row["path"] for row in rows])
    root = source.resolve()
    return Located(
        root=root, layout=layout, files={row["path"]: _find(root, row["path"], row["sha256"]) for row in rows}
    )


def _setting(audit: Audit, key: str) -> str:
    value = audit.run.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(f"{audit.path}: run.json has no {key}; scan the dataset again")
    return value


def locate_one(audit: Audit, path: str, dataset: Path | None = None) -> Path:
    """Return the file of one image; errors as for `locate`, and an InputError if it lies outside the dataset."""
    located = locate(audit, dataset)
    refuse_outside(located.root, located.files[path])
    return located.files[path]


def refuse_path(path: Any) -> None:
    """Refuse a path that could lead outside a root.

    Raises:
        InputError: it is absolute or empty, has a part `..` or `.`, or cannot be a file name.
    """
    parts = path.split("/") if isinstance(path, str) else [""]
    if "\0" in parts[0] or any(part in ("", ".", "..") or "\0" in part for part in parts) or Path(path).is_absolute():
        raise InputError(f"{path!r}: leads out of the dataset, or is not a path in it; nothing was touched")


def _listed(audit: Audit, source: Path, *, layout: Layout, paths: Sequence[str]) -> Located:
    listing = list_images(source, layout=layout, split=_all_splits(layout))
    files = dict(zip(listing.paths, listing.files, strict=True))
    missing = [path for path in paths if path not in files]
    if missing:
        raise CouldNotFinish(f"{CHANGED}: {plural(len(missing), 'image')} missing, first {missing[0]}; scan again")
    columns = zip(listing.paths, listing.labels, listing.splits, _groups(audit, listing), strict=True)
    in_audit = set(paths)
    others = [UnjudgedImage(path=p, label=la, split=s, group=g) for p, la, s, g in columns if p not in in_audit]
    judged = _judged_split(audit, layout)
    new = [other.path for other in others if judged in (ALL_SPLITS, other.split)]
    if new:
        raise CouldNotFinish(f"{CHANGED}: {plural(len(new), 'new image')}, first {new[0]}; scan again")
    masks = {path: mask for path, mask in listing.masks.items() if mask[1]}
    attached = masks | find_sidecars(listing.root, files)
    return Located(
        root=listing.root,
        layout=listing.layout,
        files=files | {path: file for path, (file, _) in attached.items()},
        others=others,
        attached={path: image for path, (_, image) in attached.items()},
        unattached=len(listing.masks) - len(masks),
    )


def _groups(audit: Audit, listing: Listing) -> Sequence[str]:
    """Return the group of each file, from its name if the audit's groups are."""
    regex = (audit.run.get("settings") or {}).get("group_from")
    if not isinstance(regex, str) or any(listing.groups):
        return listing.groups
    try:
        return captured(listing.paths, regex)
    except ValueError as error:
        raise InputError(f"{audit.path}: run.json has a group_from that RE2 cannot read; scan again") from error


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: 1 file, 2 files."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _all_splits(layout: Layout) -> str | None:
    return ALL_SPLITS if layout is Layout.MVTEC else None  # elsewhere None is all of them


def _judged_split(audit: Audit, layout: Layout) -> str:
    split = (audit.run.get("settings") or {}).get("split")
    return str(split) if split else TRAIN if layout is Layout.MVTEC else ALL_SPLITS


def _find(root: Path, path: str, sha256: str) -> Path:
    r"""Return the file of a path without a listing; the path spells bytes that are not UTF-8 as `\xNN`."""
    plain = root / path
    if "\\" not in path or os.path.lexists(plain):
        return plain
    names = {path, re.sub(r"~\d+$", "", path)}
    candidates = [file for name in names for file in _spelt(root, name.split("/"))]
    return next((file for file in candidates if sha256 and hash_or_empty(file) == sha256), plain)


def _spelt(folder: Path, parts: Sequence[str]) -> list[Path]:
    """Return the files below a folder whose names, as valid Unicode, are these parts."""
    try:
        entries = [file.name for file in folder.iterdir() if unicode_name(file.name) == parts[0]]
    except OSError:
        return []
    if len(parts) == 1:
        return [folder / entry for entry in sorted(entries)]
    return [file for entry in sorted(entries) for file in _spelt(folder / entry, parts[1:])]


def refuse_outside(root: Path, file: Path, *, follow_links: bool = False) -> None:
    """Refuse a file that lies outside the root once links are followed.

    Args:
        root: the dataset's folder, resolved.
        file: a path below it; links in it are followed.
        follow_links: the file itself may be a link that leads out of the root; its folder may not.

    Raises:
        InputError: it lies outside.
    """
    place = file.parent if follow_links else file
    real = Path(os.path.realpath(place))
    if real != root and not real.is_relative_to(root):
        raise InputError(
            f"{unicode_name(str(file))}: a link that leads out of the dataset; nothing was touched: "
            "add --follow-links if an image may be a link to elsewhere, or choose another dataset"
        )


def sha256_of(file: Path) -> str:
    """Return the sha256 of a regular file, hex.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    try:
        with os.fdopen(open_regular(file), "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except Unreadable as error:
        raise OSError(f"{file}: not a regular file") from error


def hash_or_empty(file: Path) -> str:
    """Return the sha256 of a file, "" if it cannot be read."""
    try:
        return sha256_of(file)
    except (OSError, ValueError):
        return ""


def hashes(files: Iterable[Path], *, progress: Progress = no_progress) -> list[str]:
    """Return the sha256 of each file in order, "" if it cannot be read; several files are read at a time."""

    def one(file: Path) -> str:
        value = hash_or_empty(file)
        progress(1)
        return value

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, files))


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk.

    Raises:
        OSError: the system cannot.
    """
    descriptor = os.open(path, os.O_RDONLY)  # a file's mode may forbid writing, and reading is enough to sync it
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_regular(file: Path) -> bool:
    """Return whether a path is a regular file, or a link to one."""
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except (OSError, ValueError):
        return False
