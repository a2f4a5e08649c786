"""How an image is laid before the network: its size, and the tiles of a large one.

An image keeps its aspect ratio. Its sides are rounded to whole patches, so the patch grid covers it
exactly and no border is padded. Everything here is our own decision.
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
TILE_PX = 512
MARGIN_PX = 32


def auto_long_px(native_long_px: Sequence[int]) -> int:
    """Choose the longest side that the network sees from the native longest sides of some images.

    Their median, rounded down to 64 px, but at least 256 and at most 384; from 1,536 px on a quarter of
    it, at most 1,024, so that what is small on a large sensor is not averaged away.

    Args:
        native_long_px: longest sides in pixels, of a sample of the set. Empty counts as ordinary.
    """
    if not len(native_long_px):
        return ORDINARY_LONG_PX
    native = float(np.median(np.asarray(native_long_px)))
    wanted = native / 4 if native >= LARGE_NATIVE_PX else min(native, ORDINARY_LONG_PX)
    return int(min(LARGEST_LONG_PX, max(SMALLEST_LONG_PX, wanted // 64 * 64)))


def frame_size(width: int, height: int, long_px: int) -> tuple[int, int]:
    """Return the (width, height) an image is resized to: longest side `long_px`, whole patches, at least two.

    Args:
        width, height: of the upright image, in pixels, at least 1.
        long_px: what the longest side becomes, rounded to whole patches.
    """
    scale = long_px / max(width, height)
    return _whole_patches(width * scale), _whole_patches(height * scale)


def _whole_patches(side_px: float) -> int:
    return max(2, round(side_px / PATCH_PX)) * PATCH_PX


@dataclass(frozen=True)
class Tile:
    """One crop of an image, in pixels, and the patches that it answers for.

    Attributes:
        top, left: where the crop begins in the image.
        rows, columns: the patches of the image's grid that this tile fills.
        inner_top, inner_left: where these patches begin in the crop's own grid.
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
    """Cut an image into equal crops of about 512 px that overlap by 32 px at least on inner edges.

    The overlap gives each patch its surroundings; each patch of the image belongs to exactly one tile.

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
    """Return the crop's side in px and, per crop, its first patch and the span of patches it answers for."""
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
