"""Defects planted in a set's own images: what an anomaly of known kind, size and contrast looks like here.

    plant(pixels, draw_defect(generator), generator) -> the image with one defect

A defect is drawn where the image has structure, so that it lies on the part and not on an even background, and where it
can be seen. Sizes and contrasts are drawn evenly on a log scale. Source: ours; the families follow Li et al. 2021
(CutPaste), §2, and Zavrtanik et al. 2021 (DRAEM), §3.2 (Perlin noise).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from curate.records import PlantedDefect

Pixels = NDArray[np.uint8] | NDArray[np.float32]
Picture = NDArray[np.float32]
Mask = NDArray[np.float32]
Grid = NDArray[np.float64]

LEAST_PX = 4.0

SIZES = (0.03, 0.4)
"""Longest extent of a planted defect, as a share of the image's longest side."""

CONTRASTS = (0.4, 1.0)
"""How much of the defect shows: 1 hides what was there."""

VISIBLE_GREY, TRIES = 20.0, 12
"""At full contrast a defect changes the pixels that it covers by so much, root mean square; else it is drawn again, so
many times at most: a patch from elsewhere that shows the same is no defect."""

COVERED = 0.1
"""A pixel with at least so much of the mask is covered."""

EVEN_SHARE = 0.1
"""Share of the chance of a position that does not depend on the structure there."""


@dataclass(frozen=True)
class _Place:
    """Where a defect goes: its centre and its longest extent, in px."""

    row: int
    column: int
    extent_px: float


Draw = Callable[[Picture, _Place, np.random.Generator], tuple[Mask, Picture]]
"""From an image, (H, W, 3) in 0-255: where the defect covers it, (H, W) in 0-1, and what it covers it with."""


def draw_defect(generator: np.random.Generator) -> PlantedDefect:
    """Draw what is to be planted; what it looks like, and where it goes, is left to `plant`."""
    family = str(generator.choice(list(FAMILIES)))
    return PlantedDefect(
        family=family, size=_log_uniform(generator, SIZES), contrast=_log_uniform(generator, CONTRASTS)
    )


def plant(pixels: Pixels, defect: PlantedDefect, generator: np.random.Generator) -> Pixels:
    """Return a copy of an image, of the same type, with a defect drawn into it.

    Args:
        pixels: (H, W, 3) RGB in 0-255, sides of at least 16 px.
        defect: its family, size and contrast; it is at least `LEAST_PX` long.
        generator: draws its look and position.
    """
    picture = np.asarray(pixels, dtype=np.float32)
    extent_px = max(LEAST_PX, defect.size * max(picture.shape[:2]))
    for _ in range(TRIES):
        mask, cover = FAMILIES[defect.family](picture, _place(picture, extent_px, generator), generator)
        changed = np.clip(picture + (defect.contrast * mask)[..., None] * (cover - picture), 0, 255)
        change = np.abs(changed - picture).max(axis=2)[mask > COVERED]
        if len(change) and float(np.sqrt(np.mean(change**2))) >= defect.contrast * VISIBLE_GREY:
            break
    return np.rint(changed).astype(np.uint8) if pixels.dtype == np.uint8 else changed


def _log_uniform(generator: np.random.Generator, between: tuple[float, float]) -> float:
    return float(np.exp(generator.uniform(*np.log(between))))


def _place(picture: Picture, extent_px: float, generator: np.random.Generator) -> _Place:
    """Draw a position by the structure around it."""
    grey = picture.mean(axis=2)
    slope = np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))
    structure = ndimage.uniform_filter(slope, size=max(3, int(extent_px)))
    chance = structure / max(float(structure.sum()), 1e-6) * (1 - EVEN_SHARE) + EVEN_SHARE / structure.size
    flat = int(np.searchsorted(np.cumsum(chance.ravel(), dtype=np.float64), generator.uniform(0, float(chance.sum()))))
    row, column = divmod(min(flat, grey.size - 1), grey.shape[1])
    return _Place(row, column, extent_px)


def _patch_elsewhere(picture: Picture, place: _Place, generator: np.random.Generator) -> tuple[Mask, Picture]:
    """CutPaste: cover a rectangle by one from another place of the image."""
    across = generator.uniform(0.3, 1)
    return _rectangle(picture, place, generator, across=across), _moved(picture, place, generator)


def _strip_elsewhere(picture: Picture, place: _Place, generator: np.random.Generator) -> tuple[Mask, Picture]:
    """CutPaste's scar: cover a thin strip at any angle by one from another place."""
    return _rectangle(picture, place, generator, across=0.15), _moved(picture, place, generator)


def _scratch(picture: Picture, place: _Place, generator: np.random.Generator) -> tuple[Mask, Picture]:
    """Draw a curved line, lighter or darker than what it crosses."""
    angle, bend = generator.uniform(0, 2 * np.pi), generator.uniform(-1, 1)
    along = np.linspace(-0.5, 0.5, 64)
    across = bend * 0.5 * (along**2 - 0.25)
    width_px = max(1.0, place.extent_px * 0.04)
    rows = place.row + place.extent_px * (along * np.sin(angle) + across * np.cos(angle))
    columns = place.column + place.extent_px * (along * np.cos(angle) - across * np.sin(angle))
    y, x = _window(picture, place)
    apart = np.sqrt((y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2).min(axis=-1)
    return _whole(picture, (y, x), np.exp(-((apart / width_px) ** 2))), _shaded(picture, generator)


def _stain(picture: Picture, place: _Place, generator: np.random.Generator) -> tuple[Mask, Picture]:
    """Darken, lighten or tint a soft spot."""
    return _blob(picture, place, generator), _shaded(picture, generator)


def _blur(picture: Picture, place: _Place, generator: np.random.Generator) -> tuple[Mask, Picture]:
    """Smooth the surface away in a spot."""
    sigma = max(2.0, place.extent_px / 6)
    return _blob(picture, place, generator), ndimage.gaussian_filter(picture, (sigma, sigma, 0))


def _spots(picture: Picture, place: _Place, generator: np.random.Generator) -> tuple[Mask, Picture]:
    """Cover irregular spots, smooth noise above a level, by a turned and shaded copy of the image."""
    noise = ndimage.gaussian_filter(generator.standard_normal(picture.shape[:2]), max(1.5, place.extent_px / 8))
    near = _blob(picture, place, generator)
    level = np.quantile(noise[near > COVERED], 0.5)
    mask = np.where((noise > level) & (near > COVERED), 1.0, 0.0).astype(np.float32)
    return ndimage.gaussian_filter(mask, 0.7), _shaded(picture[::-1, ::-1], generator)


def _missing(picture: Picture, place: _Place, generator: np.random.Generator) -> tuple[Mask, Picture]:
    """Cover a spot by the usual colour of the image's edge, as if a part were missing."""
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return np.clip(4 * _blob(picture, place, generator), 0, 1), np.broadcast_to(np.median(edge, axis=0), picture.shape)


FAMILIES: Mapping[str, Draw] = MappingProxyType(
    {
        "patch": _patch_elsewhere,
        "strip": _strip_elsewhere,
        "scratch": _scratch,
        "stain": _stain,
        "blur": _blur,
        "spots": _spots,
        "missing": _missing,
    }
)
"""How each family draws its defect."""


def _window(picture: Picture, place: _Place) -> tuple[Grid, Grid]:
    """Return the rows and columns around a place, as grids."""
    reach = int(place.extent_px) + 3
    rows = np.arange(max(0, place.row - reach), min(picture.shape[0], place.row + reach + 1), dtype=np.float64)
    columns = np.arange(max(0, place.column - reach), min(picture.shape[1], place.column + reach + 1), dtype=np.float64)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return y, x


def _whole(picture: Picture, window: tuple[Grid, Grid], values: Grid) -> Mask:
    """Put the values of a window, the rows and columns of its pixels, into a mask of the whole image."""
    (y, x), mask = window, np.zeros(picture.shape[:2], dtype=np.float32)
    mask[int(y[0, 0]) : int(y[-1, 0]) + 1, int(x[0, 0]) : int(x[0, -1]) + 1] = values
    return mask


def _rectangle(picture: Picture, place: _Place, generator: np.random.Generator, *, across: float) -> Mask:
    """Return a rectangle at any angle, `across` times as wide as long, with a soft edge of one pixel."""
    angle = generator.uniform(0, np.pi)
    y, x = _window(picture, place)
    along_px = (x - place.column) * np.cos(angle) + (y - place.row) * np.sin(angle)
    across_px = (y - place.row) * np.cos(angle) - (x - place.column) * np.sin(angle)
    half = place.extent_px / 2
    inside = np.minimum(half - np.abs(along_px), max(1.0, across * half) - np.abs(across_px))
    return _whole(picture, (y, x), np.clip(inside + 0.5, 0, 1))


def _blob(picture: Picture, place: _Place, generator: np.random.Generator) -> Mask:
    """Return a soft ellipse at any angle."""
    angle, flat = generator.uniform(0, np.pi), generator.uniform(0.4, 1)
    y, x = _window(picture, place)
    along = (x - place.column) * np.cos(angle) + (y - place.row) * np.sin(angle)
    across = ((y - place.row) * np.cos(angle) - (x - place.column) * np.sin(angle)) / flat
    half = place.extent_px / 2
    return _whole(picture, (y, x), np.clip(1.5 * (1 - np.hypot(along, across) / half), 0, 1))


def _moved(picture: Picture, place: _Place, generator: np.random.Generator) -> Picture:
    """Return the image moved, around, by more than the extent of a defect, and sometimes mirrored."""
    least = int(place.extent_px) + 1
    shifts = [
        int(generator.integers(min(least, side // 2), max(side - least, side // 2 + 1))) for side in picture.shape[:2]
    ]
    moved = np.roll(picture, shifts, axis=(0, 1))
    return moved[:, ::-1] if generator.random() < 0.5 else moved


def _shaded(picture: Picture, generator: np.random.Generator) -> Picture:
    """Return the image lighter or darker, with a slight tint, by as much as its own grey varies."""
    step = max(25.0, 1.5 * float(picture.std())) * (1 if generator.random() < 0.5 else -1)
    tint = generator.uniform(0.7, 1.0, 3).astype(np.float32)
    return np.clip(picture + np.float32(step) * tint, 0, 255)
