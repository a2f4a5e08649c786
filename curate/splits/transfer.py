"""Link, copy or move one file, so that a whole copy of it exists at every moment.

A file is copied to a temporary name beside its target, flushed to the disk, verified, and only then renamed. A move to
another file system removes the original only after that. No file is ever overwritten.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from curate.errors import CouldNotFinish
from curate.images.names import unicode_name
from curate.splits.files import hash_or_empty, sync
from curate.splits.journal import JournalEntry, sync_folder
from curate.splits.modes import Mode

PART = ".curate-part"
"""The name of an unfinished copy, one a folder at a time. Finishing or undoing the apply removes it."""


def place(source: Path, target: Path, entry: JournalEntry, *, mode: Mode) -> None:
    """Link, copy or move one file.

    Raises:
        OSError: the system refuses; FileExistsError if the target exists.
        CouldNotFinish: a copy differs from what was judged.
    """
    match mode:
        case Mode.SYMLINK:
            target.symlink_to(source)
        case Mode.HARDLINK:
            os.link(os.path.realpath(source), target)
        case Mode.COPY:
            copy(source, target, entry)
        case Mode.MOVE:
            move(source, target, entry)


def move(source: Path, target: Path, entry: JournalEntry) -> None:
    """Move a file or a link, to another file system by a verified copy. Errors as for `place`."""
    refuse_taken(target)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if entry.link is not None:
            os.symlink(entry.link, target)  # noqa: PTH211  the exact text, which a Path would normalise
        else:
            copy(source, target, entry)
        sync_folder(target.parent)
        source.unlink()


def copy(source: Path, target: Path, entry: JournalEntry) -> None:
    """Copy a file with its mode and times, and verify it before it gets its name. Errors as for `place`."""
    refuse_taken(target)
    part = target.with_name(PART)
    part.unlink(missing_ok=True)
    try:
        shutil.copy2(source, part)
        _keep_owner(source, part)
        sync(part)
        if hash_or_empty(part) != entry.sha256:
            raise CouldNotFinish(
                f"{unicode_name(entry.name)}: its copy differs from what was judged; "
                "check whether another program writes to the file, or the disk fails"
            )
        os.rename(part, target)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def refuse_taken(target: Path) -> None:
    """Refuse to overwrite a file.

    Raises:
        FileExistsError: the target exists.
    """
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _keep_owner(source: Path, target: Path) -> None:
    status = os.stat(source)
    with suppress(OSError, AttributeError):  # only root may change the owner
        os.chown(target, status.st_uid, status.st_gid)
        target.chmod(status.st_mode & 0o7777)
