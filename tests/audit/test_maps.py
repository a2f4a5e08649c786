from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.audit.maps import (
    MASK_COLOUR,
    SHEET_CELL_PX,
    SheetRow,
    at_image_size,
    blend_heat_map,
    contact_sheet,
    heat_map_overlay,
    hot_box,
    mask_at_overlay,
)

GREY = np.full((60, 90, 3), 120, dtype=np.uint8)


def peak(row: int, column: int, shape: tuple[int, int] = (6, 9)) -> np.ndarray:
    anomaly_map = np.zeros(shape, dtype=np.float32)
    anomaly_map[row, column] = 1
    return anomaly_map


def sheet_row(path: str = "a.png") -> SheetRow:
    return SheetRow(path=path, picture=GREY, anomaly_map=peak(1, 2), neighbour=None, neighbour_path="", caption="hole")


def test_a_map_below_low_leaves_the_image_as_it_is():
    np.testing.assert_array_equal(blend_heat_map(GREY, np.zeros((6, 9), dtype=np.float32), low=0.5, high=1.0), GREY)


def test_the_picture_changes_most_where_the_map_is_highest():
    change = np.abs(blend_heat_map(GREY, peak(2, 7), low=0.0, high=1.0).astype(int) - GREY).sum(axis=2)
    row, column = np.unravel_index(change.argmax(), change.shape)
    assert (row // 10, column // 10) == (2, 7)


@given(st.integers(0, 5), st.integers(0, 8), st.integers(6, 4000), st.integers(9, 4000))
def test_the_box_holds_the_peak_and_lies_in_the_image(row: int, column: int, width_px: int, height_px: int):
    left, top, width, height = hot_box(peak(row, column), 0.0, width_px=width_px, height_px=height_px)
    assert 0 <= left <= (column + 0.5) * width_px / 9 <= left + width <= width_px
    assert 0 <= top <= (row + 0.5) * height_px / 6 <= top + height <= height_px


def test_the_box_does_not_reach_over_to_another_region():
    anomaly_map = peak(0, 0) + 0.9 * peak(5, 8)
    assert hot_box(anomaly_map, 0.0, width_px=90, height_px=60) == [0, 0, 10, 10]


def test_an_even_map_gives_the_whole_image():
    assert hot_box(np.ones((6, 9), dtype=np.float32), 1.0, width_px=90, height_px=60) == [0, 0, 90, 60]


def test_the_sheet_has_a_row_an_image():
    one, three = (contact_sheet([sheet_row()] * count, low=0.0, high=1.0).height for count in (1, 3))
    assert three - one == 2 * (SHEET_CELL_PX + 10)


def test_names_that_no_font_has_are_drawn_escaped():
    contact_sheet([sheet_row(path="\x1b[31m\u202e\u6f22" * 40)], low=0.0, high=1.0)


def test_a_map_at_image_size_peaks_where_the_patch_does_and_keeps_its_level():
    anomaly_map = np.zeros((6, 4), dtype=np.float32)
    anomaly_map[4, 1] = 8
    large = at_image_size(anomaly_map, 64, 96)
    assert large.shape == (96, 64)
    row, column = np.unravel_index(large.argmax(), large.shape)
    assert (row // 16, column // 16) == (4, 1)
    assert abs(large.mean() - anomaly_map.mean()) < 0.01


def test_a_mask_is_outlined_in_the_overlay_and_what_is_inside_stays_visible():
    mask = np.zeros((60, 90), np.bool_)
    mask[10:40, 20:70] = True
    small = mask_at_overlay(mask, 6, 9)
    overlay = np.asarray(heat_map_overlay(np.zeros((6, 9), np.float32), low=0, high=1, mask=small))
    line = (overlay == MASK_COLOUR).all(axis=2)
    assert line.any()
    assert not line[~small].any()
    assert overlay[10, 18].tolist()[3] == 0  # in the middle of the mask
    without = heat_map_overlay(np.zeros((6, 9), np.float32), low=0, high=1)
    assert np.array_equal(np.where(line[..., None], 0, overlay), np.where(line[..., None], 0, np.asarray(without)))


def test_a_defect_smaller_than_a_patch_is_in_the_overlay_too():
    mask = np.zeros((500, 500), np.bool_)
    mask[321, 123] = True
    assert mask_at_overlay(mask, 5, 5).sum() == 1
