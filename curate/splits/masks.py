"""Masks in `ground_truth/`, `mask/` or `masks/`, so that a plan treats each like its image.

A mask belongs to the image with its stem (without an ending such as `_mask`), in a folder named like its own, below the
parent of the mask folder: `ground_truth/scratch/01_mask.png` belongs to `test/scratch/01.png`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from curate.images.folders import IMAGE_SUFFIXES, MASK_ENDINGS, MASK_FOLDERS, MAYBE_MASK_FOLDERS
from curate.images.names import unicode_name, unique_names

FOLDERS = MASK_FOLDERS | MAYBE_MASK_FOLDERS
TEST = "test"

Mark = tuple[str, str, str]
"""The folder above a mask folder, the name of an image's own folder, and its stem."""


def find_masks(root: Path, images: Iterable[str]) -> dict[str, tuple[Path, str]]:
    """Return the masks of images.

    Args:
        root: the dataset's folder, resolved.
        images: paths of its images.

    Returns:
        By the mask's path: the file, and the path of its image. Masks without an image are left out.
    """
    images = set(images)
    files = sorted(_mask_files(root))
    homes = {_home(name) for name in files}
    owners = _owners(images, homes)
    masks = {}
    for name, path in zip(files, unique_names(files), strict=True):
        owner = _owner(path, owners)
        if owner and path not in images:
            masks[path] = (root / name, owner)
    return masks


def _mask_files(root: Path) -> Iterator[str]:
    """Yield the names below `root` of the image files in mask folders; links to folders are not followed."""
    for folder, inside, files in os.walk(root):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        if any(part.lower() in FOLDERS for part in below.split("/")):
            visible = (name for name in files if not name.startswith("."))
            yield from (f"{below}/{name}" for name in visible if Path(name).suffix.lower() in IMAGE_SUFFIXES)


def _home(name: str) -> str:
    """Return the folder above the first mask folder in a name, "" for the root."""
    parts = name.split("/")
    at = next(i for i, part in enumerate(parts) if part.lower() in FOLDERS)
    return unicode_name("/".join(parts[:at]))


def _owners(images: Iterable[str], homes: set[str]) -> Mapping[Mark, list[str]]:
    owners: dict[Mark, list[str]] = defaultdict(list)
    for image in images:
        parts = image.split("/")
        for depth in range(len(parts)):
            home = "/".join(parts[:depth])
            if home in homes:
                inside = parts[depth:-1]
                for folder in {"", inside[-1] if inside else ""}:
                    owners[home, folder, _stem(parts[-1])].append(image)
    return owners


def _owner(mask: str, owners: Mapping[Mark, list[str]]) -> str:
    """Return the image of a mask, preferring one in `test` if several match; "" if none or several remain."""
    home = _home(mask)
    inside = mask.removeprefix(f"{home}/").split("/")[1:]
    folder, stem = inside[-2] if len(inside) > 1 else "", _stem(inside[-1])
    endings = (ending for ending in MASK_ENDINGS if stem.endswith(ending))
    for plain in (stem.removesuffix(next(endings, "")), stem):
        matching = owners.get((home, folder, plain), [])
        in_test = [image for image in matching if TEST in image.lower().split("/")[:-1]]
        for images in (matching, in_test):
            if len(images) == 1:
                return images[0]
    return ""


def _stem(name: str) -> str:
    return name.rpartition(".")[0].lower()
