"""Turn, move and scale the images of labelled sets at random, to audit parts that are not aligned.

    python examples/bench/unaligned.py LABELLED_SET... -o FOLDER [--offline]
    curate bench FOLDER/* --seeds 1 --shares 0,0.1,0.4 --baselines patch-nn --detectors none

Each set holds good/ and defect/<type>/. Every image is turned by any angle, moved by up to a tenth of its sides, scaled
by 0.9 to 1.1, and mirrored at its edges; the change depends on the image's path alone. Printed for each set, as it is
and turned, without defects and at 10 and 40 %: by how much a patch's nearest distance grows if only the same position
is searched, and if only the patch's own image is searched (`curate.scores.alignment`). Above 0.22 at the same position,
`neighbours` does not use the position; if it is above 0.3 in the own image as well, `flow` abstains.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import astuple
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform

from curate.bench.draws import draw
from curate.bench.embedder import LabelledSetEmbedder
from curate.bench.sets import LabelledSet, read_set
from curate.pipeline import configure
from curate.scores.alignment import measure_alignment

IMAGES, TEST_SHARE, SHARES = 200, 0.4, (0.0, 0.1, 0.4)
MOST_MOVED, LEAST_SCALE, MOST_SCALE, QUALITY = 0.1, 0.9, 1.1, 95


def turned(pixels: np.ndarray, name: str) -> np.ndarray:
    """Turn, move and scale an image, (rows, columns) or (rows, columns, channels), seeded by its name."""
    rng = random.Random(name)
    angle, scale = np.deg2rad(rng.uniform(0, 360)), rng.uniform(LEAST_SCALE, MOST_SCALE)
    sides = np.array(pixels.shape[:2])
    shift = np.array([rng.uniform(-MOST_MOVED, MOST_MOVED) for _ in sides]) * sides
    back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    start = sides / 2 - back @ (sides / 2 + shift)
    planes = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
    out = [affine_transform(plane, back, start, order=1, mode="reflect") for plane in planes]
    return np.stack(out, axis=-1).reshape(pixels.shape)


def write_turned(source: LabelledSet, folder: Path) -> Path:
    """Write every image of a set turned, in the same layout, as JPEG."""
    for row, file in enumerate(source.files):
        name = source.relative(row)
        with Image.open(file) as image:
            pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
        target = (folder / name).with_suffix(".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(turned(pixels, f"{source.name}/{name}")).save(target, quality=QUALITY)
    return folder


def alignment_cells(folder: Path, *, offline: bool) -> str:
    """Return both costs, of the position and of the own image, in a draw at each share."""
    embedder = LabelledSetEmbedder(source=read_set(folder), config=configure({"offline": offline}))
    draws = [draw(embedder.source, share, 0, images=IMAGES, test_share=TEST_SHARE) for share in SHARES]
    drawn = [embedder.embed_draw(one) for one in draws]
    costs = zip(*(astuple(measure_alignment(one.embeddings, one.groups)) for one in drawn), strict=True)
    same_position, own_image = (" / ".join(f"{cost:.2f}" for cost in by_share) for by_share in costs)
    return f"{same_position} | {own_image}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--offline", action="store_true")
    args = parser.parse_args()
    print("| set | same position | own image |\n| --- | --- | --- |")
    for folder in args.sets:
        print(f"| {folder.name} | {alignment_cells(folder, offline=args.offline)} |", flush=True)
        written = write_turned(read_set(folder), args.output / f"{folder.name}-turned")
        print(f"| {written.name} | {alignment_cells(written, offline=args.offline)} |", flush=True)


if __name__ == "__main__":
    main()
