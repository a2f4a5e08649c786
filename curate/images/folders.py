"""Walk a folder of images: count hidden and other files, follow linked folders once, survive loops.

Masks (pictures of where a defect is) do not count as images: all below a folder `ground_truth`; below a folder `mask`
or `masks`, which may be a class as well, only if they repeat the names of images beside it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
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
MASK_FOLDERS = frozenset(("ground_truth",))
MAYBE_MASK_FOLDERS = frozenset(("mask", "masks"))
MASK_ENDINGS = ("_mask", "-mask", "_gt")


class FoundFile(NamedTuple):
    """An image file: its name below the root with "/" between folders, and where it is."""

    name: str
    file: Path


class _Folder(NamedTuple):
    """A folder to walk: where it is, what the names of its files begin with, and whether they are masks."""

    path: str
    prefix: str
    masks: bool


@dataclass
class _Walk:
    """Folders still to visit, and those seen by (device, inode): a folder reached twice is walked once."""

    ignored: Counter[str]
    waiting: list[_Folder]
    links: list[_Folder] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def next_folder(self) -> _Folder | None:
        """Return the next folder; real folders come before links to them."""
        if not self.waiting and self.links:
            self.links.sort()
            self.waiting.append(self.links.pop(0))
        return self.waiting.pop() if self.waiting else None


def walk(root: Path, ignored: Counter[str]) -> Iterator[FoundFile]:
    """Yield the image files below `root`, in no promised order, and count in `ignored` all other entries.

    Files below a folder `mask` or `masks` are among them: see `find_images`.

    A link to a folder is followed unless that folder was walked already; a link to an image is an image, broken
    or not. A folder that cannot be opened is counted and skipped.
    """
    state = _Walk(ignored=ignored, waiting=[_Folder(os.fspath(root), "", masks=False)])
    while (folder := state.next_folder()) is not None:
        yield from _scan(state, folder)


def find_images(root: Path, ignored: Counter[str]) -> list[FoundFile]:
    """Return what `walk` yields without the masks, which are counted in `ignored`.

    A folder `mask` or `masks` holds masks if at least half of its files name an image beside it: below a sub-folder
    by folder and stem (`masks/scratch/01.png` for `defect/scratch/01.jpg`); else by the stem with an ending such as
    `_mask`, or by the stem alone if one image only has it. Where classes are numbered alike it names none.
    """
    files = list(walk(root, ignored))
    homes = [_mask_folder(file.name) for file in files]
    masks = _folders_of_masks(files, homes)
    images = [file for file, home in zip(files, homes, strict=True) if home not in masks]
    ignored += Counter({"mask": len(files) - len(images)})  # in place; a count of 0 leaves no key
    return images


def _mask_folder(name: str) -> str:
    """Return the path of the first folder `mask` or `masks` above a file, "" where there is none."""
    folders = name.split("/")[:-1]
    depth = next((at for at, folder in enumerate(folders, 1) if folder.lower() in MAYBE_MASK_FOLDERS), 0)
    return "/".join(folders[:depth])


def _folders_of_masks(files: Sequence[FoundFile], homes: Sequence[str]) -> set[str]:
    """Return those folders of `homes` in which at least half of the files name an image below the same parent."""
    beside: dict[str, Counter[tuple[str, str]]] = {_parent(home): Counter() for home in homes if home}
    pictures = [file.name for file, home in zip(files, homes, strict=True) if not home] if beside else []
    for name in pictures:
        for folder in beside.keys() & _parents(name):
            beside[folder].update(_image_marks(name))
    balances: Counter[str] = Counter()
    for file, home in zip(files, homes, strict=True):
        if home:
            balances[home] += 1 if _is_mask(file.name.removeprefix(f"{home}/"), beside[_parent(home)]) else -1
    return {home for home, balance in balances.items() if balance >= 0}


def _is_mask(name: str, images: Counter[tuple[str, str]]) -> bool:
    """Return whether a file's name below the mask folder names one of the images beside it."""
    folder, stem = _parent(name).rpartition("/")[2], _stem(name)
    plain = next((stem.removesuffix(ending) for ending in MASK_ENDINGS if stem.endswith(ending)), stem)
    if folder or plain != stem:
        return (folder, plain) in images or (folder, stem) in images
    return images["", stem] == 1


def _image_marks(name: str) -> set[tuple[str, str]]:
    stem = _stem(name)
    return {("", stem), (_parent(name).rpartition("/")[2], stem)}


def _parents(name: str) -> Iterator[str]:
    """Yield the folders above a name from the nearest to the root, which is ""."""
    while name:
        name = _parent(name)
        yield name


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0].lower()


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
            masks = folder.masks or entry.name.lower() in MASK_FOLDERS
            inside = _Folder(entry.path, f"{folder.prefix}{entry.name}/", masks)
            (state.links if entry.is_symlink() else state.waiting).append(inside)
        elif os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES:  # noqa: PTH122  four times as fast
            state.ignored["not an image"] += 1
        elif folder.masks:
            state.ignored["mask"] += 1
        else:
            yield FoundFile(f"{folder.prefix}{entry.name}", Path(entry.path))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: listed, and unreadable when decoded
        return False
