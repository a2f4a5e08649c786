"""Read files whatever a name stands for: only regular files are opened, and nothing blocks."""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from curate.findings import Code
from curate.images.integrity import Unreadable
from curate.images.names import printable, unicode_name
from curate.records import Finding

BYTES_PER_PIXEL = 8
SMALLEST_LIMIT_BYTES = 64 * 2**20
"""Files below this size are read however low --max-pixels is: their header then tells that the image is too large."""

NEAR = 8
"""Names before and after a missing one, in their order, among which the nearest is looked for."""

STORES = ((".git/annex/objects/", "git annex get"), (".dvc/cache/", "dvc pull"))
"""Folders of tools that keep the content of files apart, by links, and the commands that fetch it."""


def open_regular(file: Path) -> int:
    """Return the descriptor of a regular file; a pipe or device is refused before it can block.

    Raises:
        Unreadable: it is no regular file.
        OSError: the system refuses.
    """
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise Unreadable(Code.NOT_A_FILE, "a folder, pipe, socket or device stands where a file is due: remove it")
    return os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def read_file(file: Path, max_pixels: int, *, first_bytes: int = -1, last_bytes: int = 0) -> bytes | Finding:
    """Return the bytes of a file, or the finding that says why there are none. Never raises.

    Args:
        max_pixels: a file of more than 8 bytes for each pixel allowed is not read into memory.
        first_bytes, last_bytes: read only the two ends of the file, joined; by default all of it.
    """
    try:
        with os.fdopen(open_regular(file), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > max(max_pixels * BYTES_PER_PIXEL, SMALLEST_LIMIT_BYTES):
                raise Unreadable(Code.TOO_LARGE, f"the file has {size} bytes, too many for --max-pixels {max_pixels}")
            data = stream.read(first_bytes)
            if last_bytes:
                stream.seek(max(len(data), size - last_bytes))
                data += stream.read()
    except Unreadable as unreadable:
        return unreadable.finding
    except MemoryError:
        return Finding(code=Code.NO_MEMORY, message="memory ran out while reading the file: free memory")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have (a NUL byte)
        return _refused(error, file)
    return data or Finding(code=Code.EMPTY_FILE, message="the file is empty: copy it again from its source")


def _refused(error: OSError | ValueError, file: Path) -> Finding:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        for store, command in STORES:
            if store in _link_target(file):
                return Finding(code=Code.VANISHED, message=f"its content is not on this machine: run {command}")
        near = _nearest(file)
        message = "there is no such file: it was moved, or a link or manifest is stale"
        return Finding(code=Code.VANISHED, message=f"{message}; the nearest is {near}" if near else message)
    if isinstance(error, PermissionError):
        return Finding(
            code=Code.NO_PERMISSION, message="no permission to read the file: grant it or leave the file out"
        )
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return Finding(code=Code.VANISHED, message="the link leads to itself: remove it")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return Finding(code=Code.NOT_READ, message=f"the file could not be read ({reason}): check the disk or the name")


def _link_target(file: Path) -> str:
    try:
        return file.readlink().as_posix()
    except OSError:  # no link
        return ""


def _nearest(file: Path) -> str:
    """Return the existing file or folder whose name is most like that of one that is missing, "" if none is."""
    if os.path.lexists(file):  # a broken link
        return ""
    missing = next(path for path in (file, *file.parents) if path.parent.exists())
    try:
        names = _names_in(missing.parent, missing.parent.stat().st_mtime_ns)
    except OSError:
        return ""
    at = bisect(names, missing.name)
    like = get_close_matches(missing.name, names[max(0, at - NEAR) : at + NEAR], n=1)
    return printable(unicode_name(f"{missing.parent.name}/{like[0]}")) if like else ""


@lru_cache(maxsize=32)
def _names_in(folder: Path, changed_ns: int) -> tuple[str, ...]:
    """Return the names in a folder, sorted; `changed_ns` is its time of change, so that a later listing is its own."""
    return tuple(sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))
