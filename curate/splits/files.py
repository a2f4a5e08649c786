"""From the paths of an audit to files on disk, none outside the dataset.

An audit is not trusted: its paths are looked up in a new listing of the dataset wherever there can be one, and never
joined to the root unchecked.
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

from curate.errors import CouldNotFinish, InputError, UsageError
from curate.images.files import open_regular
from curate.images.integrity import Unreadable
from curate.images.names import unicode_name
from curate.images.sources import ALL_SPLITS, TRAIN, list_images
from curate.records import Layout, Progress, no_progress
from curate.reports.parquet import Audit

WALKED = frozenset((Layout.FLAT, Layout.CLASSES, Layout.MVTEC, Layout.HUGGINGFACE))
THREADS = 4
CHANGED = "the dataset changed since the audit"


@dataclass(frozen=True, kw_only=True)
class Other:
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
        files: by path, the images of the audit, the others and the masks.
        others: images of splits that were not judged.
        masks: the image of each mask, by the mask's path.
    """

    root: Path
    layout: Layout
    files: Mapping[str, Path]
    others: Sequence[Other] = ()
    masks: Mapping[str, str] = field(default_factory=dict)


def locate(audit: Audit, dataset: Path | None = None) -> Located:
    """Find the files of an audit's images.

    Args:
        audit: as read; not trusted.
        dataset: where the dataset lies now; None for where it was scanned.

    Raises:
        InputError: the audit names no dataset or layout, or a path that leads out of the dataset.
        UsageError: the dataset is not there.
        CouldNotFinish: images came or went since the audit.
    """
    source = dataset if dataset is not None else Path(_told(audit, "dataset"))
    if not os.path.exists(source):  # noqa: PTH110  False also for names that no file can have
        raise UsageError(
            f"{unicode_name(str(source))}: the dataset of the audit is not there: say where it is with --dataset"
        )
    rows = audit.tables["images"].select(["path", "sha256"]).to_pylist()
    for row in rows:
        refuse_path(row["path"])
    try:
        layout = Layout(_told(audit, "layout"))
    except ValueError as error:
        raise InputError(f"{audit.path}: the layout of the audit is none that is known: scan again") from error
    if layout in WALKED or not source.is_dir():
        return _listed(audit, source, layout, [row["path"] for row in rows])
    root = source.resolve()
    return Located(
        root=root, layout=layout, files={row["path"]: _find(root, row["path"], row["sha256"]) for row in rows}
    )


def _told(audit: Audit, key: str) -> str:
    value = audit.run.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(f"{audit.path}: run.json says no {key}: scan the dataset again")
    return value


def locate_one(audit: Audit, path: str, dataset: Path | None = None) -> Path:
    """Return the file of one image; errors as for `locate`, and none may lie outside the dataset."""
    located = locate(audit, dataset)
    refuse_outside(located.root, located.files[path])
    return located.files[path]


def refuse_path(path: Any) -> None:
    """Refuse a path that could lead anywhere but below a root.

    Raises:
        InputError: it is absolute, climbs, is empty or cannot be a name.
    """
    parts = path.split("/") if isinstance(path, str) else [""]
    if "\0" in parts[0] or any(part in ("", ".", "..") or "\0" in part for part in parts) or Path(path).is_absolute():
        raise InputError(f"{path!r}: leads out of the dataset, or is no path in it: nothing was touched")


def _listed(audit: Audit, source: Path, layout: Layout, paths: Sequence[str]) -> Located:
    listing = list_images(source, layout=layout, split=_all_splits(layout))
    files = dict(zip(listing.paths, listing.files, strict=True))
    gone = [path for path in paths if path not in files]
    if gone:
        raise CouldNotFinish(f"{CHANGED}: {len(gone)} of its images are gone, the first {gone[0]}: scan again")
    columns = zip(listing.paths, listing.labels, listing.splits, listing.groups, strict=True)
    known = set(paths)
    others = [Other(path=p, label=la, split=s, group=g) for p, la, s, g in columns if p not in known]
    judged = _judged_split(audit, layout)
    new = [other.path for other in others if judged in (ALL_SPLITS, other.split)]
    if new:
        raise CouldNotFinish(f"{CHANGED}: {len(new)} images are new, the first {new[0]}: scan again")
    return Located(root=listing.root, layout=listing.layout, files=files, others=others)


def _all_splits(layout: Layout) -> str | None:
    return ALL_SPLITS if layout is Layout.MVTEC else None  # elsewhere None is all of them


def _judged_split(audit: Audit, layout: Layout) -> str:
    asked = (audit.run.get("settings") or {}).get("split")
    return str(asked) if asked else TRAIN if layout is Layout.MVTEC else ALL_SPLITS


def _find(root: Path, path: str, sha256: str) -> Path:
    r"""Return the file of a path that no listing can give; bytes that are not UTF-8 stand in it as `\xNN`."""
    plain = root / path
    if "\\" not in path or os.path.lexists(plain):
        return plain
    names = {path, re.sub(r"~\d+$", "", path)}
    candidates = [file for name in names for file in _spelt(root, name.split("/"))]
    return next((file for file in candidates if sha256 and hash_or_empty(file) == sha256), plain)


def _spelt(folder: Path, parts: Sequence[str]) -> list[Path]:
    """Return the files below a folder whose names are spelt so once they are valid Unicode."""
    try:
        entries = [file.name for file in folder.iterdir() if unicode_name(file.name) == parts[0]]
    except OSError:
        return []
    if len(parts) == 1:
        return [folder / entry for entry in sorted(entries)]
    return [file for entry in sorted(entries) for file in _spelt(folder / entry, parts[1:])]


def refuse_outside(root: Path, file: Path, *, follow_links: bool = False) -> None:
    """Refuse a file that lies elsewhere than below the root, whatever links say.

    Args:
        root: the dataset's folder, resolved.
        file: an entry below it; links in its path are followed.
        follow_links: the entry itself may be a link that leads out; its folder may not.

    Raises:
        InputError: it does.
    """
    place = file.parent if follow_links else file
    real = Path(os.path.realpath(place))
    if real != root and not real.is_relative_to(root):
        raise InputError(
            f"{unicode_name(str(file))}: a link that leads out of the dataset: nothing was touched; "
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
    """Return the sha256 of a file, "" where there is none that can be read."""
    try:
        return sha256_of(file)
    except (OSError, ValueError):
        return ""


def hashes(files: Iterable[Path], *, progress: Progress = no_progress) -> list[str]:
    """Return the sha256 of each file, "" where it cannot be read; in order, several at a time."""

    def one(file: Path) -> str:
        value = hash_or_empty(file)
        progress(1)
        return value

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, files))


def to_disk(place: Path) -> None:
    """Bring a file, or the names in a folder, to the disk.

    Raises:
        OSError: the system cannot.
    """
    descriptor = os.open(place, os.O_RDONLY)  # for reading: a file's mode may forbid writing, and it is synced as well
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_regular(file: Path) -> bool:
    """Return whether a regular file, or a link to one, stands there."""
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except (OSError, ValueError):
        return False
