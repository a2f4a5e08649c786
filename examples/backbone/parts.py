"""Things drawn by code: parts on backgrounds, heaps of leaves, wafers, and the damage done to them.

A scene is (S, S, 3) float32 in 0-1. `SCENES` names the drawing functions; each asks `surface(rng, size)` for the
textured, coloured faces that it needs, so that any texture can cover anything.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from textures import Grey, fractal, grid, lit, log_uniform, unit

Scene = NDArray[np.float32]
Surface = Callable[[Generator, int], Scene]

SCENES: dict[str, Callable[[Generator, int, Surface], Scene]] = {}


def scene(function: Callable[[Generator, int, Surface], Scene]) -> Callable[[Generator, int, Surface], Scene]:
    """Enter a drawing function in `SCENES` under its own name."""
    SCENES[function.__name__] = function
    return function


def colour(rng: Generator) -> NDArray[np.float32]:
    """Draw one colour; grey half the time."""
    value = rng.uniform(0, 1) ** rng.choice([0.5, 1, 2])
    return np.float32(np.clip(value + rng.normal(0, rng.choice([0.0, 0.05, 0.3]), 3), 0, 1))


def polar(rng: Generator, size: int, *, margin: float) -> tuple[Grey, Grey]:
    """Return radius (1 at the nearest border, less the margin) and angle about a point near the middle."""
    y, x = grid(size)
    centre = rng.normal(0, margin / 2, 2)
    y, x = y - np.float32(centre[0]), x - np.float32(centre[1])
    if rng.random() < 0.25:  # seen at a slant
        y = y * np.float32(rng.uniform(1, 1.8))
    return np.hypot(y, x) / np.float32(1 - margin), np.arctan2(y, x)


def outline(rng: Generator, angle: Grey) -> Grey:
    """Return the radius of a part's rim at each angle, at most about 1: disc, polygon, gear, flower, blob."""
    kind, turn, count = rng.integers(6), rng.uniform(0, 2 * np.pi), int(rng.integers(3, 10))
    theta = angle + np.float32(turn)
    if kind == 0:
        return np.ones_like(theta)
    if kind == 1:  # regular polygon, sharp or rounded
        inner = np.mod(theta, 2 * np.pi / count) - np.pi / count
        flat = np.cos(np.pi / count) / np.cos(inner)
        return flat if rng.random() < 0.5 else np.minimum(flat, np.cos(np.pi / count) * rng.uniform(1.02, 1.3))
    if kind == 2:  # gear
        teeth = np.clip(np.sin(theta * rng.integers(4, 40)) * rng.uniform(1, 6), -1, 1)
        return 1 - rng.uniform(0.03, 0.2) * (0.5 + 0.5 * teeth)
    if kind == 3:  # lobes
        return 1 - rng.uniform(0.05, 0.35) * (0.5 + 0.5 * np.sin(theta * count))
    if kind == 4:  # superellipse
        power, ratio = log_uniform(rng, 0.7, 10), rng.uniform(0.3, 1)
        return (np.abs(np.cos(theta)) ** power + np.abs(np.sin(theta) / ratio) ** power + 1e-6) ** (-1 / power) * 0.9
    waves = sum(rng.normal(0, 0.2 / k) * np.cos(k * theta + rng.uniform(0, 7)) for k in range(1, 7))
    return np.clip(0.8 + waves, 0.15, 1.2)


def shaded_profile(rng: Generator, radius: Grey, rim: Grey, size: int) -> Grey:
    """Light a body of revolution with a random profile: bottles, rings, caps, lenses, coins."""
    knots = int(rng.integers(3, 12))
    at, steps = np.sort(rng.uniform(0, 1, knots)), rng.random() < 0.6
    heights = np.cumsum(rng.normal(0, 1, knots))
    across = np.linspace(0, 1.5, 512)
    profile = heights[np.searchsorted(at, across).clip(0, knots - 1)] if steps else np.interp(across, at, heights)
    profile = ndimage.gaussian_filter1d(profile, rng.uniform(1, 12))
    height = np.interp((radius / np.maximum(rim, 0.05)).ravel(), across, profile).reshape(size, size)
    return lit(ndimage.gaussian_filter(height, 0.7) * log_uniform(rng, 2, 25), rng)


def paste(base: Scene, face: Scene, mask: Grey) -> Scene:
    """Lay `face` over `base` where the mask, (S, S) in 0-1, says so."""
    return base + (face - base) * mask[..., None]


def soft(edge: Grey, size: int, width_px: float) -> Grey:
    """Turn a signed distance in half-image units into a mask with a soft rim."""
    return np.clip(edge * (size / 2 / width_px) + 0.5, 0, 1).astype(np.float32)


def backdrop(rng: Generator, size: int, surface: Surface) -> Scene:
    """Return what lies behind a part: plain, black, bright, or a surface."""
    if rng.random() < 0.35:
        return surface(rng, size)
    plain = np.broadcast_to(colour(rng) * rng.choice([0.1, 0.5, 1]), (size, size, 3)).astype(np.float32)
    return plain + rng.choice([0.0, 0.03, 0.1]) * (fractal(rng, size, cells=2)[..., None] - 0.5)


@scene
def plain_surface(rng: Generator, size: int, surface: Surface) -> Scene:
    """Nothing but a surface, at times two of them blended or side by side."""
    image = surface(rng, size)
    if rng.random() < 0.4:
        other, y, x = surface(rng, size), *grid(size)
        mask = [
            fractal(rng, size, cells=3),
            soft(y - rng.uniform(-0.5, 0.5), size, 2),
            soft(np.abs(x) - rng.uniform(0.1, 0.8), size, 2),
        ]
        image = paste(image, other, mask[rng.integers(3)])
    return image


@scene
def one_part(rng: Generator, size: int, surface: Surface) -> Scene:
    """One part with an optional hole on a backdrop: nut, washer, gear, bottle mouth, cap, pill."""
    radius, angle = polar(rng, size, margin=rng.uniform(0.02, 0.4))
    rim = outline(rng, angle).astype(np.float32)
    shade = shaded_profile(rng, radius, rim, size)[..., None]
    face = np.clip(shade * (0.3 + surface(rng, size)) if rng.random() < 0.7 else shade * colour(rng), 0, 1)
    inside = rim - radius
    if rng.random() < 0.4:
        hole = outline(rng, angle) * rng.uniform(0.1, 0.7)
        inside = np.minimum(inside, radius - hole.astype(np.float32))
    mask = soft(inside, size, rng.uniform(0.7, 2.5))
    base = backdrop(rng, size, surface)
    if rng.random() < 0.4:  # its shadow
        shadow = ndimage.shift(ndimage.gaussian_filter(mask, rng.uniform(2, 12)), rng.uniform(-15, 15, 2), order=1)
        base = base * (1 - rng.uniform(0.2, 0.8) * shadow[..., None])
    return paste(base, face, mask)


@scene
def long_parts(rng: Generator, size: int, surface: Surface) -> Scene:
    """Screws, pins, cables, tubes: one or several rounded bars, some with a thread."""
    image = backdrop(rng, size, surface)
    y, x = grid(size)
    face = surface(rng, size)
    for _ in range(int(rng.integers(1, 9))):
        angle, (cy, cx) = rng.uniform(0, np.pi), rng.uniform(-0.8, 0.8, 2)
        along = (y - cy) * np.sin(angle) + (x - cx) * np.cos(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        length, width = rng.uniform(0.2, 1.2), log_uniform(rng, 0.03, 0.35)
        thread = np.sin(along * log_uniform(rng, 30, 150) + across * rng.uniform(-8, 8)) * rng.choice([0, 0, 0.08])
        reach = np.hypot(np.maximum(np.abs(along) - length, 0), across) / width + thread
        glare = np.sqrt(np.clip(1 - (across / width - rng.uniform(-0.6, 0.6)) ** 2, 0, 1)) ** log_uniform(rng, 0.5, 8)
        bar = np.clip(glare[..., None] * (colour(rng) + rng.choice([0, 0.6]) * face), 0, 1)
        image = paste(image, bar.astype(np.float32), soft((1 - reach) * width, size, rng.uniform(0.7, 2)))
    return image


@scene
def wafer(rng: Generator, size: int, surface: Surface) -> Scene:
    """A panel with bus bars, fingers and cut corners over grains: cells, displays, heat sinks."""
    y, x = grid(size)
    image = surface(rng, size) * rng.uniform(0.2, 1) + colour(rng) * rng.uniform(0.1, 0.7)
    for axis, count in ((x, rng.integers(1, 7)), (y, int(log_uniform(rng, 3, 60)))):
        lines = np.abs(np.mod((axis + 1) / 2 * count + 0.5, 1) - 0.5) / count * size
        image = paste(
            image,
            np.broadcast_to(colour(rng), image.shape),
            soft((rng.uniform(0.4, 5) - lines) / size, size, 1) * rng.uniform(0.2, 1),
        )
    edge = np.minimum(
        rng.uniform(0.85, 1.05) - np.maximum(np.abs(y), np.abs(x)), rng.uniform(1.2, 2) - np.abs(x) - np.abs(y)
    )
    return paste(backdrop(rng, size, surface), np.clip(image, 0, 1), soft(edge.astype(np.float32), size, 1.2))


@scene
def dead_leaves(rng: Generator, size: int, surface: Surface) -> Scene:
    """Shapes of power-law size that cover each other, each with a colour and a texture of its own."""
    count = int(log_uniform(rng, 30, 900))
    labels = Image.new("I", (size, size), 0)
    pen, smallest, round_share = ImageDraw.Draw(labels), log_uniform(rng, 2, 15), rng.choice([0.0, 0.5, 1.0])
    for leaf in range(1, count):
        reach = min(smallest * rng.pareto(1.5) + smallest, size / 2.5)
        (x, y), ratio = rng.uniform(0, size, 2), rng.uniform(0.4, 1)
        if rng.random() < round_share:
            pen.ellipse((x - reach, y - reach * ratio, x + reach, y + reach * ratio), fill=leaf)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
            pen.polygon([(x + reach * np.cos(a), y + reach * np.sin(a)) for a in angles], fill=leaf)
    ids = np.asarray(labels, np.int64)
    colours = np.stack([colour(rng) for _ in range(min(count, 64))])[rng.integers(min(count, 64), size=count)]
    faces = np.stack([surface(rng, size) for _ in range(3)] + [np.full((size, size, 3), 0.5, np.float32)])
    face = np.take_along_axis(faces, rng.integers(4, size=count)[ids][None, :, :, None], 0)[0]
    return np.clip(colours[ids] + (face - 0.5) * rng.uniform(0.2, 1), 0, 1).astype(np.float32)


@scene
def heap(rng: Generator, size: int, surface: Surface) -> Scene:
    """Many like parts, scattered or in rows: balls, tablets, seeds, rivets."""
    y, x = grid(size)
    image, face = backdrop(rng, size, surface), surface(rng, size)
    count, rows = int(log_uniform(rng, 3, 40)), rng.random() < 0.5
    side = int(np.ceil(np.sqrt(count)))
    reach, paint, ratio = rng.uniform(0.5, 1.1) / side, colour(rng), rng.uniform(0.5, 1)
    light = rng.uniform(-0.5, 0.5, 2)
    for index in range(count):
        row, column = divmod(index, side)
        cy, cx = ((np.array([row, column]) + 0.5) / side * 2 - 1) if rows else rng.uniform(-1, 1, 2)
        turn = rng.uniform(0, np.pi) * (not rows)
        v = ((y - cy) * np.cos(turn) + (x - cx) * np.sin(turn)) / reach / ratio
        u = ((x - cx) * np.cos(turn) - (y - cy) * np.sin(turn)) / reach
        away = np.sqrt(u * u + v * v)
        glare = np.clip(1 - np.hypot(u - light[0], v - light[1]), 0, 1) ** log_uniform(rng, 0.4, 3)
        body = np.clip((0.3 + glare[..., None]) * (0.7 * paint + 0.4 * face), 0, 1)
        image = paste(image, body.astype(np.float32), soft(((1 - away) * reach).astype(np.float32), size, 1.2))
    return image


# ------------------------------------------------------------------------------------------------ damage


def damaged(rng: Generator, image: Scene, surface: Surface) -> Scene:
    """Do a few small harms to a scene: scratch, crack, hole, dent, stain, chip, smear."""
    size = len(image)
    for _ in range(int(rng.integers(1, 6))):
        kind, tone = rng.integers(5), colour(rng) * rng.uniform(0, 1.2)
        if kind == 0:
            mask = _line(rng, size, wander=rng.choice([0.05, 0.6]))
        elif kind == 1:
            mask = _blob(rng, size)
        elif kind == 2:  # dent: the light changes, not the paint
            bump = lit(ndimage.gaussian_filter(_blob(rng, size), 3) * log_uniform(rng, 3, 20), rng)
            image = np.clip(image * (1 + (bump - np.median(bump))[..., None]), 0, 1)
            continue
        elif kind == 3:  # chip: something else shows
            image = paste(image, surface(rng, size), _blob(rng, size))
            continue
        else:  # smear
            mask = _blob(rng, size)
            image = paste(
                image, ndimage.gaussian_filter(image, (log_uniform(rng, 1, 8), log_uniform(rng, 1, 8), 0)), mask
            )
            continue
        image = paste(image, np.broadcast_to(tone.astype(np.float32), image.shape), mask * rng.uniform(0.3, 1))
    return image


def _line(rng: Generator, size: int, *, wander: float) -> Grey:
    canvas = Image.new("L", (size, size), 0)
    steps, angle = int(rng.integers(3, 25)), rng.uniform(0, 2 * np.pi)
    angles = angle + np.cumsum(rng.normal(0, wander, steps))
    moves = np.stack([np.cos(angles), np.sin(angles)], 1) * log_uniform(rng, 3, 25)
    points = rng.uniform(0, size, 2) + np.cumsum(moves, 0)
    ImageDraw.Draw(canvas).line([tuple(p) for p in points], fill=255, width=int(rng.integers(1, 6)))
    return ndimage.gaussian_filter(np.asarray(canvas, np.float32) / 255, rng.uniform(0.2, 1.2))


def _blob(rng: Generator, size: int) -> Grey:
    y, x = grid(size)
    (cy, cx), reach = rng.uniform(-0.9, 0.9, 2), log_uniform(rng, 0.015, 0.35)
    away = np.hypot(y - cy, (x - cx) * rng.uniform(0.5, 2)) / reach
    rough = fractal(rng, size, cells=min(2 / reach, 60), octaves=3) - 0.5
    return soft((1 - away + rough * rng.uniform(0, 1.5)) * reach, size, log_uniform(rng, 0.7, 8))


def relit(rng: Generator, image: Scene) -> Scene:
    """Change the light: a gradient, a spot, a vignette, a gamma, a colour cast."""
    size = len(image)
    y, x = grid(size)
    if rng.random() < 0.5:
        image = image * (1 + rng.uniform(-0.6, 0.6) * y + rng.uniform(-0.6, 0.6) * x)[..., None]
    if rng.random() < 0.3:
        away = np.hypot(y - rng.uniform(-1, 1), x - rng.uniform(-1, 1))
        image = image * (1 + rng.uniform(-0.7, 1) * np.exp(-away * log_uniform(rng, 0.5, 5)))[..., None]
    image = np.clip(image, 0, 1) ** log_uniform(rng, 0.5, 2)
    return unit(image) if rng.random() < 0.2 else np.float32(np.clip(image, 0, 1))
