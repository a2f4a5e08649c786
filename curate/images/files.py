"""Bytes from disk, whatever lies under a name: only regular files are opened, and nothing waits."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from curate.images.integrity import (
    EMPTY,
    NO_MEMORY,
    NO_PERMISSION,
    NOT_A_FILE,
    NOT_READ,
    TOO_LARGE,
    VANISHED,
    Unreadable,
)
from curate.records import Finding

BYTES_PER_PIXEL = 8
SMALLEST_LIMIT_BYTES = 64 * 2**20
"""Below this a file is read however low --max-pixels is set: the header is what tells that an image is too large."""


def open_regular(file: Path) -> int:
    """Return a descriptor of a regular file; a pipe or device is refused before it can block.

    Raises:
        Unreadable: it is no regular file.
        OSError: the system says no.
    """
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise Unreadable(NOT_A_FILE, "a folder, pipe, socket or device stands where a file is due: remove it")
    return os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def read_file(file: Path, max_pixels: int, *, first_bytes: int = -1, last_bytes: int = 0) -> bytes | Finding:
    """Return the bytes of a file, or the finding that says why there are none; raises nothing for what lies there.

    Args:
        max_pixels: a file of more than 8 bytes for each pixel allowed is not taken into memory.
        first_bytes, last_bytes: only its two ends, put together; by default all of it.
    """
    try:
        with os.fdopen(open_regular(file), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > max(max_pixels * BYTES_PER_PIXEL, SMALLEST_LIMIT_BYTES):
                raise Unreadable(TOO_LARGE, f"the file has {size} bytes, too many for --max-pixels {max_pixels}")
            data = stream.read(first_bytes)
            if last_bytes:
                stream.seek(max(len(data), size - last_bytes))
                data += stream.read()
    except Unreadable as reason:
        return reason.finding
    except MemoryError:
        return Finding(code=NO_MEMORY, message="memory ran out while reading the file: free memory")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have (a NUL byte)
        return _refused(error)
    return data or Finding(code=EMPTY, message="the file is empty: copy it again from its source")


def _refused(error: OSError | ValueError) -> Finding:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Finding(code=VANISHED, message="there is no such file: it was moved, or a link or manifest is stale")
    if isinstance(error, PermissionError):
        return Finding(code=NO_PERMISSION, message="no permission to read the file: grant it or leave the file out")
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return Finding(code=VANISHED, message="the link leads to itself: remove it")
    said = error.strerror if isinstance(error, OSError) else str(error)
    return Finding(code=NOT_READ, message=f"the file could not be read ({said}): check the disk or the name")
