"""What an audit itself holds of its images: the drawn maps of the worst ones, for a report whose dataset is gone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from curate.reports.cards import Pages
from curate.reports.maps import Picture
from curate.reports.place import MAPS, OWN_MAP
from curate.reports.thumbnails import Kind, Wanted

GONE = "the dataset is not there, and the audit holds no map of this image"


@dataclass(frozen=True)
class Leftovers:
    """The pictures below `maps/` in an audit's folder."""

    pages: Pages
    folder: Path

    @property
    def wanted(self) -> Wanted:
        """The images that have a card; those without a drawn map are asked for to say why there is none."""
        return {row: frozenset((Kind.CARD,)) for row in self.pages.shown}

    def picture(self, row: int, longest_px: int) -> Picture | str:
        """Return a flagged image with its map over it, (H, W, 3) RGB, or why there is none."""
        name = self._names.get(self.pages.images[row]["path"])
        file = self.folder / MAPS / name if name else None
        if file is None or file.is_symlink() or not file.is_file():
            return GONE
        try:
            with Image.open(file, formats=("PNG",)) as image:
                image.thumbnail((longest_px, longest_px))
                return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError):
            return GONE

    @cached_property
    def _names(self) -> dict[str, str]:
        """The maps by path; a name that no scan would give is none of an audit's."""
        maps = ((path, f["map"]) for path, found in self.pages.findings.items() for f in found if f["map"])
        names = ((path, str(name).removeprefix(f"{MAPS}/")) for path, name in maps)
        return {path: name for path, name in names if OWN_MAP.fullmatch(name)}
