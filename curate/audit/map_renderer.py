"""Heat maps of the flagged images, drawn on the images themselves, which are decoded once more for it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from curate.audit.folder import MAPS, SHEET, map_name
from curate.audit.judged_dataset import JudgedDataset
from curate.audit.maps import FLAGGED_MAPS, SHOWN_PX, Picture, SheetRow, blend_heat_map, contact_sheet
from curate.findings import Code
from curate.images.decode import DecodeConfig, read_image
from curate.images.levels import Levels
from curate.images.scale import fit_longest_side
from curate.progress import Progress, no_progress
from curate.records import DecodedImage

SHEET_ROWS = 12
"""Images on the contact sheet, the most anomalous ones."""


@dataclass(frozen=True, kw_only=True)
class MapRenderer:
    """Decodes the images of one audit and draws their anomaly maps on one colour scale.

    Attributes:
        dataset: what was judged.
        decode, levels: as the images were embedded.
        low, high: map values without colour and with full colour; see `map_renderer`.
    """

    dataset: JudgedDataset
    decode: DecodeConfig
    levels: Levels
    low: float
    high: float

    def picture(self, index: int) -> Picture | None:
        """Return readable image `index` at the size it is shown; None for a file that vanished since."""
        file = self.dataset.listing.files[int(self.dataset.embeddings.images[index])]
        image = read_image(
            file, size=lambda w, h: fit_longest_side(w, h, SHOWN_PX), levels=self.levels, config=self.decode
        )
        return np.rint(image.pixels).astype(np.uint8) if isinstance(image, DecodedImage) else None

    def draw_map(self, index: int, file: Path) -> bool:
        """Write the heat map of an image; return whether the image could be read."""
        picture = self.picture(index)
        if picture is None:
            return False
        anomaly_map = self.dataset.maps[index]
        Image.fromarray(blend_heat_map(picture, anomaly_map, low=self.low, high=self.high)).save(file)
        return True

    def sheet_row(self, index: int) -> SheetRow | None:
        """Return an image as a row of the contact sheet, with its nearest kept image; None if it vanished."""
        dataset, picture = self.dataset, self.picture(index)
        if picture is None:
            return None
        kept, findings = dataset.nearest_kept(index), dataset.verdicts.findings[index]
        reason = findings[0].message if findings else ""
        return SheetRow(
            path=dataset.path(index),
            picture=picture,
            anomaly_map=dataset.maps[index],
            neighbour=self.picture(kept[0]) if kept else None,
            neighbour_path=dataset.path(kept[0]) if kept else "",
            caption=f"score {dataset.verdicts.anomaly_score[index]:.2f} (threshold 1): {reason}",
        )


def to_draw(dataset: JudgedDataset) -> list[int]:
    """Return the flagged images that get a map, most anomalous first; acquisition outliers are anomalous nowhere."""
    findings = dataset.verdicts.findings
    flagged = [
        int(index)
        for index in dataset.worst_first()
        if not findings[index] or findings[index][0].code != Code.ACQUISITION_OUTLIER
    ]
    return flagged[:FLAGGED_MAPS]


def map_renderer(dataset: JudgedDataset, decode: DecodeConfig, levels: Levels) -> MapRenderer:
    """Return a renderer with one scale for the audit: from the median kept patch to the highest patch shown."""
    low, shown = dataset.nominal_level, to_draw(dataset) or dataset.kept_to_review
    high = max((float(dataset.maps[index].max()) for index in shown), default=low)
    return MapRenderer(dataset=dataset, decode=decode, levels=levels, low=low, high=high)


def draw_flagged(folder: Path, renderer: MapRenderer, *, progress: Progress = no_progress) -> dict[int, str]:
    """Write the heat maps of the flagged images, and a contact sheet of the most anomalous, into an audit's folder.

    Each map is written as soon as it is drawn, and the few on the sheet are decoded again, so that memory does not
    grow with their number.

    Args:
        folder: of the audit.
        renderer: see `map_renderer`.
        progress: called with the number of images just finished.

    Returns:
        The maps' paths below the folder, by row of the listing; images that vanished are left out.
    """
    wanted, drawn = to_draw(renderer.dataset), list[int]()
    if not wanted:
        return {}
    (folder / MAPS).mkdir()
    rows = {index: int(renderer.dataset.embeddings.images[index]) for index in wanted}
    files = {index: folder / map_name(row) for index, row in rows.items()}
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1)), thread_name_prefix="draw") as pool:
        written = pool.map(lambda index: renderer.draw_map(index, files[index]), wanted)
        for index, done in zip(wanted, written, strict=True):
            drawn += [index] * done
            progress(1)
        sheet = [row for row in pool.map(renderer.sheet_row, drawn[:SHEET_ROWS]) if row is not None]
    if sheet:
        contact_sheet(sheet, low=renderer.low, high=renderer.high).save(folder / SHEET)
    return {rows[index]: map_name(rows[index]) for index in drawn}
