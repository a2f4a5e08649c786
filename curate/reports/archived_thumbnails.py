"""The heat maps that an audit itself holds, for a report whose dataset is gone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from curate.audit.folder import MAPS, OWN_MAP
from curate.audit.maps import Picture
from curate.reports.audit_rows import AuditRows
from curate.reports.thumbnails import ThumbnailSize, ThumbnailSizes

NOT_ARCHIVED = "the dataset was not found, and the audit holds no map of this image"


@dataclass(frozen=True)
class ArchivedThumbnails:
    """The pictures below `maps/` in an audit's folder."""

    rows: AuditRows
    folder: Path

    @property
    def sizes(self) -> ThumbnailSizes:
        """The images that have a card; those without a drawn map are included, to say why they have no picture."""
        return {row: frozenset((ThumbnailSize.CARD,)) for row in self.rows.shown}

    def picture(self, row: int, longest_px: int) -> Picture | str:
        """Return a flagged image with its heat map, (H, W, 3) RGB, or why there is none."""
        name = self._names.get(self.rows.images[row]["path"])
        file = self.folder / MAPS / name if name else None
        if file is None or file.is_symlink() or not file.is_file():
            return NOT_ARCHIVED
        try:
            with Image.open(file, formats=("PNG",)) as image:
                image.thumbnail((longest_px, longest_px))
                return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError):
            return NOT_ARCHIVED

    @cached_property
    def _names(self) -> dict[str, str]:
        """The maps by path; a name that no scan would give is left out."""
        maps = ((path, f["map"]) for path, findings in self.rows.findings.items() for f in findings if f["map"])
        names = ((path, str(name).removeprefix(f"{MAPS}/")) for path, name in maps)
        return {path: name for path, name in names if OWN_MAP.fullmatch(name)}
