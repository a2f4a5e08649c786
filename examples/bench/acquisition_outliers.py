"""Count the acquisition outliers that are found: good images of labelled sets in different lighting, or out of focus.

    python examples/bench/acquisition_outliers.py LABELLED_SET... [--seeds 3]

Each set holds good/. One in 25 of up to 200 good images is changed by code, in one way at a time. Printed for each way:
the share of the changed images that `curate.verdicts.acquisition` finds, mean over the draws, and the share of the
unchanged images that it flags. No network runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from curate.bench.sets import read_set
from curate.embeddings.frame import auto_long_px, frame_size
from curate.images.decode import DecodeConfig, read_image
from curate.images.levels import find_levels
from curate.images.optics import measure
from curate.records import DecodedImage
from curate.verdicts.acquisition import acquisition_outliers, as_table

IMAGES, ONE_IN = 200, 25
Change = Callable[[Image.Image], Image.Image]


def _blurred(image: Image.Image, share: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(share * max(image.size)))


def _warmer(image: Image.Image) -> Image.Image:
    return Image.merge(
        "RGB",
        [
            channel.point(lambda v, k=k: min(255, round(v * k)))
            for channel, k in zip(image.split(), (1.1, 1.0, 0.85), strict=True)
        ],
    )


WAYS: Mapping[str, Change] = MappingProxyType(
    {
        "at 60 % of the light": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
        "at 80 %": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        "at 140 %": lambda image: ImageEnhance.Brightness(image).enhance(1.4),
        "at 70 % of the contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
        "out of focus by 1/300 of the side": lambda image: _blurred(image, 1 / 300),
        "by 1/120": lambda image: _blurred(image, 1 / 120),
        "warmer (red 110 %, blue 85 %)": _warmer,
    }
)


def pictures(folder: Path) -> list[Image.Image]:
    """Return the good images of a set at the size of the network's input."""
    source = read_set(folder)
    files = [file for file, label in zip(source.files, source.labels, strict=True) if label == "good"]
    config = DecodeConfig()
    levels, sides = find_levels(files, config), [Image.open(file).size for file in files[:64]]
    long_px = auto_long_px(sides)
    read = [read_image(f, size=lambda w, h: frame_size(w, h, long_px), levels=levels, config=config) for f in files]
    return [Image.fromarray(one.pixels.astype(np.uint8)) for one in read if isinstance(one, DecodedImage)]


def shares(images: list[Image.Image], change: Change, rng: np.random.Generator) -> tuple[float, float]:
    """Return the share of the changed images that are flagged, and that of the others."""
    drawn = rng.permutation(len(images))[:IMAGES]
    changed = np.arange(len(drawn)) % ONE_IN == 0
    pixels = [
        np.asarray(change(images[i]) if is_changed else images[i])
        for i, is_changed in zip(drawn.tolist(), changed.tolist(), strict=True)
    ]
    outliers = acquisition_outliers(as_table([measure(one) for one in pixels]), np.arange(len(drawn)))
    flagged: NDArray[np.bool_] = np.isin(np.arange(len(drawn)), list(outliers))
    return float(flagged[changed].mean()), float(flagged[~changed].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    sets = {folder.name: pictures(folder) for folder in args.sets}
    print(f"| changed | {' | '.join(sets)} | others |\n| --- |{' --- |' * (len(sets) + 1)}")
    for way, change in WAYS.items():
        by_set = {
            name: [shares(images, change, np.random.default_rng(seed)) for seed in range(args.seeds)]
            for name, images in sets.items()
        }
        means = [100 * float(np.mean([changed for changed, _ in each])) for each in by_set.values()]
        others = 100 * float(np.mean([unchanged for each in by_set.values() for _, unchanged in each]))
        print(f"| {way} | {' | '.join(f'{mean:.0f} %' for mean in means)} | {others:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
