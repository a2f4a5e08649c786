"""Copies, and images that show the same part: side by side, with what differs between shots of a part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from curate.audit.maps import Picture, blend_heat_map
from curate.audit.schema import COPY, SAME_PART, SAME_PART_DIFFERS
from curate.images.names import printable
from curate.records import FloatArray
from curate.reports.audit_rows import AuditRows, Row
from curate.reports.numbers import finite
from curate.reports.originals import Originals
from curate.reports.thumbnails import data_address, to_webp
from curate.same_part.planted import ALL_TOGETHER

SHOWN = 12
"""Pairs with a picture; `duplicates.parquet` has all of them."""
LONGEST_PX, GAP_PX, QUALITY = 224, 6, 66
BLUR_SHARE, NOISE_PX, DARK_GREY = 0.1, 1.5, 4.0
"""What is light and shade, as a share of the longest side; what is noise; what is added before the logarithm."""
LOW, HIGH = 4.0, 16.0
"""Differences without colour and in full colour, in medians of the difference."""
KINDS = {
    SAME_PART: "the same part",
    SAME_PART_DIFFERS: "the same part, but for one place",
    COPY: "copies of one file",
}


@dataclass(frozen=True, kw_only=True)
class ShotPair:
    """Two images that show the same part, or are copies of one file.

    Attributes:
        first, other: their paths.
        kind: what joins them, in words.
        score: in deviations above different parts; None if the audit does not tell.
        same_label: whether both carry one label.
        picture: data: address of both and, of shots registered to each other, of what differs; "" if there is none.
        missing: why there is no picture.
    """

    first: str
    other: str
    kind: str
    score: float | None
    same_label: bool
    picture: str
    missing: str


def shot_pairs(rows: AuditRows, images: Originals) -> list[ShotPair]:
    """Return the pairs to show: those that may be wrong before those that are plainly the same, then by score."""
    pairs = [pair for pair in rows.duplicates if pair["kind"] in KINDS]
    pairs.sort(
        key=lambda pair: (bool(pair["same_label"]), pair["kind"] == SAME_PART, -(finite(pair["similarity"]) or 0))
    )
    return list(_drawn(pairs[:SHOWN], rows, images))


def search_words(rows: AuditRows) -> str:
    """Return what the search for shots of the same part was worth; "" if there was none."""
    search = rows.audit.run.get("same_part")
    if not isinstance(search, Mapping):
        return ""
    found = search.get("planted_found")
    recall = finite(found.get(ALL_TOGETHER) if isinstance(found, Mapping) else None)
    undecidable, rate = finite(search.get("undecidable")), finite(search.get("false_rate"))
    if finite(search.get("threshold")) is None or recall is None or undecidable is None or rate is None:
        return (
            "Second shots of a part cannot be told on this set: of those made of some of its images, none was found. "
            "Where parts were photographed more than once, give a group (--group-from)."
        )
    compared = int(finite(search.get("compared")) or 0)
    return (
        f"{compared:,} pairs of images were compared. Of second shots made of some images, {recall:.0%} were found; "
        f"about {1e6 * rate:.2g} of a million pairs of different parts would be taken for one part; of "
        f"{undecidable:.0%} of the images a second shot would not be found."
    )


def across_groups(rows: AuditRows) -> int:
    """Return how many pairs of the same part are of two different groups of the user's."""
    groups = {image["path"]: image["group"] for image in rows.images}
    found = (pair for pair in rows.duplicates if pair["kind"] == SAME_PART)
    both = ((groups.get(pair["path"]), groups.get(pair["duplicate_of"])) for pair in found)
    return sum(bool(one) and bool(other) and one != other for one, other in both)


def _drawn(pairs: list[Row], rows: AuditRows, images: Originals) -> Iterator[ShotPair]:
    for pair in pairs:
        drawn = _picture(pair, rows, images)
        yield ShotPair(
            first=printable(pair["duplicate_of"]),
            other=printable(pair["path"]),
            kind=KINDS[pair["kind"]],
            score=finite(pair["similarity"]),
            same_label=bool(pair["same_label"]),
            picture="" if isinstance(drawn, str) else data_address(to_webp(drawn, QUALITY)),
            missing=drawn if isinstance(drawn, str) else "",
        )


def _picture(pair: Row, rows: AuditRows, images: Originals) -> Image.Image | str:
    """Return a row of the first image, the other moved onto it, and what differs; of copies, of the two as they are.

    Where there is none, return why, in words.
    """
    places = [rows.row_of.get(pair[name]) for name in ("duplicate_of", "path")]
    shift = [finite(pair[name]) for name in ("shift_y", "shift_x")]
    pictures: list[Picture] = []
    for place in places:
        picture = "the audit does not list it" if place is None else images.picture(place, LONGEST_PX)
        if isinstance(picture, str):
            return picture
        pictures.append(picture)
    if pair["kind"] == COPY:
        return _row(pictures)
    first, other = pictures
    height, width = first.shape[:2]
    moved = _moved(np.asarray(Image.fromarray(other).resize((width, height))), [share or 0.0 for share in shift])
    difference = _difference(first, moved)
    middle = float(np.median(difference)) + 1e-6
    return _row([first, moved, blend_heat_map(first, difference, low=LOW * middle, high=HIGH * middle)])


def _moved(picture: Picture, shares: list[float]) -> Picture:
    from scipy.ndimage import shift

    by = (*(share * side for share, side in zip(shares, picture.shape, strict=False)), 0)
    return np.asarray(shift(picture, by, order=1, mode="nearest"), dtype=np.uint8)


def _difference(first: Picture, moved: Picture) -> FloatArray:
    """Return (H, W) the difference of two images, whatever their exposure."""
    from scipy.ndimage import gaussian_filter

    one, two = (np.log(picture.mean(axis=2, dtype=np.float32) + DARK_GREY) for picture in (first, moved))
    apart = one - two
    apart -= gaussian_filter(apart, BLUR_SHARE * max(apart.shape), mode="nearest")
    difference: FloatArray = gaussian_filter(np.abs(apart), NOISE_PX, mode="nearest")
    return difference


def _row(pictures: list[Picture]) -> Image.Image:
    widths = [picture.shape[1] + GAP_PX for picture in pictures]
    row = Image.new("RGB", (sum(widths) - GAP_PX, max(picture.shape[0] for picture in pictures)), "white")
    for index, picture in enumerate(pictures):
        row.paste(Image.fromarray(picture), (sum(widths[:index]), 0))
    return row
