"""Marks and chance, drawn by code like the surfaces of `textures.py`: print, codes, circuits, and a fractal."""

from __future__ import annotations

import string

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from textures import Grey, texture, unit

FONT_SIZES = (9, 12, 16, 22, 30, 44, 64, 100)
LETTERS = np.array(list(string.ascii_uppercase * 2 + string.ascii_lowercase + string.digits * 3 + "-./:#+* "))


@texture("marks")
def lettering(rng: Generator, size: int) -> Grey:
    """Lines of print, often turned."""
    image = Image.new("L", (size, size), 0)
    pen, y = ImageDraw.Draw(image), int(rng.integers(-20, 60))
    while y < size:
        font_size = int(rng.choice(FONT_SIZES))
        text = "".join(rng.choice(LETTERS, rng.integers(3, 24)))
        pen.text(
            (int(rng.integers(-30, size // 2)), y),
            text,
            fill=int(rng.integers(120, 256)),
            font=ImageFont.load_default(font_size),
        )
        y += int(font_size * rng.uniform(1, 2.5))
    turn = float(rng.choice([0, 0, 90, 180, rng.uniform(0, 360)]))
    return np.asarray(image.rotate(turn, Image.Resampling.BILINEAR), np.float32) / 255


@texture("marks")
def codes(rng: Generator, size: int) -> Grey:
    """Bar codes and matrix codes."""
    module, count = int(rng.integers(2, 12)), int(rng.integers(12, 60))
    bits = rng.integers(0, 2, (count, count) if rng.random() < 0.5 else (1, count)).astype(np.float32)
    code = np.kron(bits, np.ones((module if len(bits) > 1 else int(rng.integers(30, size)), module), np.float32))
    image, (top, left) = np.full((size, size), 1.0, np.float32), rng.integers(0, size // 2, 2)
    code = code[: size - top, : size - left]
    image[top : top + code.shape[0], left : left + code.shape[1]] = code
    return np.rot90(image, rng.integers(4)).copy()


@texture("marks")
def traces(rng: Generator, size: int) -> Grey:
    """A circuit board: tracks at right and half right angles, pads, holes, packages."""
    image = Image.new("F", (size, size), 0.2)
    pen, step = ImageDraw.Draw(image), float(rng.integers(6, 30))
    copper, width = float(rng.uniform(0.4, 0.8)), int(rng.integers(1, 7))
    for _ in range(int(rng.integers(8, 70))):
        turns = np.cumsum(rng.integers(-1, 2, 7)) * np.pi / 4 + rng.integers(4) * np.pi / 2
        moves = np.stack([np.cos(turns), np.sin(turns)], 1) * step * rng.integers(1, 8, (7, 1))
        points = np.round(rng.uniform(0, size, 2) / step) * step + np.cumsum(moves, 0)
        pen.line([tuple(p) for p in points], fill=copper, width=width, joint="curve")
        for x, y in points[[0, -1]]:
            reach = width * 1.5 + 1
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=copper + 0.15)
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=0.0)
    for _ in range(int(rng.integers(0, 8))):
        (x, y), (w, h) = rng.uniform(0, size, 2), rng.uniform(8, 70, 2)
        pen.rectangle((x, y, x + w, y + h), fill=float(rng.uniform(0, 1)), outline=float(rng.uniform(0, 1)))
    return np.clip(np.asarray(image, np.float32), 0, 1)


# ------------------------------------------------------------------------------------------------ chance


@texture("chance")
def function_system(rng: Generator, size: int) -> Grey:
    """The attractor of a few random affine maps (an iterated function system), by the chaos game."""
    maps = int(rng.integers(2, 7))
    matrices = rng.uniform(-1, 1, (maps, 2, 2)).astype(np.float32)
    matrices *= (rng.uniform(0.4, 0.92, maps) / np.linalg.norm(matrices, 2, axis=(1, 2)))[:, None, None].astype(
        np.float32
    )
    shifts, points = rng.uniform(-1, 1, (maps, 2)).astype(np.float32), rng.uniform(-1, 1, (8000, 2)).astype(np.float32)
    seen = []
    for turn in range(24):
        choice = rng.integers(maps, size=len(points))
        points = np.einsum("nij,nj->ni", matrices[choice], points) + shifts[choice]
        if turn > 7:
            seen.append(points)
    dots = np.concatenate(seen)
    low, high = np.quantile(dots, 0.01, axis=0), np.quantile(dots, 0.99, axis=0)
    cells = ((dots - low) / (high - low + 1e-6) * (size - 1)).astype(np.int64)
    cells = cells[((cells >= 0) & (cells < size)).all(1)]
    counts = np.bincount(cells[:, 0] * size + cells[:, 1], minlength=size * size).reshape(size, size)
    return unit(np.log1p(ndimage.gaussian_filter(counts.astype(np.float32), rng.uniform(0.3, 1.2))))
