from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.embeddings.frame import PATCH_PX, TILE_PX, auto_long_px, frame_size, tiling

SIDES = st.integers(min_value=1, max_value=5000)


@given(SIDES, SIDES, st.integers(min_value=64, max_value=2048))
def test_a_frame_is_whole_patches_and_keeps_the_aspect_ratio_to_one_patch(width: int, height: int, long_px: int):
    framed = frame_size(width, height, long_px)
    scale = long_px / max(width, height)
    for side, native in zip(framed, (width, height), strict=True):
        assert side % PATCH_PX == 0
        assert side >= 2 * PATCH_PX
        assert abs(side - native * scale) <= PATCH_PX / 2 or side == 2 * PATCH_PX


@given(st.integers(min_value=2, max_value=200), st.integers(min_value=2, max_value=200))
def test_each_patch_belongs_to_exactly_one_tile_and_each_tile_lies_in_the_image(rows: int, columns: int):
    cut = tiling(rows * PATCH_PX, columns * PATCH_PX)
    answered = np.zeros((rows, columns), dtype=int)
    for tile in cut.tiles:
        answered[tile.rows, tile.columns] += 1
        assert 0 <= tile.top <= rows * PATCH_PX - cut.height
        assert 0 <= tile.left <= columns * PATCH_PX - cut.width
        assert tile.top // PATCH_PX + tile.inner_top == tile.rows.start
        assert tile.inner_top + tile.rows.stop - tile.rows.start <= cut.height // PATCH_PX
    assert (answered == 1).all()


@given(st.integers(min_value=2, max_value=200))
def test_tiles_are_bounded_and_see_what_surrounds_their_patches(patches: int):
    cut = tiling(64, patches * PATCH_PX)
    assert cut.width <= TILE_PX + 5 * PATCH_PX
    for tile in cut.tiles:
        inner_left, inner_right = (
            tile.inner_left,
            cut.width // PATCH_PX - tile.inner_left - (tile.columns.stop - tile.columns.start),
        )
        assert inner_left >= 2 or tile.left == 0
        assert inner_right >= 2 or tile.left + cut.width == patches * PATCH_PX


@pytest.mark.parametrize(
    ("native", "expected"), [(100, 256), (300, 256), (448, 384), (1280, 384), (2448, 576), (9000, 1024)]
)
def test_the_automatic_size_follows_the_native_one_within_bounds(native: int, expected: int):
    assert auto_long_px([(native, native)] * 3) == expected


@pytest.mark.parametrize(
    ("long", "short", "expected"),
    [(640, 261, 448), (1200, 120, 1152), (120, 1200, 1152), (400, 100, 384), (6000, 300, 3840), (20000, 500, 6464)],
)
def test_the_short_side_of_a_long_thin_part_keeps_its_resolution(long: int, short: int, expected: int):
    assert auto_long_px([(long, short)]) == expected
    width, height = frame_size(long, short, expected)
    assert width * height <= 1.1 * 1024**2


def test_the_automatic_size_of_nothing_is_the_ordinary_one():
    assert auto_long_px([]) == 384
