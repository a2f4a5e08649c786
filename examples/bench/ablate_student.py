"""What does the Evolving Meta-Set buy? The student's variants on contaminated sets, one row a set, share and variant.

    python examples/bench/ablate_student.py LABELLED_SET... [--shares 0.05,0.1,0.2,0.4] [--seeds 2]

Each LABELLED_SET holds good/ and defect/. Of each class a fixed 40 % is the test set, the same for all shares; the rest
is drawn from, 200 images at most. Two questions, both answered in AUROC: does the student find the noise among the
images that it learns from (`noise`, `AP`), and does it find defects in the test set (`detection`), of which it learns
nothing? Prints a Markdown table; the mean over seeds.
"""

from __future__ import annotations

import argparse
import io
import random
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from curate.audit import configure, embed_settings
from curate.embeddings.backbones import load_backbone
from curate.embeddings.engines.local import Cache, embed
from curate.images.sources import list_images
from curate.records import Embeddings
from curate.scores.base import Guide
from curate.scores.student import Student
from curate.scores.student_config import ABLATIONS, Kind, StudentConfig

IMAGES, TEST_SHARE = 200, 0.4


def embedded(folder: Path) -> tuple[Embeddings, np.ndarray]:
    """Embed a labelled set, and say of each image whether it is defective."""
    files = sorted(p for part in ("good", "defect") for p in (folder / part).rglob("*") if p.is_file())
    listing = list_images("-", stdin=io.BytesIO("\n".join(map(str, files)).encode()))
    config = configure({"image_size": None})
    backbone, settings = load_backbone(config.backbone), embed_settings(listing, config)
    _, embeddings, _ = embed(listing, backbone, settings, Cache(config.cache, backbone, settings))
    defects = {p.resolve() for p in (folder / "defect").rglob("*")}
    return embeddings, np.array([listing.files[i].resolve() in defects for i in embeddings.images])


def draw(defective: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and the test images: a fixed test set, and a training set with a share of defective ones."""
    parts = []
    for rows in (np.flatnonzero(~defective).tolist(), np.flatnonzero(defective).tolist()):
        random.Random(1).shuffle(rows)
        held = int(len(rows) * TEST_SHARE)
        rest = rows[held:]
        random.Random(seed).shuffle(rest)
        parts.append((rows[:held], rest))
    (test_good, good), (test_bad, bad) = parts
    noisy = min(round(IMAGES * share), len(bad))
    nominal = min(IMAGES - noisy if share == 0 else round(noisy * (1 - share) / share), len(good))
    noisy = round(nominal * share / (1 - share))
    return np.sort([*good[:nominal], *bad[:noisy]]), np.sort([*test_good, *test_bad])


def figures(
    config: StudentConfig, embeddings: Embeddings, defective: np.ndarray, share: float, seed: int
) -> tuple[float, float, float]:
    """Return noise AUROC, noise AP and detection AUROC, in %."""
    train, test = draw(defective, share, seed)
    both = np.concatenate([train, test])
    guide = Guide(nominal=np.arange(len(both)) < len(train))
    values = Student(config=config).score(embeddings.subset(both), np.arange(len(both)), guide=guide).values
    noise, new = values[: len(train)], values[len(train) :]
    truth = defective[train]
    found = (roc_auc_score(truth, noise), average_precision_score(truth, noise)) if truth.any() else (np.nan, np.nan)
    return 100 * found[0], 100 * found[1], 100 * roc_auc_score(defective[test], new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--shares", default="0.05,0.1,0.2,0.4")
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    print("| set | share | variant | noise | AP | detection | s |\n| --- | --- | --- | --- | --- | --- | --- |")
    for folder in args.sets:
        embeddings, defective = embedded(folder)
        for share in (float(part) for part in args.shares.split(",")):
            for name, config in ABLATIONS.items():
                if config.kind is Kind.STPM:  # learns from images, in hours: `curate bench --ablate student-stpm`
                    continue
                start = time.perf_counter()
                told = [figures(config, embeddings, defective, share, seed) for seed in range(args.seeds)]
                noise, precision, detection = np.mean(told, axis=0)
                took = (time.perf_counter() - start) / args.seeds
                cells = f"{noise:.1f} | {precision:.1f} | {detection:.1f} | {took:.0f}"
                print(f"| {folder.name} | {share:.0%} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
