"""One file from one place to another, so that at every moment a whole copy of it exists.

A file is copied beside its target under a name of its own, brought to the disk, verified, and only then renamed; what
is moved to another filesystem is removed from the old one only after that. Nothing is ever written over.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from curate.errors import CouldNotFinish
from curate.images.names import unicode_name
from curate.splits.files import hash_or_empty, to_disk
from curate.splits.journal import Entry, sync_folder
from curate.splits.modes import Mode

PART = ".curate-part"
"""The name of a copy that is not whole yet; one a folder at a time, removed by whoever finishes or undoes."""


def place(mode: Mode, source: Path, target: Path, entry: Entry) -> None:
    """Link, copy or move one file.

    Raises:
        OSError: the system says no; FileExistsError if something is at the target.
        CouldNotFinish: a copy is not what it should be.
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


def move(source: Path, target: Path, entry: Entry) -> None:
    """Move a file or a link; over filesystems by a verified copy. Errors as for `place`."""
    refuse_taken(target)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if entry.link is not None:
            os.symlink(entry.link, target)  # noqa: PTH211  the very text, a Path would tidy it
        else:
            copy(source, target, entry)
        sync_folder(target.parent)
        source.unlink()


def copy(source: Path, target: Path, entry: Entry) -> None:
    """Copy a file with its mode and times, verified before it has its name. Errors as for `place`."""
    refuse_taken(target)
    part = target.with_name(PART)
    part.unlink(missing_ok=True)
    try:
        shutil.copy2(source, part)
        _keep_owner(source, part)
        to_disk(part)
        if hash_or_empty(part) != entry.sha256:
            raise CouldNotFinish(
                f"{unicode_name(entry.name)}: its copy differs from what was judged: the file changes, or a disk fails"
            )
        os.rename(part, target)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def refuse_taken(target: Path) -> None:
    """Refuse to write over anything.

    Raises:
        FileExistsError: something is there.
    """
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _keep_owner(source: Path, target: Path) -> None:
    status = os.stat(source)
    with suppress(OSError, AttributeError):  # only root may give files away
        os.chown(target, status.st_uid, status.st_gid)
        target.chmod(status.st_mode & 0o7777)
