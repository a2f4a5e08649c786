"""Speed and memory of a scan, compared with a bare loop of the same backbone.

    python examples/bench/throughput.py [--images 1000] [--more 4000] [--backbone NAME --weights FILE]

Draws flanges of 1280 x 1024 px as JPEG, and then runs, in this order:
    a bare loop: the same backbone over ready tensors of the same size, channels last, nothing else
    a first scan with an empty cache, in a separate process; the bare loop again; a second scan
    a first scan of --more images
    a scan of 8 images, for the part of the memory that does not depend on the set
and prints a Markdown table. Ratios come from one run; single times depend on the machine and its load. For the images
of a labelled set, and each scorer by itself: `curate bench SET --throughput`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from curate.bench.throughput import bare_loop, timed_scan

sys.path.insert(0, str(Path(__file__).parent.parent))
from draw_demo import flange, sensor

WIDTH, HEIGHT, BASES = 1280, 1024, 24


def draw(folder: Path, count: int) -> None:
    """Draw `count` parts; a few are drawn in full, the others are shifted copies in different light, with noise."""
    rng = np.random.default_rng(0)
    if folder.is_dir() and len(list(folder.iterdir())) == count:
        return
    folder.mkdir(parents=True, exist_ok=True)
    bases = [np.asarray(sensor(flange(rng, (WIDTH, HEIGHT)), rng), dtype=np.int16) for _ in range(BASES)]
    for index in range(count):
        shift = tuple(int(s) for s in rng.integers(-6, 7, 2))
        noise = rng.integers(-4, 5, (HEIGHT, WIDTH, 1), dtype=np.int16)
        shade = np.roll(bases[index % BASES], shift, (0, 1)) + noise + int(rng.integers(-6, 7))
        Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8)).save(folder / f"{index:05d}.jpg", quality=90)


def table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| what | figure |", "| --- | --- |", *(f"| {what} | {figure} |" for what, figure in rows)])


def measure(
    drawn: Path, scratch: Path, *, images: int, more: int, name: str, weights: Path | None
) -> list[tuple[str, str]]:
    """Draw the images, run loops and scans, and return the rows of the table."""
    options = ["--rounds", "1", "--backbone", name] + (["--weights", str(weights)] if weights else [])
    for label, count in (("few", 8), ("set", images), ("more", more)):
        draw(drawn / label, count)
    before = bare_loop(name, weights, (WIDTH, HEIGHT), images=min(images, 400))
    first = timed_scan(drawn / "set", scratch / "cache", options)
    after = bare_loop(name, weights, (WIDTH, HEIGHT), images=min(images, 400))
    second = timed_scan(drawn / "set", scratch / "cache", options)
    large = timed_scan(drawn / "more", scratch / "cache-more", options)
    few = timed_scan(drawn / "few", scratch / "cache-few", options)
    bare = (before + after) / 2
    whole, embedding = images / first["wall_s"], images / first["embed_s"]
    return [
        ("bare loop, before / after", f"{before:.1f} / {after:.1f} images/s"),
        (
            f"first scan of {images}: embedding (decode, forward, write)",
            f"{embedding:.1f} images/s, {embedding / bare:.0%} of the bare loop",
        ),
        (f"first scan of {images}: whole process", f"{whole:.1f} images/s, {whole / bare:.0%} of the bare loop"),
        ("its seconds: " + ", ".join(k.removesuffix("_s") for k in STEPS), ", ".join(f"{first[k]:.1f}" for k in STEPS)),
        ("second scan: images embedded", f"{second['embedded']}"),
        (
            "second scan: embedding step",
            f"{second['embed_s']:.2f} s, {second['embed_s'] / first['embed_s']:.1%} of the first",
        ),
        ("second scan: whole process", f"{second['wall_s']:.1f} s"),
        (
            f"peak memory, 8 / {images} / {more} images",
            f"{few['peak_mb']:.0f} / {first['peak_mb']:.0f} / {large['peak_mb']:.0f} MB",
        ),
        (
            f"the part that is not fixed, {more} against {images}",
            f"{(large['peak_mb'] - few['peak_mb']) / (first['peak_mb'] - few['peak_mb']) - 1:+.0%}",
        ),
        (f"first scan of {more}: whole process", f"{more / large['wall_s']:.1f} images/s"),
    ]


STEPS = ("load_s", "embed_s", "score_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--more", type=int, default=4000)
    parser.add_argument("--backbone", default="curate_s")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--drawn", type=Path, help="keep the drawn images here; drawing 5,000 takes minutes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        drawn = args.drawn or Path(scratch) / "drawn"
        rows = measure(
            drawn, Path(scratch), images=args.images, more=args.more, name=args.backbone, weights=args.weights
        )
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    print(f"{args.backbone}, {os.cpu_count()} cores, {versions}, {time.strftime('%Y-%m-%d')}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
