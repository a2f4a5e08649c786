"""Draw the demo set: turned aluminium flanges under a ring light, and the faults that real folders have.

    python examples/draw_demo.py FOLDER [--images 120] [--size 640x512] [--seed 0]

FOLDER gets good/*.jpg and faults.csv (path, fault) for the images that do not belong there: scratched,
stained or badly drilled flanges, another product, a copy, and a file that was cut off while being written.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Draw = Callable[[Image.Image, np.random.Generator], None]
HOLES = 6


def flange(rng: np.random.Generator, size: tuple[int, int], holes: int = HOLES, hub: float = 0.36) -> Image.Image:
    """Draw one part of `size` (width, height), slightly turned and shifted, with its own light and noise."""
    width, height = size
    radius = 0.42 * min(size)
    centre = np.array([width / 2, height / 2]) + rng.normal(0, 0.004 * width, 2)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    distance, angle = np.hypot(x - centre[0], y - centre[1]), np.arctan2(y - centre[1], x - centre[0])
    turning = 9 * np.sin(distance * 640 / width * 1.9 + rng.uniform(0, 6)) + 12 * np.cos(2 * angle + rng.normal(0, 0.1))
    light = 150 + 18 * (x / width - 0.5) + rng.normal(0, 3)
    shade = np.where(distance < radius, light + turning, 46 + 10 * (y / height))
    shade = np.where(np.abs(distance - radius) < 0.012 * width, 205, shade)
    shade = np.where(distance < hub * radius, 84 + 0.25 * (x - centre[0]), shade)
    shade = np.where(np.abs(distance - hub * radius) < 0.008 * width, 190, shade)
    turn = rng.normal(0, 0.02)
    for index in range(holes):
        at = centre + 0.7 * radius * np.array([np.cos(turn + index * np.pi / 3), np.sin(turn + index * np.pi / 3)])
        away = np.hypot(x - at[0], y - at[1])
        shade = np.where(away < 0.09 * radius, 34, np.where(away < 0.115 * radius, 120, shade))
    picture = Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(0.0016 * width))


def sensor(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add the noise of a sensor and a faint tint."""
    grey = np.asarray(picture, dtype=np.float32) + rng.normal(0, 2.5, (picture.height, picture.width))
    return Image.fromarray(np.clip(grey[..., None] * (1.0, 0.99, 0.97), 0, 255).astype(np.uint8))


def scratch(picture: Image.Image, rng: np.random.Generator) -> None:
    """Draw a bright, thin, slightly bent line across the face."""
    width, height = picture.size
    start = np.array([rng.uniform(0.3, 0.45) * width, rng.uniform(0.25, 0.4) * height])
    bend = rng.normal(0, 0.02 * width, (6, 2)).cumsum(axis=0)
    points = start + np.linspace(0, 0.22 * width, 6)[:, None] * (1, rng.uniform(-0.6, 0.6)) + bend * 0.3
    ImageDraw.Draw(picture).line([tuple(p) for p in points], fill=238, width=max(2, width // 240))


def stain(picture: Image.Image, rng: np.random.Generator) -> None:
    """Darken an oily blot with soft edges."""
    width, height = picture.size
    blot = Image.new("L", picture.size, 0)
    at = np.array([rng.uniform(0.55, 0.66) * width, rng.uniform(0.28, 0.42) * height])
    for _ in range(8):
        x, y = at + rng.normal(0, 0.018 * width, 2)
        reach = rng.uniform(0.01, 0.03) * width
        ImageDraw.Draw(blot).ellipse((x - reach, y - reach, x + reach, y + reach), fill=150)
    picture.paste(70, mask=blot.filter(ImageFilter.GaussianBlur(0.005 * width)))


def burr(picture: Image.Image, rng: np.random.Generator) -> None:
    """Put an extra hole, drilled where none belongs."""
    width, height = picture.size
    x, y, reach = (rng.uniform(0.36, 0.42) * width, rng.uniform(0.5, 0.62) * height, 0.022 * width)
    ImageDraw.Draw(picture).ellipse((x - reach, y - reach, x + reach, y + reach), fill=30, outline=215, width=3)


FAULTS: dict[str, Draw] = {"scratch": scratch, "stain": stain, "extra hole": burr}


def draw_set(folder: Path, images: int, size: tuple[int, int], seed: int, suffix: str = ".jpg") -> dict[str, str]:
    """Draw the set and return the fault of each image that has one, by its path below `folder`."""
    rng = np.random.default_rng(seed)
    (folder / "good").mkdir(parents=True, exist_ok=True)
    planted = planted_faults(images, rng)
    faults: dict[str, str] = {}
    for index in range(images):
        fault = planted.get(index, "")
        picture = flange(rng, size, holes=3, hub=0.6) if fault == "other product" else flange(rng, size)
        if fault in FAULTS:
            FAULTS[fault](picture, rng)
        name = f"good/{index:05d}{suffix}"
        sensor(picture, rng).save(folder / name, quality=92)
        if fault:
            faults[name] = fault
    return faults


def planted_faults(images: int, rng: np.random.Generator) -> dict[int, str]:
    """Choose about one image in twelve to carry a fault, of every kind in turn."""
    kinds = (*FAULTS, "other product")
    chosen = rng.choice(images, size=max(len(kinds), images // 12), replace=False)
    return {int(index): kinds[number % len(kinds)] for number, index in enumerate(chosen)}


def spoil_files(folder: Path, suffix: str = ".jpg") -> dict[str, str]:
    """Add a copy of one image and a file that was cut off."""
    first, second = sorted((folder / "good").iterdir())[:2]
    (folder / "good" / f"copy_of_{first.name}").write_bytes(first.read_bytes())
    (folder / "good" / f"cut_off{suffix}").write_bytes(second.read_bytes()[:4000])
    return {f"good/copy_of_{first.name}": "duplicate", f"good/cut_off{suffix}": "unreadable"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--size", default="640x512", help="width x height in px")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    faults = draw_set(args.folder, args.images, (width, height), args.seed) | spoil_files(args.folder)
    with (args.folder / "faults.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "fault"), *sorted(faults.items())])
    print(f"{args.folder}: {args.images + 2} images drawn, {len(faults)} of them with a fault, named in faults.csv")


if __name__ == "__main__":
    main()
