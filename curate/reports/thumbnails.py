"""Thumbnails of a report: inlined in the page up to a budget, beyond that in a folder beside it.

Each image is read and decoded once, whatever the sizes it is shown in, and the worst come first: of a large
report sent around without its folder, the first screens are whole.
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

from curate.records import Progress, no_progress
from curate.reports.maps import Picture

INLINE_BYTES = 4_000_000
"""Base64 of the thumbnails in the page itself: with its plots and words, a report of 1,000 images stays under 6 MB."""


class Kind(StrEnum):
    """What a thumbnail is for: a flagged image, one beside it or a high kept one, a dot on the map of the set."""

    CARD = "card"
    NEAR = "near"
    DOT = "dot"


LONGEST_PX: Mapping[Kind, int] = {Kind.CARD: 400, Kind.NEAR: 160, Kind.DOT: 88}
QUALITY: Mapping[Kind, int] = {Kind.CARD: 72, Kind.NEAR: 66, Kind.DOT: 55}

Wanted = Mapping[int, frozenset[Kind]]
"""The sizes wanted of each image, by its row in the audit, the most important image first."""


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Where the pictures of a page are.

    Attributes:
        addresses: a data: address or one below the page, by row and kind.
        gaps: rows without a picture, and why in words.
        beside: files that lie in the folder beside the page.
    """

    addresses: Mapping[tuple[int, Kind], str]
    gaps: Mapping[int, str] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()


class Shelf:
    """Takes the encoded thumbnails of one page, and says under which address each is found."""

    def __init__(self, folder: Path, inline_bytes: int = INLINE_BYTES) -> None:
        self._folder, self._left = folder, inline_bytes
        self.beside = set[str]()

    def put(self, row: int, kind: Kind, data: bytes) -> str:
        """Keep a thumbnail and return its address."""
        address = data_address(data)
        if len(address) <= self._left:
            self._left -= len(address)
            return address
        self._left = 0  # once one did not fit, the later and less important ones are not squeezed in
        self._folder.mkdir(exist_ok=True)
        name = f"{row:07d}-{kind}.webp"
        (self._folder / name).write_bytes(data)
        self.beside.add(name)
        return f"{quote(self._folder.name)}/{name}"


def draw(
    wanted: Wanted,
    picture: Callable[[int, int], Picture | str],
    shelf: Shelf,
    *,
    progress: Progress = no_progress,
) -> Thumbnails:
    """Make the thumbnails of a page, on a thread a core.

    Args:
        wanted: see `Wanted`.
        picture: of a row and its longest side in px: the image, or why there is none.
        progress: called with the number of images just finished.
    """
    addresses, gaps = dict[tuple[int, Kind], str](), dict[int, str]()
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1)), thread_name_prefix="thumbnail") as pool:
        for row, made in zip(wanted, pool.map(lambda row: encode_all(row, wanted[row], picture), wanted), strict=True):
            if isinstance(made, str):
                gaps[row] = made
            else:
                addresses.update({(row, kind): shelf.put(row, kind, data) for kind, data in made.items()})
            progress(1)
    return Thumbnails(addresses=addresses, gaps=gaps, beside=frozenset(shelf.beside))


def encode_all(
    row: int, kinds: Iterable[Kind], picture: Callable[[int, int], Picture | str]
) -> dict[Kind, bytes] | str:
    """Return one image in every size wanted, or why there is no picture of it."""
    order = sorted(kinds, key=lambda kind: -LONGEST_PX[kind])
    pixels = picture(row, LONGEST_PX[order[0]])
    return pixels if isinstance(pixels, str) else {kind: encode(pixels, kind) for kind in order}


def encode(pixels: Picture, kind: Kind) -> bytes:
    """Return an image, (H, W, 3) RGB, as WebP of the size and quality of its kind."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((LONGEST_PX[kind], LONGEST_PX[kind]), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return to_webp(image, QUALITY[kind])


def to_webp(image: Image.Image, quality: int) -> bytes:
    """Return an image as WebP; `quality` is 0-100."""
    buffer = BytesIO()
    image.save(buffer, format="WEBP", quality=quality, method=2)
    return buffer.getvalue()


def data_address(data: bytes) -> str:
    """Return the data: address of a WebP."""
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")
