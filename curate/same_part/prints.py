"""The print of an image: what its surface looks like, whatever the exposure.

pixels -> print_of -> Prints -> Pictures
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from curate.errors import CouldNotFinish
from curate.progress import Progress, no_progress
from curate.records import BoolArray, FloatArray, IntArray

Pixels = NDArray[np.uint8] | NDArray[np.float32]
Read = Callable[[int], Pixels]
"""Returns the pixels of a row, (H, W, 3) RGB in 0-255; raises CouldNotFinish if its file is gone or has changed."""

log = logging.getLogger(__name__)

SIDE_PX = 64
"""Side of a print. Cost grows with its square; the texture that tells two parts apart is still there."""
MARGIN_PX = 5
"""Left out at each side of a comparison: a shifted image brings other pixels there. Also the largest shift."""
BLUR = 0.1
"""What is taken for light and shade, as a share of the side (standard deviation of the blur)."""
DARK_GREY = 4.0
"""Added to the grey before the logarithm: below it, sensors and JPEG show noise rather than the part."""
FADE_PX = 3
"""Over so many pixels the edges of a print fade before its spectrum is taken; a shift of 2 px brings none in."""
THUMBNAIL_PX = 16
THREADS, AHEAD = 4, 256
"""Decoding releases the interpreter. So many images are asked for at a time: after one that fails, no more are read."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""As Pillow weighs red, green and blue."""
FLAT = 1e-3
"""A print whose standard deviation is less shows nothing: a quarter of one grey step at full light."""


@dataclass(frozen=True, kw_only=True)
class Prints:
    """The prints of N images.

    Attributes:
        values: (N, S, S) logarithm of the grey less its blur, fp16.
        aspects: (N,) logarithm of width by height.
        flat: (N,) images that show nothing, or that could not be read.
        unread: how many of them could not be read.
    """

    values: NDArray[np.float16]
    aspects: FloatArray
    flat: BoolArray
    unread: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def at(self, rows: IntArray) -> Prints:
        """Return the prints of some rows."""
        return Prints(values=self.values[rows], aspects=self.aspects[rows], flat=self.flat[rows])


def print_of(pixels: Pixels) -> FloatArray:
    """Return the print of an image, shape (SIDE_PX, SIDE_PX): an exposure `f` times as long leaves it as it is.

    Every shape fills the print.

    Args:
        pixels: (H, W, 3) RGB in 0-255, uint8 or float32.

    Source: ours; the logarithm turns a factor of the light into a constant, as in homomorphic filtering.
    """
    grey = np.asarray(
        grey_image(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS, reducing_gap=2), np.float32
    )
    shade = np.log(np.maximum(grey, 0) + DARK_GREY)
    detail: FloatArray = shade - gaussian_filter(shade, BLUR * SIDE_PX, mode="nearest", truncate=3)
    return detail


def grey_image(pixels: Pixels) -> Image.Image:
    """Return the grey of an image, (H, W, 3) RGB in 0-255: luma, of 8 bits or as float."""
    if pixels.dtype == np.uint8:
        return Image.fromarray(pixels).convert("L")
    return Image.fromarray(pixels @ LUMA)


def spectra_of(values: FloatArray) -> NDArray[np.complex64]:
    """Return the spectra (..., S, S // 2 + 1) of prints (..., S, S), the edges faded so that none seems to be there."""
    spectra: NDArray[np.complex64] = scipy.fft.rfft2(values * _FADE, axes=(-2, -1))
    return spectra


def _fade() -> FloatArray:
    ramp = np.minimum(np.arange(SIDE_PX), np.arange(SIDE_PX)[::-1]) + 1
    edge = np.sin(np.pi / 2 * np.minimum(1, ramp / (FADE_PX + 1))) ** 2
    return np.outer(edge, edge).astype(np.float32)


_FADE = _fade()


def thumbnails_of(prints: Prints) -> FloatArray:
    """Return (N, 256) small prints, of mean 0 over the set and of length 1: pairs are searched for by them."""
    side = SIDE_PX // THUMBNAIL_PX
    cells = prints.values.reshape(-1, THUMBNAIL_PX, side, THUMBNAIL_PX, side).mean(axis=(2, 4), dtype=np.float32)
    small = cells.reshape(len(prints), -1)
    small -= small.mean(axis=0) if len(small) else 0
    thumbnails: FloatArray = small / (np.linalg.norm(small, axis=1, keepdims=True) + 1e-9)
    return thumbnails


def prints_of(read: Read, count: int, progress: Progress = no_progress) -> Prints:
    """Return the prints of `count` images, read and decoded with a few threads.

    An image that cannot be read any more shows nothing: a file may go while a large set is looked at.
    """
    values = np.zeros((count, SIDE_PX, SIDE_PX), np.float16)
    aspects, deviations = np.zeros(count, np.float32), np.zeros(count, np.float32)

    def fill(row: int) -> bool:
        try:
            pixels = read(row)
        except CouldNotFinish as error:
            log.warning("%s", error)
            return False
        detail = print_of(pixels)
        values[row], deviations[row] = detail, detail.std()
        aspects[row] = np.log(pixels.shape[1] / pixels.shape[0])
        return True

    unread = 0
    with ThreadPoolExecutor(THREADS, thread_name_prefix="print") as pool:
        for start in range(0, count, AHEAD):
            for done in pool.map(fill, range(start, min(start + AHEAD, count))):
                unread += not done
                progress(1)
    return Prints(values=values, aspects=aspects, flat=deviations < FLAT, unread=unread)


@dataclass(frozen=True)
class Pictures:
    """The pictures of `count` images: their pixels are read when they are asked for, their prints are made once.

    `progress` is called with 1 for each image of which the print is made.
    """

    read: Read
    count: int
    progress: Progress = no_progress

    @cached_property
    def prints(self) -> Prints:
        """The prints of all images; the first access reads every image."""
        return prints_of(self.read, self.count, self.progress)
