"""The size at which the network sees an image, and the tiles of a large one.

An image keeps its aspect ratio. Its sides are rounded to whole patches, so that the patch grid covers it exactly,
without padding. These rules are our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

PATCH_PX = 16
"""One patch descriptor stands for 16 x 16 px of the resized image: the stride of the deepest stage."""

SMALLEST_LONG_PX, ORDINARY_LONG_PX, LARGEST_LONG_PX = 256, 384, 1024
LARGE_NATIVE_PX = 1536
SHORT_PX = ORDINARY_LONG_PX // 2
TILE_PX = 512
MARGIN_PX = 32


def auto_long_px(native_px: Sequence[tuple[int, int]]) -> int:
    """Choose the longest side that the network sees from the native sizes of some images.

    It is the median of their longest sides, at most 384 px. From 1,536 px on it is a quarter of the median, at most
    1,024, so that small defects on a large sensor are not averaged away. Of long thin parts, the shortest side keeps
    192 px, as far as it has them and the frame is no larger than 1,024 x 1,024 px. Rounded down to 64 px, at least 256.

    Args:
        native_px: two sides in pixels of each image of a sample of the set, in any order; may be empty.
    """
    if not len(native_px):
        return ORDINARY_LONG_PX
    short, long = np.median(np.sort(np.asarray(native_px, dtype=np.float64), axis=1), axis=0).tolist()
    wanted = min(LARGEST_LONG_PX, long / 4) if long >= LARGE_NATIVE_PX else min(long, ORDINARY_LONG_PX)
    thin = min(short, SHORT_PX) * long / short
    wanted = max(wanted, min(thin, LARGEST_LONG_PX * (long / short) ** 0.5))
    return int(max(SMALLEST_LONG_PX, wanted // 64 * 64))


def frame_size(width: int, height: int, long_px: int) -> tuple[int, int]:
    """Return the (width, height) to which an image is resized: whole patches, at least two a side.

    Args:
        width, height: of the upright image, in pixels, at least 1.
        long_px: the longest side, before rounding to whole patches.
    """
    scale = long_px / max(width, height)
    return _whole_patches(width * scale), _whole_patches(height * scale)


def _whole_patches(side_px: float) -> int:
    return max(2, round(side_px / PATCH_PX)) * PATCH_PX


@dataclass(frozen=True)
class Tile:
    """One crop of an image, and the patches of the image that are taken from it.

    Attributes:
        top, left: of the crop in the image, in px.
        rows, columns: the patches of the image's grid that are taken from this tile.
        inner_top, inner_left: the first of these patches in the crop's own grid.
    """

    top: int
    left: int
    rows: slice
    columns: slice
    inner_top: int
    inner_left: int


@dataclass(frozen=True)
class Tiling:
    """The tiles of one image size: all crops are `height` x `width` px."""

    height: int
    width: int
    tiles: tuple[Tile, ...]


def tiling(height: int, width: int) -> Tiling:
    """Cut an image into equal crops of about 512 px that overlap by at least 32 px.

    The overlap gives each patch its surroundings. Each patch of the image is taken from exactly one tile.

    Args:
        height, width: in pixels, multiples of 16.
    """
    crop_height, rows = _spans(height)
    crop_width, columns = _spans(width)
    tiles = tuple(
        Tile(top * PATCH_PX, left * PATCH_PX, row, column, row.start - top, column.start - left)
        for top, row in rows
        for left, column in columns
    )
    return Tiling(crop_height, crop_width, tiles)


def _spans(side_px: int) -> tuple[int, list[tuple[int, slice]]]:
    """Return the crop's side in px and, for each crop, its first patch and the span of patches taken from it."""
    patches, margin = side_px // PATCH_PX, MARGIN_PX // PATCH_PX
    count = -(-side_px // TILE_PX)
    if count == 1:
        return side_px, [(0, slice(0, patches))]
    core = -(-patches // count)
    crop = min(patches, core + 2 * margin)
    edges = [min(patches, i * core) for i in range(count + 1)]
    spans = [(max(0, min(start - margin, patches - crop)), slice(start, stop)) for start, stop in _pairs(edges)]
    return crop * PATCH_PX, spans


def _pairs(edges: list[int]) -> list[tuple[int, int]]:
    return [(a, b) for a, b in pairwise(edges) if b > a]
