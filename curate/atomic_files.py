"""Files that are there whole or not at all: written under a temporary name beside the target, then renamed.

    with replacing_file(path) as file:
        file.write(data)

An error inside the block leaves the target as it was and removes the temporary file. A killed process may leave
`.curate-<random>.part` behind. Errors of the system pass as `OSError`: the caller knows what to advise. A target that
is a link stays one: what it leads to is replaced. One that is no regular file (a pipe, `/dev/stdout`) is written to,
since nothing can take its place.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PART_SUFFIX = ".part"


@contextmanager
def replacing_path(path: Path, *, suffix: str = PART_SUFFIX) -> Iterator[Path]:
    """Give the name of a file to write beside `path`; it takes the place of `path` when the block ends well.

    Args:
        path: the target; its folder must exist.
        suffix: of the temporary name, for writers and readers that go by it.

    Raises:
        OSError: the system refuses; the target is untouched.
    """
    place = Path(os.path.realpath(path))
    temporary = place.with_name(f".curate-{uuid.uuid4().hex}{suffix}")
    try:
        yield temporary
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(place.stat().st_mode))
        os.replace(temporary, place)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def replacing_file(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Give an open binary file that takes the place of `path` when the block ends well.

    Its mode is that of the file it replaces; without one, what the umask leaves of 0o666, as for any new file.

    Args:
        path: the target; its folder must exist.
        durable: have the content on the disk before the rename, so that it outlasts a loss of power.

    Raises:
        OSError: the system refuses; the target is untouched.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    with replacing_path(path) as temporary, temporary.open("xb") as file:  # closed before it is renamed
        yield file
        file.flush()
        if durable:
            os.fsync(file.fileno())


def replace_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a text file as UTF-8, lines ending as they do in `text`, whole or not at all; see `replacing_file`."""
    with replacing_file(path, durable=durable) as file:
        file.write(text.encode())


def umask() -> int:
    """Return the permissions that the process takes away from what it makes."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
