"""Drawn parts: one product, and on each part a surface of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from curate.progress import Progress, no_progress
from curate.records import IntArray
from curate.same_part.find import SamePart, find_same_part
from curate.same_part.prints import Pictures, Pixels, print_of

SIDE = 128


def part(number: int, *, surface: float = 14, hole: bool = False) -> Pixels:
    """Draw a disc with a bore, and the grain of part `number`."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2
    away = np.hypot(y, x)
    grey = np.where(away < 52, 150.0, 70.0)
    grey[away < 14] = 40
    grain = gaussian_filter(np.random.default_rng(number).normal(0, 1, (SIDE, SIDE)), 2)
    grey += surface * grain / grain.std() * (away < 52)
    if hole:
        grey[np.hypot(y - 30, x + 12) < 8] = 25
    return as_pixels(grey)


def as_pixels(grey: np.ndarray) -> Pixels:
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def look_again(pixels: Pixels, seed: int = 0) -> Pixels:
    """Return a second shot: longer exposure, a few px away, other noise."""
    moved = np.roll(pixels[..., 0].astype(float), (1, 2), axis=(0, 1))
    return as_pixels(1.2 * moved + np.random.default_rng(seed).normal(0, 2, moved.shape))


def nearest(pictures: Sequence[Pixels], count: int = 8) -> IntArray:
    small = np.stack([print_of(p).reshape(16, 4, 16, 4).mean(axis=(1, 3)).ravel() for p in pictures])
    away = np.linalg.norm(small[:, None] - small[None], axis=2)
    np.fill_diagonal(away, np.inf)
    near = np.argsort(away, axis=1, kind="stable")[:, : min(count, len(pictures) - 1)]
    return np.pad(near, ((0, 0), (0, count - near.shape[1])), constant_values=-1)


def find(
    pictures: Sequence[Pixels], groups: IntArray | None = None, *, progress: Progress = no_progress, near: int = 8
) -> SamePart:
    groups = np.arange(len(pictures)) if groups is None else groups
    shown = Pictures(pictures.__getitem__, len(pictures), progress)
    return find_same_part(shown, nearest(pictures, near), groups, seed=0, progress=progress)


def pairs(found: SamePart) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in found.pairs}
