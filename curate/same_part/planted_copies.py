"""Copies planted in a set: its own images, compressed again, resized or turned; and what is no copy."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from curate.same_part.orientations import ORIENTATIONS, oriented
from curate.same_part.prints import Pixels

QUALITIES = (50, 95)
SIZES = (0.5, 2.0)
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
ALL_TOGETHER = "all"
CLEAN_BLUR_PX = 0.8

Planter = Callable[[Image.Image, np.random.Generator], tuple[Image.Image, int]]
"""Returns a copy of an image and its orientation, an index of `ORIENTATIONS`."""


def compressed(image: Image.Image, generator: np.random.Generator) -> tuple[Image.Image, int]:
    """Compress with JPEG of quality 50 to 95."""
    return as_jpeg(image, int(generator.integers(QUALITIES[0], QUALITIES[1] + 1))), 0


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return an image compressed with JPEG of a quality."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def resized(image: Image.Image, generator: np.random.Generator) -> tuple[Image.Image, int]:
    """Resize to half to double the size, by one of three filters."""
    scale = np.exp(generator.uniform(*np.log(SIZES)))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, FILTERS[generator.integers(len(FILTERS))]), 0


def turned(image: Image.Image, generator: np.random.Generator) -> tuple[Image.Image, int]:
    """Turn or mirror in one of the seven other orientations, without loss."""
    orientation = int(generator.integers(1, len(ORIENTATIONS)))
    return Image.fromarray(np.ascontiguousarray(oriented(np.asarray(image), orientation))), orientation


def all_together(image: Image.Image, generator: np.random.Generator) -> tuple[Image.Image, int]:
    """Turn, resize and compress."""
    image, orientation = turned(image, generator)
    image, _ = resized(image, generator)
    return compressed(image, generator)[0], orientation


COPIES: MappingProxyType[str, Planter] = MappingProxyType(
    {"compressed": compressed, "resized": resized, "turned": turned, ALL_TOGETHER: all_together}
)


def second_shots(
    pixels: Pixels, noise_grey: float, generator: np.random.Generator, *, quality: int | None = None
) -> tuple[Pixels, Pixels]:
    """Return two shots of a camera that did not move: the picture freed of its noise, twice with noise of its own.

    Args:
        pixels: (H, W, 3) in 0-255.
        noise_grey: standard deviation of the noise, in grey levels.
        generator: of the noise.
        quality: of the JPEG that the camera stores; None for no compression.
    """
    clean = gaussian_filter(pixels.astype(np.float32), (CLEAN_BLUR_PX, CLEAN_BLUR_PX, 0))
    grains = [generator.normal(0, noise_grey, clean.shape[:2])[..., None] for _ in range(2)]
    shots = [Image.fromarray(np.clip(np.rint(clean + grain), 0, 255).astype(np.uint8)) for grain in grains]
    first, second = (np.asarray(shot if quality is None else as_jpeg(shot, quality)) for shot in shots)
    return first, second


def plant_copies(pixels: Pixels, generator: np.random.Generator) -> dict[str, tuple[Pixels, int]]:
    """Return a copy of each kind, (h, w, 3) uint8, and its orientation, an index of `ORIENTATIONS`.

    Source: ours.
    """
    image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    copies = {kind: plant(image, generator) for kind, plant in COPIES.items()}
    return {kind: (np.asarray(copy), orientation) for kind, (copy, orientation) in copies.items()}
