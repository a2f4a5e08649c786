"""The flagged images of an audit, decoded once more to be looked at."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from curate.findings import OTHERWISE
from curate.images.decode import DecodeConfig, read_image
from curate.images.levels import Levels
from curate.records import DecodedImage, Progress, no_progress
from curate.reports.maps import SHOWN_PX, Flagged, Picture, contact_sheet, overlay
from curate.reports.outcome import Outcome
from curate.reports.place import MAPS, SHEET, map_name

MAPS_AT_MOST, SHEET_ROWS = 200, 12
"""Pictures that an audit holds, and those of them on the sheet; the worst come first."""


@dataclass(frozen=True, kw_only=True)
class Pen:
    """How the images of one audit are decoded and coloured.

    Attributes:
        outcome: what was found.
        decode, levels: as they were embedded.
        low, high: map values without colour and with full colour; see `pen`.
    """

    outcome: Outcome
    decode: DecodeConfig
    levels: Levels
    low: float
    high: float

    def picture(self, index: int) -> Picture | None:
        """Return readable image `index` at the size it is shown; None for a file that vanished since."""
        file = self.outcome.listing.files[int(self.outcome.embeddings.images[index])]
        image = read_image(file, size=_shown_size, levels=self.levels, config=self.decode)
        return np.rint(image.pixels).astype(np.uint8) if isinstance(image, DecodedImage) else None

    def draw_map(self, index: int, file: Path) -> bool:
        """Write the map of an image; return whether there was an image to draw it on."""
        picture = self.picture(index)
        if picture is None:
            return False
        Image.fromarray(overlay(picture, self.outcome.scores.maps[index], self.low, self.high)).save(file)
        return True

    def row(self, index: int) -> Flagged | None:
        """Return an image as a row of the sheet, with its nearest kept image."""
        found, picture = self.outcome, self.picture(index)
        if picture is None:
            return None
        kept = found.nearest_kept(index)
        reason = found.verdicts.findings[index][0].message if found.verdicts.findings[index] else ""
        return Flagged(
            path=found.path(index),
            picture=picture,
            anomaly_map=found.scores.maps[index],
            neighbour=self.picture(kept[0]) if kept else None,
            neighbour_path=found.path(kept[0]) if kept else "",
            caption=f"score {found.verdicts.anomaly_score[index]:.2f} (fence 1): {reason}",
        )


def to_draw(outcome: Outcome) -> list[int]:
    """Return the flagged images that get a map, worst first; what is odd by its light alone is so in no place."""
    why = outcome.verdicts.findings
    worst = [int(index) for index in outcome.worst_first() if not why[index] or why[index][0].code != OTHERWISE]
    return worst[:MAPS_AT_MOST]


def pen(outcome: Outcome, decode: DecodeConfig, levels: Levels) -> Pen:
    """Return a pen with one scale for the whole audit: from the median kept patch to the highest shown one."""
    low, shown = outcome.nominal_level, to_draw(outcome) or outcome.kept_to_look_at
    high = max((float(outcome.scores.maps[index].max()) for index in shown), default=low)
    return Pen(outcome=outcome, decode=decode, levels=levels, low=low, high=high)


def draw_flagged(folder: Path, pen: Pen, *, progress: Progress = no_progress) -> dict[int, str]:
    """Write the maps of the flagged images, and the worst of them on one sheet, into an audit's folder.

    Each map is written as soon as it is drawn, and the few on the sheet are decoded again, so that memory does not
    grow with their number.

    Args:
        folder: of the audit.
        pen: see `pen`.
        progress: called with the number of images just finished.

    Returns:
        The maps' paths below the folder, by row of the listing; images that vanished are left out.
    """
    worst, drawn = to_draw(pen.outcome), list[int]()
    if not worst:
        return {}
    (folder / MAPS).mkdir()
    names = {index: map_name(int(pen.outcome.embeddings.images[index])) for index in worst}
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1)), thread_name_prefix="draw") as pool:
        for index, done in zip(worst, pool.map(lambda i: pen.draw_map(i, folder / names[i]), worst), strict=True):
            drawn += [index] * done
            progress(1)
        rows = [row for row in pool.map(pen.row, drawn[:SHEET_ROWS]) if row is not None]
    if rows:
        contact_sheet(rows, pen.low, pen.high).save(folder / SHEET)
    return {int(pen.outcome.embeddings.images[index]): names[index] for index in drawn}


def _shown_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, SHOWN_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
