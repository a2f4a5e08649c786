"""Whether two pictures of the same thing have the same noise: a copy has, a second shot has not.

Where the picture is flat, the finest detail is noise of the camera. A second shot has noise of its own. A copy has the
same, or, compressed or made smaller, less of it, but none of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.records import FloatArray
from curate.same_part.prints import Pixels

BLOCK_PX = 8
FLATTEST, FEWEST_BLOCKS = 0.08, 32
"""Share of the blocks that show noise in which it is compared, those with the least texture; and how many at least."""
LEAST_VARIANCE = 0.25
"""In grey levels squared: less is rounding (1 / 12) rather than noise."""
ROUNDING = 1 / 24
"""What rounding to whole grey levels adds, as variance that is not common to a picture and its copy."""
DARKEST, BRIGHTEST = 4, 250
"""Clipped pixels have lost their noise."""


def own_noise(one: FloatArray, other: FloatArray) -> float:
    """Return the share of noise that the poorer of two pictures has of its own: about 0 for a copy, 1 for another shot.

    NaN if too few blocks show noise: then nothing can be told.

    Args:
        one, other: (H, W) grey, 0-255, the same size, registered.

    Source: ours: (min(v1, v2) - cov) / max(v1, v2) of the diagonal Haar coefficients in the flattest blocks.
    """
    height, width = (side // BLOCK_PX * BLOCK_PX for side in one.shape)
    one, other = one[:height, :width], other[:height, :width]
    first, second = _diagonal(one), _diagonal(other)
    half = BLOCK_PX // 2
    variances = _blocks(np.square(first), half), _blocks(np.square(second), half)
    clipped = _blocks(_clipped(one) | _clipped(other), BLOCK_PX) > 0
    noisy = np.flatnonzero(~clipped.ravel() & (np.maximum(*variances).ravel() >= LEAST_VARIANCE))
    if len(noisy) < FEWEST_BLOCKS:
        return float("nan")
    texture = _texture(one + other).ravel()[noisy]
    flattest = noisy[np.argsort(texture, kind="stable")[: max(FEWEST_BLOCKS, int(FLATTEST * len(noisy)))]]
    v1, v2, common = (float(part.ravel()[flattest].mean()) for part in (*variances, _blocks(first * second, half)))
    return (min(v1, v2) - ROUNDING - common) / max(v1, v2)


def _diagonal(grey: FloatArray) -> FloatArray:
    """Return (H / 2, W / 2) diagonal Haar coefficients: neither edges along the axes nor gradients are in them."""
    corners = grey[::2, ::2] - grey[1::2, ::2] - grey[::2, 1::2] + grey[1::2, 1::2]
    return np.asarray(corners / 2, np.float32)


def _texture(grey: FloatArray) -> FloatArray:
    """Return by block how far the means of its four quarters differ: noise hardly moves them."""
    quarters = _blocks(grey, BLOCK_PX // 2)
    texture: FloatArray = quarters.reshape(quarters.shape[0] // 2, 2, quarters.shape[1] // 2, 2).var(axis=(1, 3))
    return texture


def _blocks(values: NDArray[np.float32] | NDArray[np.bool_], side: int) -> FloatArray:
    rows, columns = values.shape[0] // side, values.shape[1] // side
    means: FloatArray = values.reshape(rows, side, columns, side).mean(axis=(1, 3), dtype=np.float32)
    return means


def _clipped(grey: FloatArray) -> NDArray[np.bool_]:
    return (grey < DARKEST) | (grey > BRIGHTEST)


def grey_of(pixels: Pixels) -> FloatArray:
    """Return the grey (H, W), 0-255, of pixels (H, W, 3)."""
    red, green, blue = (pixels[..., channel].astype(np.float32) for channel in range(3))
    return (red + green + blue) / np.float32(3)
