"""Find the shots of bursts: sets in which some parts were photographed several times, made of a set's own images.

    python examples/bench/bursts.py SETS... [--parts 60] [--seed 0]

Takes so many nominal images of each set (its folder good/), one a part, and makes of each case: all of them twice in
part, six or eight shots of half of them, or twenty shots of three of them beside all others once. A shot is a planted
re-shot of the image with all changes, so any two shots of a part are moved, turned and lit differently. "drawn" stands
for drawn parts. Candidates are the nearest by a thumbnail of the print.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from same_part import nearest
from scipy.ndimage import gaussian_filter

from curate.same_part.find import find_same_part
from curate.same_part.planted import ALL_TOGETHER, plant
from curate.same_part.prints import Pictures

SIDE = 128
CASES = {"two of a third": (2, 3), "six of a half": (6, 2), "eight of a half": (8, 2), "twenty of a 20th": (20, 20)}
"""Shots of a part, and every how manieth part has them."""


def drawn(number: int) -> np.ndarray:
    """Draw a disc with a grain of its own."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2
    disc = np.hypot(y, x) < 52
    grain = gaussian_filter(np.random.default_rng(number).normal(0, 1, (SIDE, SIDE)), 2)
    grey = np.where(disc, 150 + 14 * grain / grain.std(), 70.0)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def parts_of(name: str, count: int, generator: np.random.Generator) -> list[np.ndarray]:
    if name == "drawn":
        return [drawn(number) for number in range(count)]
    files = sorted(file for file in (Path(name) / "good").iterdir() if file.suffix in (".jpg", ".png"))
    chosen = sorted(generator.permutation(len(files))[:count].tolist())
    return [np.asarray(Image.open(files[row]).convert("RGB")) for row in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--parts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    head = (
        "set",
        "shots",
        "images",
        "pairs found",
        "of",
        "false",
        "in one cluster",
        "planted found %",
        "undecidable %",
    )
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|", flush=True)
    for name in args.sets:
        for case, (shots, every) in CASES.items():
            generator = np.random.default_rng(args.seed)
            shown, truth = [], []
            for number, pixels in enumerate(parts_of(name, args.parts, generator)):
                for _ in range(shots if number % every == 0 else 1):
                    shown.append(plant(pixels, generator)[ALL_TOGETHER])
                    truth.append(number)
            pictures, part = Pictures(shown.__getitem__, len(shown)), np.array(truth)
            found = find_same_part(pictures, nearest(shown), np.arange(len(shown)), seed=args.seed)
            right = part[found.pairs[:, 0]] == part[found.pairs[:, 1]]
            pairs = sum(count * (count - 1) // 2 for count in np.bincount(part).tolist())
            joined = sum(
                int((part[found.clusters == cluster] == number).sum() - 1)
                * int((part[found.clusters == cluster] == number).sum())
                // 2
                for cluster in np.unique(found.clusters)
                for number in np.unique(part[found.clusters == cluster])
            )
            cells = [Path(name).name, case, len(shown), int(right.sum()), pairs, int((~right).sum()), joined]
            cells += [f"{100 * found.recall.get(ALL_TOGETHER, 0):.0f}", f"{100 * found.undecidable:.0f}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
