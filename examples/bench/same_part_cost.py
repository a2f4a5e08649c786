"""What the search for copies and shots of the same part costs beside the embedding, and how it grows with the set.

    python examples/bench/same_part_cost.py [--images 1000,10000] [--shots 0.1] [--seed 0]

Draws so many parts of one product as JPEGs of 640 x 480 px into a temporary folder, a share of them a second shot,
embeds them once into an empty cache, and searches them as `curate scan` does. "MB" is by how much the resident memory
rises above that at the start of a step, at its highest. Seconds are wall time: leave the machine alone.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import repeat
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from scipy.ndimage import gaussian_filter

from curate.config import ScanConfig
from curate.embeddings.backbones import load_backbone
from curate.embeddings.engines.local import Cache, embed
from curate.images.duplicates import confirmed_keys, duplicate_groups
from curate.images.sources import list_images
from curate.pipeline import embed_settings
from curate.shots import find_shots

WIDTH, HEIGHT, QUALITY, NOISE_GREY = 640, 480, 92, 2.0
GRAINS_PX = (4, 16, 40)
SAMPLE_S = 0.02


@cache
def product() -> np.ndarray:
    """Return what all parts show, (HEIGHT, WIDTH): a plate with a bore and a rim."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] - np.array([HEIGHT / 2, WIDTH / 2])[:, None, None]
    grey = np.where((abs(x) < 280) & (abs(y) < 200), 150.0, 60.0)
    grey[np.hypot(x, y) < 70] = 35
    return gaussian_filter(grey, 1.5)


def part(number: int, shot: int, plate: np.ndarray) -> Image.Image:
    """Draw a shot of a part: its own grain, the noise and light of the shot."""
    of_part, wide = np.random.default_rng(number), np.zeros(plate.shape, np.float32)
    for size in GRAINS_PX:
        grain = of_part.normal(0, 1, (HEIGHT // size, WIDTH // size)).astype(np.float32)
        wide += np.asarray(Image.fromarray(grain).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    of_shot = np.random.default_rng((number, shot))
    grey = (plate + 8 * wide) * of_shot.uniform(0.9, 1.1) + of_shot.normal(0, NOISE_GREY, plate.shape)
    return Image.fromarray(np.clip(np.roll(grey, of_shot.integers(-3, 4, 2), (0, 1)), 0, 255).astype(np.uint8))


def draw(folder: Path, images: int, share: float) -> None:
    parts = images - round(images * share)
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(draw_one, repeat(folder), range(images), repeat(parts), chunksize=50):
            pass


def draw_one(folder: Path, number: int, parts: int) -> None:
    again = number >= parts
    picture = part(number - parts if again else number, int(again), product())
    picture.save(folder / f"{number:06d}.jpg", quality=QUALITY)


class Cost:
    """Seconds of a step, and by how many MB the resident memory rose in it."""

    def __init__(self) -> None:
        self.seconds = self.mb = 0.0


@contextmanager
def measured() -> Iterator[Cost]:
    process, cost, done = psutil.Process(), Cost(), threading.Event()
    start = before = process.memory_info().rss
    peak = [before]

    def watch() -> None:
        while not done.wait(SAMPLE_S):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    begun = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - begun
        done.set()
        watcher.join()
        cost.mb = (max(peak[0], process.memory_info().rss) - start) / 2**20


def cost_of(images: int, share: float, seed: int, *, say: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name) / "parts", Path(name) / "cache"
        folder.mkdir()
        draw(folder, images, share)
        config = ScanConfig(offline=True, cache=store, seed=seed)
        listing, backbone = list_images(folder), load_backbone(config.backbone, offline=True)
        settings = embed_settings(listing, config)
        with measured() as embedding:
            facts, embeddings, _ = embed(listing, backbone, settings, cache=Cache(store, backbone, settings))
        keys = confirmed_keys(listing.files, facts, config=settings.decode)
        with measured() as search:
            found = find_shots(listing, facts, embeddings, duplicates=duplicate_groups(keys), settings=settings)
        true = {(number, images - round(images * share) + number) for number in range(round(images * share))}
        pairs = {(int(a), int(b)) for a, b in found.pairs}
        cells = [f"{images:,}", f"{embedding.seconds:.1f}", f"{embedding.mb:.0f}", f"{search.seconds:.1f}"]
        cells += [f"{search.mb:.0f}", f"{100 * search.seconds / embedding.seconds:.0f}"]
        cells += [f"{1e3 * search.seconds / images:.1f}", f"{len(pairs & true)} of {len(true)}", str(len(pairs - true))]
        say("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="1000,10000")
    parser.add_argument("--shots", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    head = ["images", "embedding s", "MB", "search s", "MB", "% of the embedding", "ms/image", "shots found", "false"]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|", flush=True)
    for images in args.images.split(","):
        cost_of(int(images), args.shots, args.seed, say=lambda row: print(row, flush=True))


if __name__ == "__main__":
    main()
