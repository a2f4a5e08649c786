"""Labelled sets drawn by code: brushed plates, with a hole or without, and masks of the holes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.plates import draw_plate


def draw_labelled(root: Path, good: int, holes: int, *, masks: bool = False, side: int = 64) -> Path:
    """Draw good/ and defect/hole/ below a folder, and masks/hole/ where asked for."""
    rng = np.random.default_rng(0)
    folders = [root / "good", root / "defect" / "hole"] + ([root / "masks" / "hole"] if masks else [])
    for folder in folders:
        folder.mkdir(parents=True)
    for index in range(good):
        draw_plate(rng, side=side).save(root / "good" / f"{index:03d}.png")
    for index in range(holes):
        plate = draw_plate(rng, hole=True, side=side)
        plate.save(root / "defect" / "hole" / f"{index:03d}.png")
        if masks:
            hole = np.asarray(plate) == 25
            Image.fromarray((hole * 255).astype(np.uint8)).save(root / "masks" / "hole" / f"{index:03d}.png")
    return root
