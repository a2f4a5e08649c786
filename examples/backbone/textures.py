"""Surfaces drawn by code: each function returns a grey texture, (S, S) float32 in 0-1.

    noise      clouds, ridges, one-over-f spectra, speckle, granite, hammered metal
    machined   brushed, turned, milled, knurled, cast
    cloth      weave, twill, knit, fibres
    cells      leather (Voronoi), cracks in glaze, crystal grains, foam
    regular    tiles, bricks, grids, perforated sheet, stripes, ramps
    marks      lettering, bar codes, matrix codes, circuit traces (`marks.py`)
    chance     iterated function systems (`marks.py`)

`TEXTURES` names them all with the family they belong to; randomness is the generator that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import cKDTree

Grey = NDArray[np.float32]
Texture = Callable[[Generator, int], Grey]

TEXTURES: dict[str, tuple[str, Texture]] = {}


def texture(family: str) -> Callable[[Texture], Texture]:
    """Enter a drawing function in `TEXTURES` under its own name."""

    def enter(function: Texture) -> Texture:
        TEXTURES[function.__name__] = (family, function)
        return function

    return enter


def unit(image: NDArray[np.floating]) -> Grey:
    """Stretch an image to 0-1."""
    low, high = float(image.min()), float(image.max())
    return ((image - low) / max(high - low, 1e-6)).astype(np.float32)


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def grid(size: int) -> tuple[Grey, Grey]:
    """Return the y and x coordinates of each pixel, -1 to 1."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    return np.broadcast_to(axis[:, None], (size, size)), np.broadcast_to(axis[None], (size, size))


def turned_grid(rng: Generator, size: int, *, right_angles: float = 0.5) -> tuple[Grey, Grey]:
    """Return coordinates in pixels, turned by an angle that is often 0 or 90 degrees."""
    angle = rng.integers(2) * np.pi / 2 if rng.random() < right_angles else rng.uniform(0, np.pi)
    y, x = grid(size)
    cos, sin = np.float32(np.cos(angle) * size / 2), np.float32(np.sin(angle) * size / 2)
    return y * cos + x * sin, x * cos - y * sin


def stretched(small: NDArray[np.floating], size: int) -> Grey:
    """Enlarge a small grey image smoothly."""
    image = Image.fromarray(small.astype(np.float32), mode="F")
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def fractal(rng: Generator, size: int, *, cells: float = 4, octaves: int = 5, gain: float = 0.5) -> Grey:
    """Add up octaves of smooth noise, from `cells` across the image upwards."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        count = int(cells * 2**octave) + 1
        if count > size:
            break
        total += gain**octave * stretched(rng.standard_normal((count, count)), size)
    return unit(total)


def wave(phase: NDArray[np.floating], rng: Generator) -> Grey:
    """Return a periodic profile of one of several shapes, 0-1."""
    kind = rng.integers(4)
    sine = 0.5 + 0.5 * np.sin(phase)
    if kind == 0:
        return sine.astype(np.float32)
    if kind == 1:
        return (sine > rng.uniform(0.15, 0.85)).astype(np.float32)
    if kind == 2:
        return (np.mod(phase, 2 * np.pi) / (2 * np.pi)).astype(np.float32)
    return (np.abs(np.sin(phase / 2)) ** rng.uniform(0.3, 4)).astype(np.float32)


# ------------------------------------------------------------------------------------------------ noise


@texture("noise")
def clouds(rng: Generator, size: int) -> Grey:
    """Fractal noise, plain or ridged."""
    image = fractal(
        rng, size, cells=log_uniform(rng, 2, 40), octaves=int(rng.integers(2, 6)), gain=rng.uniform(0.3, 0.8)
    )
    return unit(np.abs(image - 0.5)) if rng.random() < 0.4 else image


@texture("noise")
def spectrum(rng: Generator, size: int) -> Grey:
    """Noise with a power-law spectrum, as natural images have, often stretched along one direction."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    angle, ratio = rng.uniform(0, np.pi), log_uniform(rng, 1, 12) if rng.random() < 0.5 else 1.0
    u, v = fy * np.cos(angle) + fx * np.sin(angle), (fx * np.cos(angle) - fy * np.sin(angle)) * ratio
    power = (u**2 + v**2 + 1 / size**2) ** (-rng.uniform(0.4, 2.2) / 2)
    phases = np.exp(2j * np.pi * rng.random(power.shape))
    return unit(np.clip(_standard(np.fft.irfft2(power * phases, s=(size, size))), -3, 3))


def _standard(image: NDArray[np.floating]) -> NDArray[np.floating]:
    return (image - image.mean()) / (image.std() + 1e-6)


@texture("noise")
def speckle(rng: Generator, size: int) -> Grey:
    """Grains of a few pixels: granite, terrazzo, sandpaper."""
    layers = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 4)):
        field = ndimage.gaussian_filter(rng.standard_normal((size, size)).astype(np.float32), log_uniform(rng, 0.6, 6))
        level = np.quantile(field[::4, ::4], rng.uniform(0.5, 0.97))
        layers += rng.uniform(-1, 1) * (field > level)
    return unit(ndimage.gaussian_filter(layers, rng.uniform(0.3, 0.9)))


@texture("noise")
def spots(rng: Generator, size: int) -> Grey:
    """Points of random brightness, blurred: dust, pores, stars."""
    image = np.zeros((size, size), np.float32)
    count = int(log_uniform(rng, 20, 4000))
    image[rng.integers(size, size=count), rng.integers(size, size=count)] = rng.uniform(-1, 1, count)
    return unit(np.tanh(_standard(ndimage.gaussian_filter(image, log_uniform(rng, 0.7, 5)))))


@texture("noise")
def hammered(rng: Generator, size: int) -> Grey:
    """A rough height field under slanting light."""
    height = fractal(
        rng, size, cells=log_uniform(rng, 6, 50), octaves=int(rng.integers(1, 5)), gain=rng.uniform(0.3, 0.7)
    )
    return lit(height * log_uniform(rng, 4, 30), rng)


def lit(height: NDArray[np.floating], rng: Generator) -> Grey:
    """Shade a height field (pixels) with one light: diffuse and specular."""
    dy, dx = np.gradient(height.astype(np.float32))
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.5)
    light = np.array([np.cos(angle) * slope, np.sin(angle) * slope, 1.0])
    light /= np.linalg.norm(light)
    norm = np.sqrt(dx**2 + dy**2 + 1)
    diffuse = np.clip((-dx * light[0] - dy * light[1] + light[2]) / norm, 0, 1)
    half = (light + np.array([0, 0, 1])) / np.linalg.norm(light + np.array([0, 0, 1]))
    gloss = np.clip((-dx * half[0] - dy * half[1] + half[2]) / norm, 0, 1) ** log_uniform(rng, 4, 80)
    return np.clip(diffuse * rng.uniform(0.4, 0.9) + gloss * rng.uniform(0, 0.7), 0, 1).astype(np.float32)


# ------------------------------------------------------------------------------------------------ machined


@texture("machined")
def brushed(rng: Generator, size: int) -> Grey:
    """Metal brushed in one direction."""
    field = rng.standard_normal((size, size)).astype(np.float32)
    field = ndimage.uniform_filter1d(field, int(log_uniform(rng, 15, size)), axis=1, mode="wrap")
    field = _standard(ndimage.gaussian_filter1d(field, rng.uniform(0.2, 1.5), axis=0))
    return unit(np.clip(field, -3, 3)) if rng.random() < 0.5 else unit(np.clip(field, -3, 3)).T.copy()


@texture("machined")
def turned(rng: Generator, size: int) -> Grey:
    """A face turned on a lathe: rings, and the bow-tie glare that they give."""
    y, x = grid(size)
    y, x = y - rng.uniform(-1, 1), x - rng.uniform(-1, 1)
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    rings = np.interp(radius.ravel() * size / 2, np.arange(2 * size), _ring_profile(rng, size)).reshape(size, size)
    glare = np.abs(np.cos((angle - rng.uniform(0, np.pi)) * rng.integers(1, 3))) ** log_uniform(rng, 0.5, 12)
    return unit(rings * rng.uniform(0.2, 1) + glare * rng.uniform(0, 1.5))


def _ring_profile(rng: Generator, size: int) -> NDArray[np.float64]:
    radii = np.arange(2 * size)
    regular = np.sin(2 * np.pi * radii / log_uniform(rng, 3, 40))
    chance = ndimage.gaussian_filter1d(rng.standard_normal(2 * size), rng.uniform(0.6, 4))
    return np.asarray(regular * rng.uniform(0, 1) + chance / chance.std() * rng.uniform(0.1, 0.6))


@texture("machined")
def milled(rng: Generator, size: int) -> Grey:
    """Arcs that a milling cutter leaves, row by row."""
    y, x = turned_grid(rng, size)
    cutter, feed = log_uniform(rng, 20, 300), log_uniform(rng, 3, 20)
    row = np.mod(y, 2 * cutter) - cutter
    arc = np.sqrt(np.clip(cutter**2 - row**2, 0, None))
    return unit(wave(2 * np.pi * (x - arc) / feed, rng) + rng.uniform(0, 1) * fractal(rng, size, cells=20, octaves=4))


@texture("machined")
def knurled(rng: Generator, size: int) -> Grey:
    """Crossed grooves, as on a grip, under light."""
    y, x = turned_grid(rng, size)
    pitch, slant = log_uniform(rng, 5, 40), rng.uniform(0.3, 1.2)
    height = np.abs(np.sin(np.pi * (y + slant * x) / pitch)) + np.abs(np.sin(np.pi * (y - slant * x) / pitch))
    return lit(height * pitch * rng.uniform(0.1, 0.4), rng)


@texture("machined")
def cast(rng: Generator, size: int) -> Grey:
    """Rough cast or sand-blasted surface: fine relief with pits."""
    height = ndimage.gaussian_filter(rng.standard_normal((size, size)).astype(np.float32), log_uniform(rng, 0.8, 4))
    height = np.minimum(_standard(height), rng.uniform(-0.5, 2))
    return lit(height * rng.uniform(0.3, 2), rng)


# ------------------------------------------------------------------------------------------------ cloth


@texture("cloth")
def weave(rng: Generator, size: int) -> Grey:
    """Warp over weft: plain weave, twill or satin, with threads of uneven thickness."""
    y, x = turned_grid(rng, size)
    warp = 1.5 * size * (fractal(rng, size, cells=3, octaves=2) - 0.5) * rng.uniform(0, 0.03)
    pitch, step = log_uniform(rng, 4, 32), int(rng.integers(1, 4))
    row, column = (y + warp) / pitch, (x + warp) / pitch
    over = np.mod(np.floor(row) * step + np.floor(column), rng.integers(2, 5)) == 0
    across, along = np.abs(np.sin(np.pi * row)), np.abs(np.sin(np.pi * column))
    threads = np.where(over, across * rng.uniform(0.6, 1), along * rng.uniform(0.3, 1))
    return unit(threads + rng.uniform(0, 0.4) * brushed(rng, size))


@texture("cloth")
def knit(rng: Generator, size: int) -> Grey:
    """Rows of V-shaped loops."""
    y, x = turned_grid(rng, size)
    pitch = log_uniform(rng, 8, 48)
    slant = np.abs(np.mod(x / pitch, 1) - 0.5) * rng.uniform(0.8, 3)
    return unit(
        np.abs(np.sin(np.pi * (y / pitch + slant))) * np.abs(np.sin(2 * np.pi * x / pitch)) ** rng.uniform(0.1, 0.6)
    )


@texture("cloth")
def fibres(rng: Generator, size: int) -> Grey:
    """Many thin curved threads thrown on each other: felt, paper, hair."""
    image = Image.new("F", (size, size), 0.5)
    pen = ImageDraw.Draw(image)
    length, steps = log_uniform(rng, 30, size), 8
    bias = rng.uniform(0, 2 * np.pi, 1) if rng.random() < 0.4 else None
    for _ in range(int(log_uniform(rng, 40, 700))):
        angle = rng.uniform(0, 2 * np.pi) if bias is None else float(bias[0] + rng.normal(0, 0.15))
        angles = angle + np.cumsum(rng.normal(0, 0.2, steps))
        points = rng.uniform(0, size, 2) + np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1), 0) * length / steps
        pen.line([tuple(p) for p in points], fill=float(rng.uniform(0, 1)), width=int(rng.integers(1, 4)))
    return ndimage.gaussian_filter(np.asarray(image, np.float32), rng.uniform(0.3, 1))


@texture("cloth")
def wood(rng: Generator, size: int) -> Grey:
    """Growth rings cut lengthwise, with pores."""
    y, x = turned_grid(rng, size)
    bend = fractal(rng, size, cells=2, octaves=3) * size
    rings = wave(2 * np.pi * (y + bend * rng.uniform(0.1, 0.6) + 0.05 * x) / log_uniform(rng, 6, 60), rng)
    return unit(rings * rng.uniform(0.3, 1) + brushed(rng, size) * rng.uniform(0.1, 0.7))


# ------------------------------------------------------------------------------------------------ cells


@texture("cells")
def voronoi(rng: Generator, size: int) -> Grey:
    """Cells: leather, crystal grains, foam, cracked glaze, by what is shown of them."""
    half, count = size // 2, int(log_uniform(rng, 12, 1200))
    points = rng.uniform(-10, half + 10, (count, 2))
    warped = np.stack(np.mgrid[:half, :half], -1) + rng.uniform(0, 12) * (fractal(rng, half, cells=6)[..., None] - 0.5)
    distance, index = cKDTree(points).query(warped.reshape(-1, 2), k=2)
    edge = (distance[:, 1] - distance[:, 0]).reshape(half, half)
    kind, width = rng.integers(4), log_uniform(rng, 1, 8)
    if kind == 0:  # crystal grains: one grey each
        image = rng.uniform(0, 1, count)[index[:, 0]].reshape(half, half)
    elif kind == 1:  # grooves between plump cells
        image = lit(np.sqrt(np.minimum(edge, width * 3)) * rng.uniform(1, 4), rng)
    elif kind == 2:  # thin cracks
        image = np.minimum(edge / width, 1)
    else:
        image = distance[:, 0].reshape(half, half)
    return unit(stretched(image, size))


# ------------------------------------------------------------------------------------------------ regular


@texture("regular")
def tiles(rng: Generator, size: int) -> Grey:
    """Tiles or bricks with joints; each tile a little different."""
    y, x = turned_grid(rng, size, right_angles=0.8)
    height, ratio, joint = log_uniform(rng, 10, 150), rng.choice([1, 1, 2, 3]), rng.uniform(0.02, 0.15)
    row = y / height
    column = x / (height * ratio) + 0.5 * np.floor(row) * rng.integers(2)
    rim = np.minimum(
        np.minimum(np.mod(row, 1), 1 - np.mod(row, 1)), np.minimum(np.mod(column, 1), 1 - np.mod(column, 1))
    )
    shade = np.mod(np.sin(np.floor(row) * 12.9898 + np.floor(column) * 78.233) * 43758.5453, 1) * rng.uniform(0, 0.5)
    face = fractal(rng, size, cells=log_uniform(rng, 4, 40)) * rng.uniform(0, 0.6)
    return unit(
        np.where(
            rim < joint, rng.uniform(-0.6, 0.6), shade + face + np.minimum(rim / joint - 1, 1) * rng.uniform(0, 0.3)
        )
    )


@texture("regular")
def perforated(rng: Generator, size: int) -> Grey:
    """Holes, studs or pads on a lattice."""
    y, x = turned_grid(rng, size)
    pitch, power = log_uniform(rng, 8, 90), rng.choice([1.0, 2.0, 2.0, 2.0, 6.0])
    shift = 0.5 * np.mod(np.floor(y / pitch), 2) * rng.integers(2)
    v, u = np.mod(y / pitch, 1) - 0.5, np.mod(x / pitch + shift, 1) - 0.5
    radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
    edge = np.clip((radius - rng.uniform(0.12, 0.42)) * pitch / rng.uniform(1, 4), -1, 1)
    return lit(edge * rng.uniform(1, 4), rng) if rng.random() < 0.5 else unit(edge)


@texture("regular")
def stripes(rng: Generator, size: int) -> Grey:
    """Parallel lines of one or two periods, straight or wavy."""
    y, x = turned_grid(rng, size)
    bend = fractal(rng, size, cells=3, octaves=2) * size * rng.choice([0.0, 0.0, 0.1, 0.3])
    first = wave(2 * np.pi * (y + bend) / log_uniform(rng, 4, 120), rng)
    second = wave(2 * np.pi * (x + bend * rng.integers(2)) / log_uniform(rng, 4, 120), rng)
    return unit(first + second * rng.choice([0.0, 0.5, 1.0]))


@texture("regular")
def ramp(rng: Generator, size: int) -> Grey:
    """A smooth gradient: straight, round, or in steps."""
    y, x = turned_grid(rng, size, right_angles=0.2)
    image = unit(y if rng.random() < 0.5 else np.hypot(y - rng.uniform(-size / 2, size / 2), x))
    return image if rng.random() < 0.7 else np.floor(image * rng.integers(3, 12)).astype(np.float32) / 12
