"""Small drawn sets: brushed plates, some with a hole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent


def draw_plate(rng: np.random.Generator, *, hole: bool = False, side: int = 128) -> Image.Image:
    """Draw a brushed plate, with a dark hole in it or without."""
    lines = np.repeat(rng.normal(150, 12, (side, 1)), side, axis=1)
    grey = lines + rng.normal(0, 3, (side, side))
    if hole:
        y, x = np.mgrid[0:side, 0:side]
        at = rng.uniform(0.3, 0.7, 2) * side
        grey[np.hypot(x - at[0], y - at[1]) < side / 9] = 25
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def draw_plates(folder: Path, count: int, holes: tuple[int, ...] = (), seed: int = 0) -> Path:
    """Draw plates 00.png, 01.png, ... into a folder."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        draw_plate(rng, hole=index in holes).save(folder / f"{index:02d}.png")
    return folder
