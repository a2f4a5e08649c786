"""Plant copies of one file in sets: compressed again, resized, turned, all together. Which are found, and what else?

    python examples/bench/near_copies.py SETS... [--images 100] [--planted 12] [--seed 0]

Each set is a folder of images; masks/ and unsure/ are left out. A copy of each kind is made of so many of its images
and put among them, and so are static second shots: the image freed from its noise, with new noise of 1 or 2 grey levels
for the original and for the shot, as they are or stored as JPEG. "false" counts the pairs of the set's own images that
are called copies, "s" is the time on one core. Candidates are the 16 nearest by a thumbnail of the print, as in
same_part.py, and those alike in any orientation.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image
from same_part import files_of, nearest

from curate.same_part.copies import find_copies
from curate.same_part.planted_copies import COPIES, plant_copies, second_shots
from curate.same_part.prints import prints_of

SHOTS = {"noise 1": (1, None), "noise 2": (2, None), "noise 2, JPEG 95": (2, 95), "noise 2, JPEG 85": (2, 85)}


def called(pictures: list[np.ndarray], seed: int) -> set[tuple[int, int]]:
    """Return the pairs that are called copies."""
    small = [np.asarray(Image.fromarray(p).resize(fitted(p), Image.Resampling.BICUBIC)) for p in pictures]
    found = find_copies(
        pictures.__getitem__,
        prints_of(small.__getitem__, len(small)),
        nearest(small),
        groups=np.arange(len(pictures)),
        seed=seed,
    )
    return {(int(a), int(b)) for a, b in found.pairs}


def fitted(picture: np.ndarray) -> tuple[int, int]:
    scale = min(1.0, 256 / max(picture.shape[:2]))
    return max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--planted", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    head = ["set", "images", *COPIES, *(f"shots, {name}" for name in SHOTS), "false", "s"]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|", flush=True)
    for folder in args.sets:
        generator = np.random.default_rng(args.seed)
        files = files_of(folder, args.images)
        own = [np.asarray(Image.open(file).convert("RGB")) for file in files]
        rows = generator.permutation(len(own))[: args.planted].tolist()
        pictures, pairs = list(own), dict[str, list[tuple[int, int]]]()
        for row in rows:
            for kind, (copy, _) in plant_copies(own[row], generator).items():
                pairs.setdefault(kind, []).append((row, len(pictures)))
                pictures.append(copy)
            for name, (noise, quality) in SHOTS.items():
                pairs.setdefault(name, []).append((len(pictures), len(pictures) + 1))
                pictures += second_shots(own[row], noise, generator, quality=quality)
        start = time.process_time()
        found = called(pictures, args.seed)
        cells = [f"{100 * np.mean([pair in found for pair in planted]):.0f}" for planted in pairs.values()]
        false = sum(b < len(own) for _, b in found)
        cells += [str(false), f"{time.process_time() - start:.1f}"]
        print("| " + " | ".join([folder.name, str(len(own)), *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
