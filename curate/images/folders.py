"""Walk a folder of images: count hidden and other files, follow linked folders once, survive loops.

This is the only walk over a dataset: what is listed, carried along or taken as noise is found here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

IMAGE_SUFFIXES = frozenset(
    (
        *(".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
        *(".jpg", ".jpeg", ".jfif", ".jpe", ".jif", ".pjpeg"),
        *(".pgm", ".ppm", ".pbm", ".pnm"),
        *(".jp2", ".j2k", ".j2c", ".jpx"),
        *(".heic", ".heif", ".hif", ".avif"),
    )
)
SYSTEM_FOLDERS = frozenset(
    (
        *("@eadir", "@__thumb", "@recycle", "@recently-snapshot", "@sharebin", "@tmp", "#recycle", "#snapshot"),
        *("~snapshot", "lost+found", "$recycle.bin", "recycler", "system volume information", "__macosx"),
        *("network trash folder", "temporary items", "__pycache__", "node_modules"),
    )
)
"""Folders of network drives, operating systems and editors, in lower case: no part of a dataset."""


class FoundFile(NamedTuple):
    """An image file: its name below the root with "/" between folders, and where it is."""

    name: str
    file: Path


class _Folder(NamedTuple):
    """A folder to walk: where it is, and what the names of its files begin with."""

    path: str
    prefix: str


@dataclass
class _Walk:
    """Folders still to visit, and those seen by (device, inode): a folder reached twice is walked once."""

    ignored: Counter[str]
    suffixes: frozenset[str]
    waiting: list[_Folder]
    links: list[_Folder] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def next_folder(self) -> _Folder | None:
        """Return the next folder; real folders come before links to them."""
        if not self.waiting and self.links:
            self.links.sort()
            self.waiting.append(self.links.pop(0))
        return self.waiting.pop() if self.waiting else None


def walk(root: Path, ignored: Counter[str], suffixes: frozenset[str] = IMAGE_SUFFIXES) -> Iterator[FoundFile]:
    """Yield the image files below `root`, in no promised order, and count in `ignored` all other entries.

    Masks are among them: see `curate.images.masks`. Folders of the system (`SYSTEM_FOLDERS`) are counted, not walked.

    A link to a folder is followed unless that folder was walked already; a link to an image is an image, broken
    or not. A folder that cannot be opened is counted and skipped.

    Args:
        suffixes: of the files to yield, in lower case with the dot.
    """
    state = _Walk(ignored=ignored, suffixes=suffixes, waiting=[_Folder(os.fspath(root), "")])
    while (folder := state.next_folder()) is not None:
        yield from _scan(state, folder)


def _scan(state: _Walk, folder: _Folder) -> Iterator[FoundFile]:
    try:
        status = os.stat(folder.path)
        identity = (status.st_dev, status.st_ino)
        if identity in state.seen:
            state.ignored["folder seen before"] += 1
            return
        state.seen.add(identity)
        with os.scandir(folder.path) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        state.ignored["unreadable folder"] += 1
        return
    for entry in entries:
        if entry.name.startswith("."):
            state.ignored["hidden"] += 1
        elif _is_folder(entry):
            if entry.name.lower() in SYSTEM_FOLDERS:
                state.ignored["system folder"] += 1
                continue
            inside = _Folder(entry.path, f"{folder.prefix}{entry.name}/")
            (state.links if entry.is_symlink() else state.waiting).append(inside)
        elif os.path.splitext(entry.name)[1].lower() not in state.suffixes:  # noqa: PTH122  four times as fast
            state.ignored["not an image"] += 1
        else:
            yield FoundFile(f"{folder.prefix}{entry.name}", Path(entry.path))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: listed, and unreadable when decoded
        return False
