"""The images of an audited dataset, asked for by their row in the audit: only files that the scan read.

A row names a path below the dataset. Absolute paths and paths that climb out of it are refused, whoever wrote the
audit. Links are common in datasets and followed; so a picture is given only of a file whose sha256 is the scanned
one. A link that leads elsewhere since the scan shows nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.audit.maps import Picture
from curate.audit.parquet import Audit
from curate.errors import UsageError
from curate.images.decode import DecodeConfig, read_image
from curate.images.levels import Levels
from curate.images.scale import fit_longest_side
from curate.records import ImageFacts

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
    def available(self) -> bool:
        """Tell whether the dataset's folder can be found."""
        return self.root.is_dir()

    def picture(self, row: int, longest_px: int) -> Picture | str:
        """Return an image, (H, W, 3) RGB, its longest side at most `longest_px`; or why there is none, in words."""
        file = self.file(row)
        if file is None:
            return OUTSIDE
        image = read_image(
            file, size=lambda w, h: fit_longest_side(w, h, longest_px), levels=self.levels, config=self.decode
        )
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
        if "\\x" in path and not os.path.lexists(file):  # the audit escapes names that are not UTF-8
            return self.root / os.fsdecode(_unescape(path))
        return file


def originals(audit: Audit, dataset: Path | None = None) -> Originals:
    """Return the images of an audit.

    Args:
        audit: with its table of images.
        dataset: where the dataset lies now; None for where it was scanned.

    Raises:
        UsageError: `dataset` is no folder. A missing folder that the audit itself names is no error.
    """
    if dataset is not None and not dataset.is_dir():
        raise UsageError(f"--dataset {dataset}: no such folder; give the folder that the audit's paths start from")
    images, settings = audit.tables["images"], audit.run.get("settings", {})
    return Originals(
        root=dataset or Path(str(audit.run.get("dataset", ""))),
        paths=images["path"].to_pylist(),
        hashes=images["sha256"].to_pylist(),
        decode=DecodeConfig(
            max_pixels=settings.get("max_pixels", DecodeConfig.max_pixels),
            white_level=settings.get("white_level"),
            bands=tuple(settings.get("bands", ())),
        ),
        levels=Levels(**audit.run.get("levels", {})),
    )


def _unescape(path: str) -> bytes:
    return ESCAPED_BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), path.encode())
