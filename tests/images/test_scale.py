from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.images.scale import fit_longest_side

SIDES = st.integers(1, 40_000)


@given(SIDES, SIDES, SIDES)
def test_the_longest_side_fits_is_never_enlarged_and_no_side_vanishes(width: int, height: int, longest_px: int):
    fitted = fit_longest_side(width, height, longest_px)
    assert max(fitted) == min(longest_px, max(width, height))
    assert min(fitted) >= 1
    assert fitted == fit_longest_side(height, width, longest_px)[::-1]


@pytest.mark.parametrize(
    ("size", "longest_px", "fitted"),
    [((640, 480), 320, (320, 240)), ((640, 480), 1000, (640, 480)), ((3, 1000), 100, (1, 100)), ((5, 8), 4, (2, 4))],
)
def test_the_aspect_ratio_is_kept_to_the_nearest_pixel(size, longest_px, fitted):
    assert fit_longest_side(*size, longest_px) == fitted
