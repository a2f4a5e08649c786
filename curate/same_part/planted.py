"""Re-shots planted in a set: its own images, as a second shot would show them.

plant(pixels, generator) -> one image for each kind of re-shot
"""

from __future__ import annotations

import io
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.same_part.prints import Pixels, grey_image

SIDE_PX = 256
"""Longest side of a planted re-shot. The strengths below are px and degrees at this size."""
EXPOSURES = (0.6, 1.6)
NOISE_GREY = 6.0
SHIFT_PX = 5
TURN_DEGREES = 2.0
CROP = 0.03
ALL_TOGETHER = "all"
"""The kind that stands for a real second shot."""

Picture = NDArray[np.float32]
Reshoot = Callable[[Picture, np.random.Generator, float], Picture]
"""From and to the grey, (H, W) in 0-255; the number is the strength, 1 for what is said below."""


def exposure(picture: Picture, generator: np.random.Generator, strength: float = 1) -> Picture:
    """Expose .6 to 1.6 times as long, at the ends of the range: what is too bright is lost."""
    exposed: Picture = np.clip(picture * np.float32(generator.choice(EXPOSURES) ** strength), 0, 255)
    return exposed


def noise(picture: Picture, generator: np.random.Generator, strength: float = 1) -> Picture:
    """Add noise of 6 grey levels."""
    grain = generator.normal(0, strength * NOISE_GREY, picture.shape).astype(np.float32)
    noisy: Picture = np.clip(picture + grain, 0, 255)
    return noisy


def jpeg(picture: Picture, generator: np.random.Generator, strength: float = 1) -> Picture:
    """Compress with JPEG of quality 40 to 70."""
    buffer = io.BytesIO()
    _image(picture).save(
        buffer, "JPEG", quality=max(1, round(100 - strength * (100 - int(generator.integers(40, 71)))))
    )
    return np.asarray(Image.open(buffer), np.float32)


def shift(picture: Picture, generator: np.random.Generator, strength: float = 1) -> Picture:
    """Move by up to 5 px each way; the edge is drawn out."""
    return _mapped(picture, shift_px=strength * generator.uniform(-SHIFT_PX, SHIFT_PX, 2))


def turn(picture: Picture, generator: np.random.Generator, strength: float = 1) -> Picture:
    """Turn by 1 to 2 degrees."""
    return _mapped(
        picture, degrees=strength * generator.choice((-1, 1)) * generator.uniform(TURN_DEGREES / 2, TURN_DEGREES)
    )


def crop(picture: Picture, generator: np.random.Generator, strength: float = 1) -> Picture:
    """Cut off 1.5 % at each side."""
    return _mapped(picture, zoom=1 - strength * CROP)


def all_together(picture: Picture, generator: np.random.Generator, strength: float = 1) -> Picture:
    """Apply a mild form of all at once, as a second shot does."""
    moved = _mapped(
        picture,
        shift_px=strength * generator.uniform(-SHIFT_PX / 2, SHIFT_PX / 2, 2),
        degrees=strength * generator.uniform(-TURN_DEGREES, TURN_DEGREES) / 2,
        zoom=1 - strength * CROP * generator.uniform(0, 0.5),
    )
    light = np.float32(np.exp(strength * generator.uniform(np.log(0.75), np.log(1.3))))
    grain = generator.normal(0, strength * NOISE_GREY / 2, picture.shape).astype(np.float32)
    return jpeg(np.clip(moved * light + grain, 0, 255), generator, strength)


RESHOTS: MappingProxyType[str, Reshoot] = MappingProxyType(
    {
        "exposure": exposure,
        "noise": noise,
        "jpeg": jpeg,
        "shift": shift,
        "turn": turn,
        "crop": crop,
        ALL_TOGETHER: all_together,
    }
)


def plant(pixels: Pixels, generator: np.random.Generator, strength: float = 1) -> dict[str, Pixels]:
    """Return one re-shot of each kind, (h, w, 3) uint8, the longest side SIDE_PX. They are grey, as prints are.

    Args:
        pixels: (H, W, 3) RGB in 0-255.
        generator: draws how much.
        strength: 0 for none, 1 for what each kind says.

    Source: ours.
    """
    image = grey_image(pixels)
    scale = SIDE_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    picture = np.asarray(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2), np.float32)
    shots = {kind: np.asarray(_image(reshoot(picture, generator, strength))) for kind, reshoot in RESHOTS.items()}
    return {kind: np.repeat(shot[..., None], 3, axis=2) for kind, shot in shots.items()}


def _image(picture: Picture) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


def _mapped(
    picture: Picture,
    *,
    shift_px: NDArray[np.float64] | tuple[float, float] = (0, 0),
    degrees: float = 0,
    zoom: float = 1,
) -> Picture:
    """Return the picture shifted, turned and enlarged by 1 / zoom about its middle; what comes in repeats the edge."""
    margin = SIDE_PX // 16
    wide = _image(np.pad(picture, margin, mode="edge"))
    middle = np.array(wide.size) / 2
    angle = np.deg2rad(degrees)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    at = middle + shift_px - np.array([cos * middle[0] - sin * middle[1], sin * middle[0] + cos * middle[1]])
    turned = wide.transform(
        wide.size, Image.Transform.AFFINE, (cos, -sin, at[0], sin, cos, at[1]), Image.Resampling.BICUBIC
    )
    return np.asarray(turned, np.float32)[margin:-margin, margin:-margin]
