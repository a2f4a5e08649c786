"""Whether the originals are still what the audit judged; checked before the first file is touched."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from curate.errors import CouldNotFinish, UsageError, WriteError
from curate.images.names import unicode_name
from curate.progress import Progress, no_progress
from curate.splits.files import CHANGED, hashes, refuse_outside, refuse_path
from curate.splits.journal import JournalEntry
from curate.splits.modes import Mode
from curate.splits.plan import PlanRow

SPARE_BYTES = 2**20
"""Free space that a copy must leave on the disk."""


def check_originals(
    rows: Sequence[PlanRow],
    files: Mapping[str, Path],
    root: Path,
    *,
    follow_links: bool = False,
    progress: Progress = no_progress,
) -> dict[str, JournalEntry]:
    """Return every file of a plan as it is now, by path, without files that the audit could not read.

    Raises:
        InputError: a path or a link leads out of the dataset.
        CouldNotFinish: a file changed or is missing.
    """
    readable = [row for row in rows if row.sha256]
    missing = [row.path for row in readable if row.path not in files]
    if missing:
        refuse_changed(missing[0], len(missing), missing=True)
    for row in readable:
        refuse_path(row.path)
        refuse_outside(root, files[row.path], follow_links=follow_links)
    before = [_status(files[row.path]) for row in readable]
    now = hashes((files[row.path] for row in readable), progress=progress)
    changed = [row for row, value in zip(readable, now, strict=True) if value != row.sha256]
    if changed:
        refuse_changed(changed[0].path, len(changed), missing=not os.path.lexists(files[changed[0].path]))
    return {
        row.path: JournalEntry(
            name=_name(files[row.path], root), sha256=row.sha256, link=link, size_bytes=size, mtime_ns=mtime
        )
        for row, (link, size, mtime) in zip(readable, before, strict=True)
    }


def refuse_changed(path: str, count: int, *, missing: bool) -> None:
    """Raise the error for originals that changed or are missing.

    Raises:
        CouldNotFinish: always.
    """
    what = "missing" if missing else "changed"
    more = f" (and {count - 1} more)" if count > 1 else ""
    raise CouldNotFinish(f"{path}: {what}{more}; {CHANGED}, and nothing was touched: restore the file, or scan again")


def _status(file: Path) -> tuple[str | None, int, int]:
    try:
        status = os.lstat(file)
        link = os.readlink(file) if stat.S_ISLNK(status.st_mode) else None  # noqa: PTH115  the exact text
        return link, status.st_size, status.st_mtime_ns
    except (OSError, ValueError):
        return None, 0, 0


def _name(file: Path, root: Path) -> str:
    return os.path.relpath(file, root).replace(os.sep, "/")


def is_unchanged(file: Path, entry: JournalEntry) -> bool:
    """Return whether a file still has the size and time that it had when it was verified."""
    return _status(file) == (entry.link, entry.size_bytes, entry.mtime_ns)


def check_target(folder: Path, root: Path, entries: Iterable[JournalEntry], *, mode: Mode) -> None:
    """Refuse an apply that is known to fail before it starts.

    Raises:
        UsageError: hard links to another file system.
        WriteError: no room for copies, or no permission to move files away.
    """
    entries = list(entries)
    files = [root / entry.name for entry in entries]
    if mode is Mode.HARDLINK:
        _refuse_other_device(folder, files)
    if mode is Mode.COPY or (mode is Mode.MOVE and os.stat(root).st_dev != os.stat(folder).st_dev):
        _refuse_no_room(folder, sum(entry.size_bytes for entry in entries))
    if mode is Mode.MOVE:
        _refuse_no_permission({file.parent for file in files})


def _refuse_other_device(folder: Path, files: Sequence[Path]) -> None:
    device = os.stat(folder).st_dev
    other = next((file for file in files if os.stat(file).st_dev != device), None)
    if other is not None:
        raise UsageError(
            f"--apply hardlink: {unicode_name(str(other))} lies on another file system than {folder}; "
            "use copy or symlink, or a folder there"
        )


def _refuse_no_room(folder: Path, size_bytes: int) -> None:
    if size_bytes and shutil.disk_usage(folder).free < size_bytes + SPARE_BYTES:
        raise WriteError(
            f"{folder}: no room for {size_bytes} bytes of images, nothing was touched; make room, or use symlink"
        )


def _refuse_no_permission(folders: Iterable[Path]) -> None:
    protected = next((folder for folder in folders if not os.access(folder, os.W_OK)), None)
    if protected is not None:
        raise WriteError(
            f"{unicode_name(str(protected))}: {os.strerror(errno.EACCES).lower()} to move images away, "
            "nothing was touched; grant it, or use copy, hardlink or symlink"
        )
