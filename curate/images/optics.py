"""How an image was taken: its lighting and sharpness, to which features of a network hardly respond."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.records import FloatArray, Optics

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""

GREY = 4.0
"""Added to both sides of a ratio of colours, so that black has a ratio of 1."""

APART = 4
"""Distance in px over which focus hardly changes how much pixels differ."""

ROUNDING, EVEN = 1 / 6, 0.1
"""Mean squared difference of two grey values from rounding alone; and one that is negligible."""


def measure(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> Optics:
    """Measure an image as the network sees it, (H, W, 3) in 0-255; see `Optics`."""
    red, green, blue = (float(pixels[..., channel].mean(dtype=np.float64)) for channel in range(3))
    grey: FloatArray = pixels.astype(np.float32, copy=False) @ np.array(LUMA, dtype=np.float32)
    return Optics(
        brightness=float(grey.mean(dtype=np.float64)),
        contrast=float(grey.std(dtype=np.float64)),
        sharpness=_sharpness(grey),
        red=(red + GREY) / (green + GREY),
        blue=(blue + GREY) / (green + GREY),
    )


def _sharpness(grey: FloatArray) -> float:
    """Return how much neighbouring pixels differ (root mean square) relative to pixels `APART`; see `Optics`."""
    if min(grey.shape) <= APART:
        return 1.0
    near, far = (_difference(grey, apart) for apart in (1, APART))
    return float(np.sqrt((near + EVEN) / (far + EVEN)))


def _difference(grey: FloatArray, apart: int) -> float:
    """Return the mean squared difference of pixels `apart` px apart, down and across, less that of rounding."""
    down, across = grey[apart:] - grey[:-apart], grey[:, apart:] - grey[:, :-apart]
    squares = (np.square(step, out=step).mean(dtype=np.float64) for step in (down, across))
    return max(float(sum(squares)) / 2 - ROUNDING, 0.0)
