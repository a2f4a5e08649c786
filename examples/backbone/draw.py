"""Draw training images by code: any scene, covered by any texture, in any colours, whole or damaged.

    python draw.py --sheet sheet.png            look at 60 of them
    python draw.py --pool POOL --images 4000    fill a folder with the pool that distil.py trains on

A drawn image depends on its seed and the families of textures alone, so a pool can be drawn again. The pool is one
memory-mapped array, (N, S, S, 3) uint8, and `counter.npy`, the number of images drawn so far: once the pool is full,
drawing goes on and replaces the oldest images while the training runs.
"""

from __future__ import annotations

import argparse
import io
import time
from functools import partial
from pathlib import Path

import marks  # noqa: F401  enters its textures
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from parts import SCENES, Scene, colour, damaged, relit
from PIL import Image
from scipy import ndimage
from textures import TEXTURES, log_uniform

FAMILIES = tuple(dict.fromkeys(family for family, _ in TEXTURES.values()))
SIZE = 384
SCENE_WEIGHTS = {"plain_surface": 4, "one_part": 5, "dead_leaves": 2, "long_parts": 2, "wafer": 2, "heap": 1}


def surface(rng: Generator, size: int, *, families: tuple[str, ...]) -> Scene:
    """Draw a texture and colour it: grey, or along a path through a few colours. (S, S, 3)"""
    names = [name for name, (family, _) in TEXTURES.items() if family in families]
    grey = TEXTURES[str(rng.choice(names))][1](rng, size)
    if rng.random() < 0.3:  # two textures at once
        other = TEXTURES[str(rng.choice(names))][1](rng, size)
        share = rng.uniform(0.2, 0.8)
        grey = grey * share + other * (1 - share) if rng.random() < 0.6 else grey * (0.3 + 0.7 * other)
    if rng.random() < 0.45:
        low, high = np.sort(rng.uniform(0, 1, 2))
        return np.repeat((low + grey * max(high - low, rng.uniform(0.05, 0.5)))[..., None], 3, -1).astype(np.float32)
    stops = np.stack([colour(rng) for _ in range(rng.integers(2, 5))])
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(grey, at, stops[:, c]) for c in range(3)], -1).astype(np.float32)


def camera(rng: Generator, image: Scene) -> NDArray[np.uint8]:
    """Take the picture: blur, grey film, noise, compression."""
    if rng.random() < 0.35:
        image = image.mean(-1, keepdims=True).repeat(3, -1)
    if rng.random() < 0.4:
        image = ndimage.gaussian_filter(image, (*[log_uniform(rng, 0.4, 2.5)] * 2, 0))
    if rng.random() < 0.4:
        shape = image.shape if rng.random() < 0.5 else (*image.shape[:2], 1)
        image = image + rng.standard_normal(shape, dtype=np.float32) * np.float32(log_uniform(rng, 0.005, 0.08))
    pixels = np.asarray(np.clip(image, 0, 1) * 255 + 0.5, np.uint8)
    if rng.random() < 0.2:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(25, 95)))
        pixels = np.asarray(Image.open(file).convert("RGB"))
    return pixels


def draw(seed: int, *, families: tuple[str, ...] = FAMILIES, size: int = SIZE) -> NDArray[np.uint8]:
    """Draw the image of a seed, (size, size, 3) RGB."""
    rng = np.random.default_rng(seed)
    cover = partial(surface, families=families)
    weights = np.array(list(SCENE_WEIGHTS.values()), float)
    name = str(rng.choice(list(SCENE_WEIGHTS), p=weights / weights.sum()))
    image = SCENES[name](rng, size, cover)
    if rng.random() < 0.6:
        image = damaged(rng, image, cover)
    if rng.random() < 0.6:
        image = relit(rng, image)
    return camera(rng, image)


def open_pool(folder: Path, images: int, *, mode: str = "r") -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the pool's pixels and its counter (1,), mapped from disk; made where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, counter = folder / "pixels.npy", folder / "counter.npy"
    if mode != "r" and not pixels.exists():
        np.lib.format.open_memmap(pixels, "w+", np.uint8, (images, SIZE, SIZE, 3))
        np.lib.format.open_memmap(counter, "w+", np.int64, (1,))
    return np.load(pixels, mmap_mode=mode), np.load(counter, mmap_mode=mode)


def fill(folder: Path, images: int, *, first_seed: int, families: tuple[str, ...], duty: float, stop_at: int) -> None:
    """Draw into the pool, on and on (or up to `stop_at` images); resumes where the counter stands.

    Args:
        duty: share of the time spent drawing once the pool is full, 0-1.
    """
    pixels, counter = open_pool(folder, images, mode="r+")
    while not stop_at or counter[0] < stop_at:
        began, index = time.perf_counter(), int(counter[0])
        pixels[index % images] = draw(first_seed + index, families=families)
        counter[0] = index + 1
        if index >= images:
            time.sleep((time.perf_counter() - began) * (1 / duty - 1))


def sheet(path: Path, *, families: tuple[str, ...], columns: int = 10, rows: int = 6) -> None:
    """Save a contact sheet."""
    cells = [Image.fromarray(draw(seed, families=families)).resize((160, 160)) for seed in range(columns * rows)]
    page = Image.new("RGB", (columns * 160, rows * 160))
    for index, cell in enumerate(cells):
        page.paste(cell, (index % columns * 160, index // columns * 160))
    page.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--images", type=int, default=4000, help="size of the pool")
    parser.add_argument("--stop-at", type=int, default=0, help="stop after so many images; 0: never")
    parser.add_argument("--first-seed", type=int, default=1_000_000)
    parser.add_argument("--families", default=",".join(FAMILIES), help="families of textures, by comma")
    parser.add_argument("--duty", type=float, default=0.5)
    args = parser.parse_args()
    families = tuple(args.families.split(","))
    if args.sheet:
        sheet(args.sheet, families=families)
    if args.pool:
        fill(
            args.pool, args.images, first_seed=args.first_seed, families=families, duty=args.duty, stop_at=args.stop_at
        )


if __name__ == "__main__":
    main()
