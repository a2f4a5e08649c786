"""What is measured of how an image was taken."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from curate.images.optics import measure
from curate.records import Optics


def scene(seed: int = 0, side: int = 64) -> np.ndarray:
    """Return a grey image of many edges, (side, side, 3), 0-255."""
    grey = np.random.default_rng(seed).integers(40, 200, (side // 4, side // 4)).repeat(4, axis=0).repeat(4, axis=1)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.float32)


def test_a_grey_image_has_no_colour_and_an_even_one_is_neither_sharp_nor_blurred():
    found = measure(np.full((8, 6, 3), 77, dtype=np.uint8))
    assert found == Optics(
        brightness=pytest.approx(77), contrast=pytest.approx(0, abs=1e-9), sharpness=1, red=1, blue=1
    )


def test_light_scales_brightness_and_contrast_and_leaves_sharpness_and_colour():
    full, half = measure(scene()), measure(0.5 * scene())
    assert half.brightness == pytest.approx(full.brightness / 2)
    assert half.contrast == pytest.approx(full.contrast / 2)
    assert half.sharpness == pytest.approx(full.sharpness, rel=0.03)
    assert (half.red, half.blue) == (full.red, full.blue) == (1, 1)


def test_the_more_an_image_is_blurred_the_less_sharp_it_is_and_as_bright():
    measured = [measure(gaussian_filter(scene(), (blur, blur, 0))) for blur in (0, 0.5, 1, 2, 4)]
    sharpness = [found.sharpness for found in measured]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[2] < 0.9 * sharpness[0]
    assert [found.brightness for found in measured] == pytest.approx([measured[0].brightness] * 5, rel=0.02)


def test_a_colour_is_told_channel_by_channel():
    warm = scene() * np.array([1.1, 1.0, 0.8], dtype=np.float32)
    found = measure(warm)
    assert 1.05 < found.red < 1.1
    assert 0.8 < found.blue < 0.85


def test_deep_and_shallow_pixels_of_the_same_values_measure_the_same():
    assert astuple(measure(scene())) == astuple(measure(scene().astype(np.uint8)))


@pytest.mark.parametrize("shape", [(1, 1), (4, 9), (9, 1)])
def test_an_image_too_small_to_tell_is_neither_sharp_nor_blurred(shape: tuple[int, int]):
    found = measure(np.zeros((*shape, 3), dtype=np.uint8))
    assert found.sharpness == 1
    assert np.isfinite(astuple(found)).all()
