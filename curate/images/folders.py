"""Walk a folder of images: hidden and foreign files counted, linked folders followed once, loops survived."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2", ".gif"))
MASK_FOLDERS = frozenset(("ground_truth", "masks", "mask"))


class FoundFile(NamedTuple):
    """An image file: its name below the root with "/" between folders, and where it is."""

    name: str
    file: Path


@dataclass
class _Walk:
    """Folders still to visit, and those seen by (device, inode): a folder reached twice is walked once."""

    ignored: Counter[str]
    waiting: list[tuple[str, str, bool]]
    links: list[tuple[str, str, bool]] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def next_folder(self) -> tuple[str, str, bool] | None:
        """Return (path, prefix of names, whether it holds masks); real folders before links, so that they win."""
        if not self.waiting and self.links:
            self.links.sort()
            self.waiting.append(self.links.pop(0))
        return self.waiting.pop() if self.waiting else None


def walk(root: Path, ignored: Counter[str]) -> Iterator[FoundFile]:
    """Yield the image files below `root`, in no promised order, and count in `ignored` what is passed over.

    A link to a folder is followed unless that folder was walked already; a link to an image is an image, broken
    or not. A folder that may not be opened is counted and passed over.
    """
    state = _Walk(ignored=ignored, waiting=[(os.fspath(root), "", False)])
    while (folder := state.next_folder()) is not None:
        yield from _scan(state, *folder)


def _scan(state: _Walk, path: str, prefix: str, masks: bool) -> Iterator[FoundFile]:
    try:
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        if identity in state.seen:
            state.ignored["folder seen before"] += 1
            return
        state.seen.add(identity)
        with os.scandir(path) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        state.ignored["unreadable folder"] += 1
        return
    for entry in entries:
        if entry.name.startswith("."):
            state.ignored["hidden"] += 1
        elif _is_folder(entry):
            inside = (entry.path, f"{prefix}{entry.name}/", masks or entry.name.lower() in MASK_FOLDERS)
            (state.links if entry.is_symlink() else state.waiting).append(inside)
        elif os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES:  # noqa: PTH122  four times as fast
            state.ignored["not an image"] += 1
        elif masks:
            state.ignored["mask"] += 1
        else:
            yield FoundFile(f"{prefix}{entry.name}", Path(entry.path))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: listed by its name, unreadable when decoded
        return False
