"""Audit one folder with several products: images of labelled sets are put into one folder.

    python examples/bench/mixed.py LABELLED_SET... [--shares 0,0.1,0.4] [--images 100] [--offline]
    python examples/bench/mixed.py LABELLED_SET... --gaps [--offline]

Each set holds good/ and defect/<type>/. The first two sets, and all sets, are mixed: the same number of images of each,
a share of them defective. Each mixture is scanned with the default settings and without
subpopulations. Printed: the number of nominal sets, AUROC and average precision of the anomaly score and F1 of the
verdicts, in %, and how many of the nominal images are flagged. With --gaps: the widest gap at which each set alone, and
each mixture of two or more, is still separated into subpopulations (`curate.partition.subpopulations` takes 1.3), in
three draws at each share of defective images; 1.0 is the narrowest that is tried, "-" stands for none.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path

import numpy as np

import curate
from curate.bench.draws import draw
from curate.bench.embedder import LabelledSetEmbedder
from curate.bench.measures import ranking, verdicts
from curate.bench.sets import LabelledSet, read_set
from curate.partition.subpopulations import subpopulations_of
from curate.pipeline import configure

GAPS = np.round(np.arange(1.0, 6.0, 0.1), 1)
DRAWN, TEST_SHARE, SHARES, SEEDS = 200, 0.4, (0.0, 0.05, 0.1, 0.2, 0.4, 0.5), (0, 1, 2)


def build(sources: Sequence[LabelledSet], share: float, images: int, *, target: Path) -> dict[str, bool]:
    """Lay out a folder of links; return whether each is defective, by its name."""
    rng, defective = random.Random(0), dict[str, bool]()
    for source in sources:
        good = [row for row, label in enumerate(source.labels) if label == "good"]
        bad = [row for row, label in enumerate(source.labels) if label != "good"]
        wrong = round(share * images)
        for row in rng.sample(good, images - wrong) + rng.sample(bad, wrong):
            name = f"{rng.getrandbits(48):012x}{source.files[row].suffix.lower()}"
            (target / name).symlink_to(source.files[row].resolve())
            defective[name] = source.labels[row] != "good"
    return defective


def judged(sources: Sequence[LabelledSet], share: float, images: int, *, apart: bool, offline: bool) -> list[str]:
    """Scan a mixture and return the cells of its row."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "mixed"
        folder.mkdir()
        defective = build(sources, share, images, target=folder)
        table = curate.scan(folder, Path(scratch) / "audit", subpopulations=apart, offline=offline).images
    wrong = np.array([defective[name] for name in table["path"]])
    flagged = table["verdict"].isin(["mislabelled", "near_ood"]).to_numpy()
    figures = ranking(wrong, table["anomaly_score"].to_numpy()) | verdicts(wrong, flagged) if wrong.any() else {}
    score = [f"{100 * figures[name]:.1f}" if name in figures else "-" for name in ("auroc", "ap", "f1")]
    alarms = f"{int((flagged & ~wrong).sum())} of {int((~wrong).sum())}"
    return [str(table["nominal_set"].nunique()), *score, alarms]


def widest(pooled: np.ndarray) -> str:
    """Return the widest gap at which images are separated into subpopulations; "-" where there is none."""
    separating = [gap for gap in GAPS.tolist() if subpopulations_of(pooled, np.arange(len(pooled)), gap=gap).any()]
    return f"{max(separating):.1f}" if separating else "-"


def gaps(folders: Sequence[Path], images: int, *, offline: bool) -> None:
    """Print the widest gap within each set, over its draws, and in every mixture of two or more, by share."""
    drawn = {}
    for folder in folders:
        embedder = LabelledSetEmbedder(source=read_set(folder), config=configure({"offline": offline}))
        for share, seed in product(SHARES, SEEDS):
            one = embedder.embed_draw(draw(embedder.source, share, seed, images=DRAWN, test_share=TEST_SHARE))
            drawn[folder.name, share, seed] = one.embeddings.pooled
    print(f"| images | {' | '.join(f'{share:.0%}' for share in SHARES)} |\n|{' --- |' * (len(SHARES) + 1)}")
    for count in range(1, len(folders) + 1):
        for names in combinations([folder.name for folder in folders], count):
            cells = []
            for share in SHARES:
                each = [[drawn[name, share, seed] for name in names] for seed in SEEDS]
                widths = [
                    widest(np.concatenate([one[:images] for one in sets]) if count > 1 else sets[0]) for sets in each
                ]
                cells.append(" ".join(widths))
            print(f"| {' + '.join(names)} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--shares", default="0,0.1,0.4", help="of defective images, comma-separated")
    parser.add_argument("--images", type=int, default=100, help="of each set")
    parser.add_argument("--gaps", action="store_true", help="print gaps, and scan nothing")
    parser.add_argument("--offline", action="store_true")
    args = parser.parse_args()
    if args.gaps:
        gaps(args.sets, args.images, offline=args.offline)
        return
    columns = ("mixture", "share", "subpopulations", "nominal sets", "AUROC", "AP", "F1", "nominal images flagged")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for folders in [args.sets[:2], args.sets] if len(args.sets) > 2 else [args.sets]:
        sources = [read_set(folder) for folder in folders]
        for share in map(float, args.shares.split(",")):
            for apart in (True, False):
                cells = judged(sources, share, args.images, apart=apart, offline=args.offline)
                name = " + ".join(source.name for source in sources)
                print(f"| {name} | {share:.0%} | {'apart' if apart else 'as one'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
