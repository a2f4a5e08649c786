"""Find re-shots of the same part: planted ones by kind, and pairs of the sets themselves, beside the usual rules.

    python examples/bench/same_part.py SETS... [--images 150] [--seed 0] [--false-rate 1e-6] [--pictures FOLDER]

Each set is a folder of images; masks/ and unsure/ are left out. Images are taken in runs of ten neighbouring names, so
that series stay together. Candidates are the 16 nearest by a thumbnail of the print; a scan takes pooled embeddings.
Recall is of 32 new re-shots of each kind, at half, once and twice the strength that `curate/same_part/planted.py` says.
The usual rules are judged as they are used: "found" is the share of planted re-shots ("all" changes together),
"false" the share of 2000 random pairs of the set that the rule calls duplicates.
dHash, pHash: 64 bits, at most 10 differ; by imagehash and by imagededup (`pip install 'curate-vision[bench]'`).
thumbnail: 32 x 32 px correlate at .9. pooled: the cosine of the packaged backbone's pooled vectors is .98 at least.
`--pictures` writes one PNG of the pairs of each set.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from curate.config import ScanConfig
from curate.embeddings.backbones import load_backbone
from curate.embeddings.engines.local import Cache, embed
from curate.images.sources import list_images
from curate.pipeline import embed_settings
from curate.same_part.find import FALSE_RATE, SamePart, compare_all, find_same_part
from curate.same_part.looks import Looks
from curate.same_part.planted import ALL_TOGETHER, RESHOTS, plant
from curate.same_part.prints import Pictures, Read, print_of
from curate.same_part.reshots import judge_reshots, plant_reshots

SUFFIXES = (".jpg", ".png")
LEFT_OUT = ("masks", "unsure")
NEAR, RUN, PLANTED, RANDOM = 64, 10, 32, 2000
STRENGTHS = (0.5, 1, 2)
BITS = 10

Shown = Sequence[np.ndarray]


def files_of(folder: Path, images: int) -> list[Path]:
    files = sorted(f for f in folder.rglob("*") if f.suffix in SUFFIXES and not set(LEFT_OUT) & set(f.parts))
    if len(files) <= images:
        return files
    starts = np.linspace(0, len(files) - RUN, images // RUN).astype(int)
    return [files[row] for row in sorted({int(start) + step for start in starts for step in range(RUN)})]


def nearest(pictures: list[np.ndarray]) -> np.ndarray:
    """Return (N, 64) the nearest rows by a 16 x 16 thumbnail of the print; -1 where there are fewer."""
    small = np.stack([print_of(p).reshape(16, 4, 16, 4).mean(axis=(1, 3)).ravel() for p in pictures])
    small -= small.mean(axis=0)
    small /= np.linalg.norm(small, axis=1, keepdims=True) + 1e-9
    likeness = small @ small.T
    np.fill_diagonal(likeness, -np.inf)
    near = np.argsort(-likeness, axis=1)[:, : min(NEAR, len(pictures) - 1)]
    return np.pad(near, ((0, 0), (0, NEAR - near.shape[1])), constant_values=-1)


def grey(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.LANCZOS), np.float32)


def by_imagehash(name: str) -> Callable[[Shown], list[Any]]:
    def signs(pictures: Shown) -> list[Any]:
        import imagehash

        return [getattr(imagehash, name)(Image.fromarray(picture)) for picture in pictures]

    return signs


def by_imagededup(name: str) -> Callable[[Shown], list[Any]]:
    def signs(pictures: Shown) -> list[Any]:
        from imagededup import methods

        hasher = getattr(methods, name)(verbose=False)
        return [int(hasher.encode_image(image_array=picture), 16) for picture in pictures]

    return signs


def thumbnails(pictures: Shown) -> list[np.ndarray]:
    small = [grey(picture, (32, 32)).ravel() for picture in pictures]
    return [unit(picture - picture.mean()) for picture in small]


def pooled(pictures: Shown) -> list[np.ndarray]:
    """Return the pooled vectors of the packaged backbone, of length 1."""
    with tempfile.TemporaryDirectory() as folder:
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(Path(folder) / f"{number:05d}.png")
        config = ScanConfig(offline=True, cache=Path(folder) / "cache")
        listing = list_images(folder)
        settings, backbone = embed_settings(listing, config), load_backbone(config.backbone, offline=True)
        _, embeddings, _ = embed(listing, backbone, settings, cache=Cache(config.cache, backbone, settings))
        return [unit(vector) for vector in embeddings.pooled]


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / (np.linalg.norm(vector) + 1e-9)


def at_least(least: float) -> Callable[[np.ndarray, np.ndarray], bool]:
    return lambda a, b: float(a @ b) >= least


def few_bits_differ(a: Any, b: Any) -> bool:
    """Return whether at most BITS differ of two hashes of imagehash, or of two numbers."""
    return ((a ^ b).bit_count() if isinstance(a, int) else a - b) <= BITS


RULES: dict[str, tuple[Callable[[Shown], list[Any]], Callable[[Any, Any], bool]]] = {
    "dHash, imagehash": (by_imagehash("dhash"), few_bits_differ),
    "pHash, imagehash": (by_imagehash("phash"), few_bits_differ),
    "dHash, imagededup": (by_imagededup("DHash"), few_bits_differ),
    "pHash, imagededup": (by_imagededup("PHash"), few_bits_differ),
    "thumbnail": (thumbnails, at_least(0.9)),
    "pooled": (pooled, at_least(0.98)),
}


def usual_rules(pictures: list[np.ndarray], generator: np.random.Generator) -> dict[str, str]:
    """Return "found / false" in % of each usual rule."""
    rows = generator.permutation(len(pictures))[:PLANTED].tolist()
    shots = [plant(pictures[row], generator)[ALL_TOGETHER] for row in rows]
    pairs = generator.integers(0, len(pictures), (RANDOM, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    cells = {}
    for name, (signs_of, same) in RULES.items():
        signs = signs_of([*pictures, *shots])
        found = np.mean([same(signs[row], shot) for row, shot in zip(rows, signs[len(pictures) :], strict=True)])
        false = np.mean([same(signs[a], signs[b]) for a, b in pairs])
        cells[name] = f"{100 * found:.0f} / {100 * false:.1f}"
    return cells


def draw_pairs(found: SamePart, files: list[Path], pictures: list[np.ndarray], to: Path) -> None:
    """Write up to 40 pairs side by side, with their registered difference's score in the file's companion text."""
    lines, tiles = [], []
    for index, (a, b) in enumerate(found.pairs[:40].tolist()):
        row = [np.asarray(Image.fromarray(pictures[i]).resize((160, 160))) for i in (a, b)]
        tiles.append(np.concatenate([*row, np.full((160, 12, 3), 255 * (not found.local[index]), np.uint8)], axis=1))
        lines.append(
            f"{index:3d} score {found.scores[index]:5.1f} local {found.local_ratios[index]:4.1f}"
            f"{' LOCAL' if found.local[index] else ''} shift {np.round(100 * found.shifts[index], 1)}"
            f" {files[a].parent.name}/{files[a].name} {files[b].parent.name}/{files[b].name}"
        )
    to.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if tiles:
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 4)
        sheet = np.concatenate([np.concatenate(tiles[i : i + 4], axis=1) for i in range(0, len(tiles), 4)])
        Image.fromarray(sheet).save(to)


def recalls_by_strength(looks: Looks, read: Read) -> list[dict[str, float]]:
    """Return which share of re-shots the threshold of a set finds, by kind, for each strength."""
    rows = np.flatnonzero(looks.judged)
    rows = np.random.default_rng(1).permutation(rows)[:PLANTED]
    threshold, recalls = looks.threshold(), []
    for strength in STRENGTHS:
        planted = plant_reshots(read, rows, np.random.default_rng(2), strength=strength)
        recalls.append(judge_reshots(looks.images, planted).recall(threshold))
    return recalls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--false-rate", type=float, default=FALSE_RATE)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    kinds, rules = list(RESHOTS), list(RULES)
    head = ["set", "images", *kinds, "undecidable", "pairs", "local", "clustered", "threshold", "false rate", *rules]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|", flush=True)
    for folder in args.sets:
        files = files_of(folder, args.images)
        pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
        shown, near, alone = Pictures(pictures.__getitem__, len(pictures)), nearest(pictures), np.arange(len(files))
        found = find_same_part(shown, near, alone, seed=args.seed, false_rate=args.false_rate)
        recalls = recalls_by_strength(
            compare_all(shown, near, alone, seed=args.seed, false_rate=args.false_rate), shown.read
        )
        usual = usual_rules(pictures, np.random.default_rng(args.seed))
        cells = [" / ".join(f"{100 * recall.get(kind, 0):.0f}" for recall in recalls) for kind in kinds]
        clustered = int((np.bincount(found.clusters, minlength=len(files))[found.clusters] > 1).sum())
        cells += [f"{100 * found.undecidable:.0f}", str(len(found.pairs)), str(int(found.local.sum())), str(clustered)]
        cells += [f"{found.threshold:.1f}", f"{found.false_rate:.0e}"]
        cells += [usual[rule] for rule in rules]
        print("| " + " | ".join([folder.name, str(len(files)), *cells]) + " |", flush=True)
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            draw_pairs(found, files, pictures, args.pictures / f"{folder.name}.png")


if __name__ == "__main__":
    main()
