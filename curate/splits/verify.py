"""Whether the originals are still what the audit saw; asked before the first file is touched."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from curate.errors import CouldNotFinish, UsageError, WriteError
from curate.images.names import unicode_name
from curate.records import Progress, no_progress
from curate.splits.files import CHANGED, hashes, refuse_outside, refuse_path
from curate.splits.journal import Entry
from curate.splits.modes import Mode
from curate.splits.plan import Row

SPARE_BYTES = 2**20
"""Left free on a disk beside what is copied there."""


def check_originals(
    rows: Sequence[Row],
    files: Mapping[str, Path],
    root: Path,
    *,
    follow_links: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Entry]:
    """Return every file of a plan as it is now, by path; files that never could be read are left out.

    Raises:
        InputError: a path or a link leads out of the dataset.
        CouldNotFinish: a file changed or is missing.
    """
    known = [row for row in rows if row.sha256]
    gone = [row.path for row in known if row.path not in files]
    if gone:
        refuse_changed(gone[0], len(gone), missing=True)
    for row in known:
        refuse_path(row.path)
        refuse_outside(root, files[row.path], follow_links=follow_links)
    before = [_seen(files[row.path]) for row in known]
    now = hashes((files[row.path] for row in known), progress=progress)
    wrong = [row for row, value in zip(known, now, strict=True) if value != row.sha256]
    if wrong:
        refuse_changed(wrong[0].path, len(wrong), missing=not os.path.lexists(files[wrong[0].path]))
    return {
        row.path: Entry(
            name=_name(files[row.path], root), sha256=row.sha256, link=link, size_bytes=size, mtime_ns=mtime
        )
        for row, (link, size, mtime) in zip(known, before, strict=True)
    }


def refuse_changed(path: str, count: int, *, missing: bool) -> None:
    """Say that originals are not what they were.

    Raises:
        CouldNotFinish: always.
    """
    what = "missing" if missing else "changed"
    more = f" (and {count - 1} more)" if count > 1 else ""
    raise CouldNotFinish(f"{path}: {what}{more}; {CHANGED}, and nothing was touched: bring it back, or scan again")


def _seen(file: Path) -> tuple[str | None, int, int]:
    try:
        status = os.lstat(file)
        link = os.readlink(file) if stat.S_ISLNK(status.st_mode) else None  # noqa: PTH115  the very text
        return link, status.st_size, status.st_mtime_ns
    except (OSError, ValueError):
        return None, 0, 0


def _name(file: Path, root: Path) -> str:
    return os.path.relpath(file, root).replace(os.sep, "/")


def is_unchanged(file: Path, entry: Entry) -> bool:
    """Tell by size and time whether a file is still what was verified."""
    return _seen(file) == (entry.link, entry.size_bytes, entry.mtime_ns)


def check_target(folder: Path, root: Path, entries: Iterable[Entry], mode: Mode) -> None:
    """Refuse what can be known to fail before it is begun.

    Raises:
        UsageError: hard links are asked for to another filesystem.
        WriteError: no room for copies, or no permission to move files away.
    """
    entries, device = list(entries), os.stat(folder).st_dev
    files = [root / entry.name for entry in entries]
    if mode is Mode.HARDLINK:
        elsewhere = next((file for file in files if os.stat(file).st_dev != device), None)
        if elsewhere is not None:
            raise UsageError(
                f"--apply hardlink: {unicode_name(str(elsewhere))} lies on another filesystem than {folder}: "
                "use copy or symlink, or a folder there"
            )
    copied = mode is Mode.COPY or (mode is Mode.MOVE and os.stat(root).st_dev != device)
    wanted = sum(entry.size_bytes for entry in entries) if copied else 0
    if wanted and shutil.disk_usage(folder).free < wanted + SPARE_BYTES:
        raise WriteError(
            f"{folder}: no room for {wanted} bytes of images, nothing was touched: make room, or use symlink"
        )
    if mode is Mode.MOVE:
        locked = next((parent for parent in {file.parent for file in files} if not os.access(parent, os.W_OK)), None)
        if locked is not None:
            raise WriteError(
                f"{unicode_name(str(locked))}: {os.strerror(errno.EACCES).lower()} to move images away, "
                "nothing was touched: grant it, or use copy, hardlink or symlink"
            )
