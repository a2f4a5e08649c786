"""Draw labelled sets by code: textures, and parts whose nominal images differ in light.

    python examples/bench/drawn.py -o FOLDER [--good 90] [--defective 40]
    curate bench FOLDER/* --seeds 1 --shares 0,0.1,0.4 --baselines patch-nn --detectors none

FOLDER gets fabric, leather and wood, of which no two images show the same place, and glass: one aligned part under
drifting light. Each is a set of good/ and defect/<kind>/: cuts, spots, worn and stained places.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

Pixels = NDArray[np.float64]
SIDE, DEFECT_PX = 400, 10.0
PLACES = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5


def lit(grey: Pixels, tint: tuple[float, float, float], rng: np.random.Generator) -> Pixels:
    """Return a grey image, (SIDE, SIDE), in colour, (SIDE, SIDE, 3), under drifting light."""
    down, across = rng.normal(0, 0.04, 2)
    light = 1 + rng.normal(0, 0.02) + down * PLACES[0] + across * PLACES[1]
    return (grey * light)[..., None] * np.array(tint)


def noise(rng: np.random.Generator, *blur: float) -> Pixels:
    """Return noise of a standard deviation of 1, blurred by so many pixels (down and across)."""
    out = gaussian_filter(rng.normal(size=(SIDE, SIDE)), blur if len(blur) > 1 else blur[0], mode="wrap")
    return np.asarray(out / out.std())


def fabric(rng: np.random.Generator) -> Pixels:
    y, x = np.mgrid[0:SIDE, 0:SIDE] + rng.uniform(0, 100, 2)[:, None, None]
    x, y = x + 1.5 * noise(rng, 12), y + 1.5 * noise(rng, 12)
    weave = 120 + 35 * np.sin(0.6 * x) * np.sin(0.6 * y) + 12 * np.sin(0.3 * (x + y))
    return lit(weave + rng.normal(0, 7, weave.shape), (0.9, 0.85, 0.7), rng)


def leather(rng: np.random.Generator) -> Pixels:
    grain = 110 + 17 * noise(rng, 2) + 14 * noise(rng, 4) + 8 * noise(rng, 9)
    return lit(grain + rng.normal(0, 3, grain.shape), (0.95, 0.65, 0.45), rng)


def wood(rng: np.random.Generator) -> Pixels:
    grain = 130 + 14 * noise(rng, 40, 1.2) + 18 * noise(rng, 60, 6)
    return lit(grain + rng.normal(0, 3, grain.shape), (1.0, 0.75, 0.5), rng)


def glass(rng: np.random.Generator) -> Pixels:
    y, x = np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2 - rng.normal(0, 2, 2)[:, None, None]
    radius = np.hypot(x, y)
    grey = 235 - 90 * np.exp(-(((radius - 145) / 3.5) ** 2)) - 40 * np.exp(-(((radius - 120) / 3) ** 2))
    grey += 15 * np.exp(-((x + 50) ** 2 / 1000 + (y + 55) ** 2 / 2300)) - 25 * (radius < 145)
    return lit(grey + rng.normal(0, 2, grey.shape), (0.97, 1.0, 0.99), rng)


SETS: Mapping[str, Callable[[np.random.Generator], Pixels]] = MappingProxyType(
    {"fabric": fabric, "leather": leather, "wood": wood, "glass": glass}
)


class Defect(NamedTuple):
    """Where a defect is: (SIDE, SIDE) px from its centre along and across its direction, and its size in px."""

    along: Pixels
    across: Pixels
    size: float


def cut(pixels: Pixels, defect: Defect, rng: np.random.Generator) -> Pixels:
    depth = 0.7 * np.exp(
        -((defect.along / (2.5 * defect.size)) ** 4) - (defect.across / (1.2 + 0.12 * defect.size)) ** 2
    )
    return pixels * (1 - depth[..., None])


def spot(pixels: Pixels, defect: Defect, rng: np.random.Generator) -> Pixels:
    mask = gaussian_filter((np.hypot(defect.along, 1.5 * defect.across) < defect.size).astype(np.float64), 2)
    return pixels + mask[..., None] * rng.choice([-45, 45])


def worn(pixels: Pixels, defect: Defect, rng: np.random.Generator) -> Pixels:
    mask = gaussian_filter((np.hypot(defect.along, defect.across) < 1.2 * defect.size).astype(np.float64), 3)[..., None]
    return pixels * (1 - mask) + mask * gaussian_filter(pixels, (4, 4, 0)) * np.array([1.05, 0.9, 0.85])


def stain(pixels: Pixels, defect: Defect, rng: np.random.Generator) -> Pixels:
    mask = gaussian_filter((np.hypot(defect.along, defect.across) < defect.size).astype(np.float64), 1)
    return pixels + mask[..., None] * rng.permutation([40, -10, -25])


DEFECTS = (cut, spot, worn, stain)


def spoilt(pixels: Pixels, kind: int, rng: np.random.Generator) -> Pixels:
    """Return an image with one defect of random position, direction and size."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] - rng.uniform(0.25, 0.75, 2)[:, None, None] * SIDE
    turn = rng.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return DEFECTS[kind](pixels, Defect(along, across, DEFECT_PX * rng.uniform(0.6, 1.6)), rng)


def write_set(name: str, folder: Path, *, good: int, defective: int) -> None:
    """Draw one set; its images depend on its name alone."""
    rng = np.random.default_rng(sum(map(ord, name)))
    for number in range(good + defective):
        pixels, place = SETS[name](rng), folder / "good"
        if number >= good:
            kind = number % len(DEFECTS)
            pixels, place = spoilt(pixels, kind, rng), folder / "defect" / DEFECTS[kind].__name__
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(place / f"{number:03d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--good", type=int, default=90)
    parser.add_argument("--defective", type=int, default=40)
    args = parser.parse_args()
    for name in SETS:
        write_set(name, args.output / name, good=args.good, defective=args.defective)
        print(f"{args.output / name}: {args.good} good images, {args.defective} defective")


if __name__ == "__main__":
    main()
