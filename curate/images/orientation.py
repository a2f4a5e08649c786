"""EXIF orientation: read from the bytes, applied to images and arrays.

Not read by Pillow, whose EXIF reader warns about every camera that writes it carelessly.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

UPRIGHT = 1
ORIENTATION_TAG = 0x0112
SWAPS_SIDES = frozenset((5, 6, 7, 8))

TURNS: Mapping[int, Image.Transpose] = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)


def read_orientation(exif: bytes) -> int:
    """Return the orientation, 1-8, of an EXIF block with or without its `Exif` marker; 1 where it says nothing."""
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return UPRIGHT
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return UPRIGHT
    (entries,) = struct.unpack_from(order + "H", block, start)
    for entry in range(start + 2, min(start + 2 + 12 * entries, len(block) - 11), 12):
        tag, _, _, value = struct.unpack_from(order + "HHIH", block, entry)
        if tag == ORIENTATION_TAG:
            return valid(value)
    return UPRIGHT


def png_exif(data: bytes) -> bytes:
    """Return the EXIF block of a PNG wherever its chunk stands; empty if there is none."""
    at = data.find(b"eXIf")
    if at < 4:
        return b""
    (length,) = struct.unpack_from(">I", data, at - 4)
    return data[at + 4 : at + 4 + length]


def valid(value: int) -> int:
    """Return `value` if it is an orientation, else 1."""
    return value if 1 <= value <= 8 else UPRIGHT


def swap(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (width, height) after turning an image of `size`; also the way back."""
    return (size[1], size[0]) if orientation in SWAPS_SIDES else size


def turn_image(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image upright."""
    return image if orientation == UPRIGHT else image.transpose(TURNS[orientation])


def turn_array(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return (H, W, C) pixels upright, contiguous."""
    if orientation in SWAPS_SIDES:
        pixels = pixels.swapaxes(0, 1)
    # after the swap of sides: 6 and 7 run right to left, 7 and 8 bottom to top
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
