"""Netpbm grey and colour maps (P2, P3, P5, P6) of any depth.

Pillow stretches a 12-bit map to 16 bits pixel by pixel in Python and cuts a 16-bit colour map to 8 bits.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from curate.findings import Code
from curate.images.integrity import Unreadable

_GAP = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"P([2356])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,5})\s")


def read_header(data: bytes) -> tuple[int, int, int, int]:
    """Return (width, height, channels, largest value) of a map; channels are 1 or 3."""
    match = _HEADER.match(data)
    if match is None:
        raise Unreadable(Code.DAMAGED, "the header of the Netpbm file cannot be read: save the image again")
    kind, width, height, largest = (int(group) for group in match.groups())
    if not width or not height or not 0 < largest < 65536:
        raise Unreadable(
            Code.DAMAGED, f"the Netpbm file claims {width} x {height} pixels up to {largest}: save it again"
        )
    return width, height, 3 if kind in (3, 6) else 1, largest


def read_samples(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return (H, W, channels): uint8 stretched to 0-255 for up to 8 bits, uint16 counts as stored for deeper maps."""
    width, height, channels, largest = read_header(data)
    match = _HEADER.match(data)
    start, count = match.end() if match else 0, width * height * channels
    values = _plain(data, start, count) if data[1:2] in b"23" else _binary(data, start, count, largest=largest)
    if len(values) < count:
        raise Unreadable(Code.TRUNCATED, f"the file is cut short ({len(values)} of {count} values): copy it again")
    if values.max() > largest:
        raise Unreadable(Code.DAMAGED, f"the file is damaged (a value above its largest, {largest}): save it again")
    pixels = values.reshape(height, width, channels)
    if largest > 255:
        deep: NDArray[np.uint16] = pixels.astype(np.uint16)
        return deep
    stretched: NDArray[np.uint8] = np.round(pixels * (255 / largest)).astype(np.uint8)
    return stretched


def _binary(data: bytes, start: int, count: int, *, largest: int) -> NDArray[np.uint16]:
    kind = np.dtype(np.uint8) if largest < 256 else np.dtype(">u2")
    values: NDArray[np.uint16] = np.frombuffer(
        data, kind, count=min(count, (len(data) - start) // kind.itemsize), offset=start
    )
    return values


def _plain(data: bytes, start: int, count: int) -> NDArray[np.uint16]:
    return np.array(data[start:].split(maxsplit=count)[:count], dtype=np.uint16)
