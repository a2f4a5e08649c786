"""Heat maps: where an image is anomalous, beside its nearest kept image.

An anomaly map has one value a patch. It is shown on one scale for the whole audit, from the median patch
of the kept images (no colour) to the most anomalous patch that is shown (full colour), so that colours may
be compared between images.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from curate.records import BoolArray, FloatArray

SHOWN_PX = 512
SHEET_CELL_PX, TEXT_COLUMNS = 224, 44
FLAGGED_MAPS, KEPT_MAPS = 200, 120
"""Images whose maps an audit holds: flagged ones, kept ones with the highest scores, as many in small groups apart."""

HEAT = np.array([[255, 236, 120], [255, 170, 40], [226, 60, 30], [140, 0, 60]], dtype=np.float32)
"""Colours from low to high; opacity rises with them."""

OPACITY = 0.75
"""Of full colour: what lies under it stays visible."""

OVERLAY_PX = 4
"""Side of a patch in the overlay that a page lays over its image."""

MASK_COLOUR = (0, 220, 255, 255)
"""RGBA of a mask's outline, a colour that no heat has."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """One flagged image on the contact sheet.

    Attributes:
        path: its path in the dataset.
        picture: (H, W, 3) RGB, at most 512 px long.
        anomaly_map: (rows, columns).
        neighbour: (H, W, 3) RGB of its nearest kept image; None if there is none.
        neighbour_path: of that image.
        caption: score and reason in words.
    """

    path: str
    picture: Picture
    anomaly_map: FloatArray
    neighbour: Picture | None
    neighbour_path: str
    caption: str


def blend_heat_map(picture: Picture, anomaly_map: FloatArray, *, low: float, high: float) -> Picture:
    """Return an image with its anomaly map blended in as colour.

    Args:
        picture: (H, W, 3) RGB.
        anomaly_map: (rows, columns), any scale.
        low, high: values without colour and with full colour.

    Returns:
        (H, W, 3) RGB of the same size.
    """
    heat = at_image_size(_level(anomaly_map, low, high), picture.shape[1], picture.shape[0]).clip(0, 1)
    opacity = OPACITY * heat[..., None]
    blended = picture * (1 - opacity) + _colour(heat) * opacity
    return np.asarray(np.rint(blended), dtype=np.uint8)


def heat_map_overlay(anomaly_map: FloatArray, *, low: float, high: float, mask: BoolArray | None = None) -> Image.Image:
    """Return an anomaly map as a picture to lay over its image, transparent where nothing is anomalous.

    Args:
        anomaly_map: (rows, columns), any scale.
        low, high: values without colour and with full colour.
        mask: (4 * rows, 4 * columns), where a mask shows a defect: its outline is drawn; None for none.

    Returns:
        RGBA, 4 px a patch, so that a browser that enlarges it shows no corners.
    """
    rows, columns = anomaly_map.shape
    heat = at_image_size(_level(anomaly_map, low, high), OVERLAY_PX * columns, OVERLAY_PX * rows).clip(0, 1)
    overlay = np.dstack([np.rint(_colour(heat)), np.rint(255 * OPACITY * heat)]).astype(np.uint8)
    if mask is not None:
        overlay[_outline(mask)] = MASK_COLOUR
    return Image.fromarray(overlay)


def mask_at_overlay(mask: BoolArray, rows: int, columns: int) -> BoolArray:
    """Return where a mask, (H, W), shows a defect anywhere in a pixel of the overlay of (rows, columns) patches."""
    size = (OVERLAY_PX * columns, OVERLAY_PX * rows)
    share = Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX)
    return np.asarray(np.asarray(share) > 0, dtype=np.bool_)


def _outline(mask: BoolArray) -> BoolArray:
    """Return the pixels of a mask that touch what is outside it, by an edge; the image's rim is outside."""
    around = np.pad(mask, 1)
    inside = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return mask & ~inside


def _level(anomaly_map: FloatArray, low: float, high: float) -> FloatArray:
    """Return the map on a scale from 0 at `low` to 1 at `high`, clipped to it."""
    return np.asarray(np.clip((anomaly_map - low) / max(high - low, 1e-12), 0, 1), dtype=np.float32)


def at_image_size(anomaly_map: FloatArray, width_px: int, height_px: int) -> FloatArray:
    """Return an anomaly map, (rows, columns), at the resolution of its image, (height_px, width_px); bicubic."""
    smooth = Image.fromarray(np.asarray(anomaly_map, dtype=np.float32)).resize(
        (width_px, height_px), Image.Resampling.BICUBIC
    )
    return np.asarray(smooth, dtype=np.float32)


def _colour(level: FloatArray) -> FloatArray:
    """Return (H, W, 3) colours for levels in 0-1."""
    position = level * (len(HEAT) - 1)
    below = np.minimum(position.astype(np.int64), len(HEAT) - 2)
    share = (position - below)[..., None]
    return np.asarray(HEAT[below] * (1 - share) + HEAT[below + 1] * share, dtype=np.float32)


def hot_box(anomaly_map: FloatArray, low: float, *, width_px: int, height_px: int) -> list[int]:
    """Return left, top, width, height in px of the region around the map's maximum.

    The region holds the patches above the midpoint of `low` and the maximum that are connected to the maximum (by
    edges). Our own decision.
    """
    from scipy.ndimage import label

    rows, columns = anomaly_map.shape
    regions, _ = label(anomaly_map >= (low + anomaly_map.max()) / 2)
    peak = regions[np.unravel_index(int(anomaly_map.argmax()), anomaly_map.shape)]
    where_rows, where_columns = np.nonzero(regions == peak)
    left, right = where_columns.min() * width_px // columns, -(-(where_columns.max() + 1) * width_px // columns)
    top, bottom = where_rows.min() * height_px // rows, -(-(where_rows.max() + 1) * height_px // rows)
    return [int(left), int(top), int(right - left), int(bottom - top)]


def contact_sheet(rows: Sequence[SheetRow], *, low: float, high: float) -> Image.Image:
    """Draw one row an image: the image, its heat map, its nearest kept image, and the reason in words."""
    font = ImageFont.load_default(15)
    cell, text_px, gap, head = SHEET_CELL_PX, 380, 10, 34
    sheet = Image.new("RGB", (3 * (cell + gap) + text_px + gap, head + len(rows) * (cell + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(("image", "heat map", "nearest kept image")):
        draw.text((gap + column * (cell + gap), 10), title, "black", font)
    for number, row in enumerate(rows):
        top = head + number * (cell + gap)
        heat_map = blend_heat_map(row.picture, row.anomaly_map, low=low, high=high)
        for column, picture in enumerate((row.picture, heat_map, row.neighbour)):
            if picture is not None:
                _paste(sheet, picture, (gap + column * (cell + gap), top))
        draw.multiline_text((2 * gap + 3 * (cell + gap), top), _wrap(row), "black", font)
    return sheet


def _paste(sheet: Image.Image, picture: Picture, corner: tuple[int, int]) -> None:
    """Paste a picture into the middle of the cell with this upper left corner."""
    left, top = corner
    thumbnail = Image.fromarray(picture)
    thumbnail.thumbnail((SHEET_CELL_PX, SHEET_CELL_PX))
    sheet.paste(thumbnail, (left + (SHEET_CELL_PX - thumbnail.width) // 2, top))


def _wrap(row: SheetRow) -> str:
    """Return path, reason and neighbour in lines that fit; characters that cannot be printed are escaped."""
    nearest = f"nearest: {row.neighbour_path}" if row.neighbour_path else ""
    paragraphs = (text.encode("ascii", "backslashreplace").decode() for text in (row.path, row.caption, nearest))
    wrapped = [textwrap.fill(text.replace("\n", "\\n"), TEXT_COLUMNS) for text in paragraphs]
    return "\n".join("\n\n".join(wrapped).splitlines()[: SHEET_CELL_PX // 19])
