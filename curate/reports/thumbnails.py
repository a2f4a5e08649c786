"""Thumbnails of a report: inlined in the page up to a budget, beyond that in a folder beside it.

Each image is read and decoded once for all its sizes. The most anomalous images come first: where a large report is
sent without its folder, they still have their pictures.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from curate.atomic_files import replacing_file
from curate.audit.maps import Picture
from curate.progress import Progress, no_progress

INLINE_BYTES = 4_000_000
"""Base64 of the thumbnails in the page itself, so that a report of 1,000 images can be sent by mail."""


class ThumbnailSize(StrEnum):
    """What a thumbnail is for: a card, a neighbour on a card, a dot on the map of the set."""

    CARD = "card"
    NEAR = "near"
    DOT = "dot"


LONGEST_PX: Mapping[ThumbnailSize, int] = {ThumbnailSize.CARD: 400, ThumbnailSize.NEAR: 160, ThumbnailSize.DOT: 88}
QUALITY: Mapping[ThumbnailSize, int] = {ThumbnailSize.CARD: 72, ThumbnailSize.NEAR: 66, ThumbnailSize.DOT: 55}

ThumbnailSizes = Mapping[int, frozenset[ThumbnailSize]]
"""The sizes in which each image is shown, by its row in the audit, the most important image first."""

PictureSource = Callable[[int, int], Picture | str]
"""Gives the image of a row, (H, W, 3) RGB, with a longest side in px of at most a limit; or why there is none."""


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Where the pictures of a page are.

    Attributes:
        addresses: a data: address or one below the page, by row and size.
        missing: rows without a picture, and why in words.
        beside: files that lie in the folder beside the page.
    """

    addresses: Mapping[tuple[int, ThumbnailSize], str]
    missing: Mapping[int, str] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()


class ThumbnailBudget:
    """Places the encoded thumbnails of one page: inline while the budget lasts, then in a folder beside the page."""

    def __init__(self, folder: Path, inline_bytes: int = INLINE_BYTES) -> None:
        self._folder, self._left = folder, inline_bytes
        self.beside = set[str]()

    def place(self, row: int, size: ThumbnailSize, data: bytes) -> str:
        """Place a thumbnail and return its address."""
        address = data_address(data)
        if len(address) <= self._left:
            self._left -= len(address)
            return address
        self._left = 0  # once one did not fit, the later and less important ones are not squeezed in
        self._folder.mkdir(exist_ok=True)
        name = f"{row:07d}-{size}.webp"
        with replacing_file(self._folder / name) as file:
            file.write(data)
        self.beside.add(name)
        return f"{quote(self._folder.name)}/{name}"


def draw_thumbnails(
    sizes: ThumbnailSizes, picture: PictureSource, budget: ThumbnailBudget, *, progress: Progress = no_progress
) -> Thumbnails:
    """Make the thumbnails of a page, with one thread a core.

    Args:
        sizes: see `ThumbnailSizes`.
        picture: see `PictureSource`.
        budget: where they are placed.
        progress: called with the number of images just finished.
    """
    addresses, missing = dict[tuple[int, ThumbnailSize], str](), dict[int, str]()
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1)), thread_name_prefix="thumbnail") as pool:
        encoded = pool.map(lambda row: encode_all(row, sizes[row], picture), sizes)
        for row, thumbnails in zip(sizes, encoded, strict=True):
            if isinstance(thumbnails, str):
                missing[row] = thumbnails
            else:
                addresses |= {(row, size): budget.place(row, size, data) for size, data in thumbnails.items()}
            progress(1)
    return Thumbnails(addresses=addresses, missing=missing, beside=frozenset(budget.beside))


def encode_all(row: int, sizes: Iterable[ThumbnailSize], picture: PictureSource) -> dict[ThumbnailSize, bytes] | str:
    """Return one image in several sizes, the largest first, or why there is no picture of it."""
    order = sorted(sizes, key=lambda size: -LONGEST_PX[size])
    pixels = picture(row, LONGEST_PX[order[0]])
    return pixels if isinstance(pixels, str) else {size: encode(pixels, size) for size in order}


def encode(pixels: Picture, size: ThumbnailSize) -> bytes:
    """Return an image, (H, W, 3) RGB, as a WebP thumbnail."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((LONGEST_PX[size], LONGEST_PX[size]), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return to_webp(image, QUALITY[size])


def to_webp(image: Image.Image, quality: int) -> bytes:
    """Return an image as WebP; `quality` is 0-100."""
    buffer = BytesIO()
    image.save(buffer, format="WEBP", quality=quality, method=2)
    return buffer.getvalue()


def data_address(data: bytes) -> str:
    """Return the data: address of a WebP."""
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")
