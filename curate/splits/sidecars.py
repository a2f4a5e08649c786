"""The files that describe an image and go where it goes: `01.json`, `01.txt` or `01.xml` of `01.png`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from curate.images.folders import FoundFile, walk
from curate.images.masks import Partners, mask_folder, one_of, parent_of, stem_of
from curate.images.names import unicode_name

SIDECAR_SUFFIXES = frozenset((".json", ".txt", ".xml", ".xmp", ".csv", ".yaml", ".yml"))


def find_sidecars(root: Path, images: Mapping[str, Path]) -> dict[str, tuple[Path, str]]:
    """Return the sidecar files of images.

    A sidecar has the stem of its image, or its whole name (`01.png.json`): beside it, in a folder that is named like
    one of masks or labels (`labels/train/01.txt` of `images/train/01.png`), or anywhere if one image only has the stem.

    Args:
        root: the dataset's folder, resolved.
        images: its images, by path.

    Returns:
        By the sidecar's path: the file, and the path of its image. Files without an image are left out.
    """
    found = sorted(walk(root, Counter(), SIDECAR_SUFFIXES))
    if not found:
        return {}
    pictures = [FoundFile(path, file) for path, file in sorted(images.items())]
    owners = _Owners(pictures, found)
    named = ((unicode_name(name), file) for name, file in found)
    return {path: (file, owner) for path, file in named if (owner := owners.owner(path))}


class _Owners:
    """The images by what a sidecar may be named after."""

    def __init__(self, pictures: Iterable[FoundFile], sidecars: Iterable[FoundFile]) -> None:
        pictures = list(pictures)
        self._beside: dict[tuple[str, str], str] = {}
        self._anywhere: dict[str, list[FoundFile]] = defaultdict(list)
        for picture in pictures:
            folder, _, name = picture.name.rpartition("/")
            self._beside.setdefault((folder, stem_of(picture.name)), picture.name)
            self._beside.setdefault((folder, name.lower()), picture.name)
            self._anywhere[stem_of(picture.name)].append(picture)
        homes = {home for sidecar in sidecars if (home := mask_folder(unicode_name(sidecar.name)))}
        self._partners = Partners(pictures, homes)

    def owner(self, path: str) -> str:
        """Return the path of a sidecar's image, "" if none or several remain."""
        beside = self._beside.get((parent_of(path), stem_of(path)))
        if beside:
            return beside
        home = mask_folder(path)
        named = self._partners.named_by(path, home) if home else []
        owner = one_of(named or self._anywhere.get(stem_of(path), []))
        return owner.name if owner else ""
