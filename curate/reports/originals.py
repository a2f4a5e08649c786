"""The dataset's own images, asked for by their row in an audit: what the scan saw, and never anything else.

A row names a path below the dataset; paths that are absolute or climb out of it are refused whoever wrote the
audit. Links in a dataset are common and followed, so one rule stands behind that: a picture is given only of a
file whose bytes are those that were scanned (its sha256). A link that now leads elsewhere shows nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.images.decode import DecodeConfig, read_image
from curate.images.levels import Levels
from curate.records import ImageFacts
from curate.reports.maps import Picture
from curate.reports.parquet import Audit

ESCAPED_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")
"""Only bytes beyond ASCII were ever escaped: no name may become `..` or `/` on the way back."""
OUTSIDE, CHANGED = "its path leads out of the dataset", "the file changed since the scan"


@dataclass(frozen=True, kw_only=True)
class Originals:
    """The images of an audited dataset.

    Attributes:
        root: the dataset's folder.
        paths, hashes: (N,) as in `images.parquet`.
        decode, levels: as the images were embedded.
    """

    root: Path
    paths: Sequence[str]
    hashes: Sequence[str]
    decode: DecodeConfig
    levels: Levels

    @property
    def there(self) -> bool:
        """Tell whether the dataset's folder can be found."""
        return self.root.is_dir()

    def picture(self, row: int, longest_px: int) -> Picture | str:
        """Return an image, (H, W, 3) RGB, its longest side at most `longest_px`; or in words why there is none."""
        file = self.file(row)
        if file is None:
            return OUTSIDE
        image = read_image(file, size=lambda w, h: _fit(w, h, longest_px), levels=self.levels, config=self.decode)
        facts = image if isinstance(image, ImageFacts) else image.facts
        if not facts.sha256 and isinstance(image, ImageFacts):
            return image.skip_reason
        if not self.hashes[row] or facts.sha256 != self.hashes[row]:
            return CHANGED
        return image.skip_reason if isinstance(image, ImageFacts) else np.rint(image.pixels).astype(np.uint8)

    def file(self, row: int) -> Path | None:
        """Return where the image of a row lies; None if its path is absolute or climbs out of the dataset."""
        path = self.paths[row]
        parts = path.replace("\\", "/").split("/") if os.name == "nt" else path.split("/")
        if not path or ".." in parts or path.startswith("/") or Path(path).is_absolute() or Path(path).drive:
            return None
        file = self.root / path
        if "\\x" in path and not os.path.lexists(file):  # a name that is not UTF-8 stands escaped in the audit
            return self.root / os.fsdecode(_unescape(path))
        return file


def originals(audit: Audit, dataset: Path | None = None) -> Originals:
    """Return the images that an audit speaks of.

    Args:
        dataset: where the dataset lies now; None for where it was scanned.

    Raises:
        UsageError: there is no such folder; not where it is the audit's own that is gone.
    """
    if dataset is not None and not dataset.is_dir():
        raise UsageError(f"--dataset {dataset}: no such folder; give the folder that the audit's paths start from")
    images, settings = audit.tables["images"], audit.run.get("settings", {})
    return Originals(
        root=dataset or Path(str(audit.run.get("dataset", ""))),
        paths=images["path"].to_pylist(),
        hashes=images["sha256"].to_pylist(),
        decode=DecodeConfig(
            max_pixels=settings.get("max_pixels", DecodeConfig.max_pixels), white_level=settings.get("white_level")
        ),
        levels=Levels(**audit.run.get("levels", {})),
    )


def _unescape(path: str) -> bytes:
    return ESCAPED_BYTE.sub(lambda found: bytes.fromhex(found[1].decode()), path.encode())


def _fit(width: int, height: int, longest_px: int) -> tuple[int, int]:
    scale = min(1.0, longest_px / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
