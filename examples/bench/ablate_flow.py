"""Which parts of the scorer `flow` earn their place? One row a variant, in AUROC / average precision of planted noise.

    python examples/bench/ablate_flow.py LABELLED_SET... --bench FOLDER [--shares 0.1,0.4] [--seeds 2] [--only NAME,...]

Each LABELLED_SET holds good/ and defect/<type>/. FOLDER holds make_noisy.py, which builds a contaminated set and says
in truth.csv which of its images are defective. Every variant of `curate.scores.flow.ABLATIONS` scores the same
embeddings; `neighbours` stands beside them. Figures are means over seeds, in %; seconds are the sum over all cells.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from curate.audit import embed_settings
from curate.config import ScanConfig
from curate.embeddings.backbones import load_backbone
from curate.embeddings.engines.local import Cache, embed
from curate.images.sources import list_images
from curate.records import Embeddings
from curate.scores.base import Scorer
from curate.scores.flow import ABLATIONS, Flow
from curate.scores.neighbours import Neighbours


def planted(source: Path, share: float, seed: int, bench: Path, scratch: Path) -> tuple[Embeddings, np.ndarray]:
    """Build and embed one contaminated set; also say which of its images are defective."""
    noisy = scratch / "noisy"
    call = [sys.executable, str(bench / "make_noisy.py"), str(source), str(noisy)]
    subprocess.run([*call, "--share", str(share), "--seed", str(seed)], check=True, stdout=subprocess.DEVNULL)
    config = ScanConfig(cache=scratch / "cache")
    listing = list_images(noisy / "train")
    backbone, settings = load_backbone(config.backbone, weights=None, offline=True), embed_settings(listing, config)
    _, embeddings, _ = embed(listing, backbone, settings, Cache(config.cache, backbone, settings))
    with (noisy / "truth.csv").open() as file:
        truth = {line["name"]: int(line["defective"]) for line in csv.DictReader(file)}
    return embeddings, np.array([truth[Path(listing.paths[i]).name] for i in embeddings.images])


def variants(only: str) -> Iterator[tuple[str, Scorer]]:
    yield "neighbours", Neighbours()
    for name, config in ABLATIONS.items():
        if not only or name in only.split(","):
            yield name, Flow(config=config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--shares", default="0.1,0.4")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    cells = [(source, float(share)) for source in args.sets for share in args.shares.split(",")]
    figures: dict[str, dict[tuple[Path, float], list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    seconds: dict[str, float] = defaultdict(float)
    for seed in range(args.seeds):
        for source, share in cells:
            with tempfile.TemporaryDirectory() as scratch:
                embeddings, bad = planted(source, share, seed, args.bench, Path(scratch))
                for name, scorer in variants(args.only):
                    start = perf_counter()
                    values = scorer.score(embeddings, np.arange(len(bad))).values
                    seconds[name] += perf_counter() - start
                    figures[name][source, share].append(
                        (roc_auc_score(bad, values), average_precision_score(bad, values))
                    )
    print("| variant | " + " | ".join(f"{s.name} {share:.0%}" for s, share in cells) + " | mean | s |")
    print("| --- |" + " --- |" * (len(cells) + 2))
    for name, row in figures.items():
        means = [100 * np.mean(row[cell], axis=0) for cell in cells]
        told = " | ".join(f"{auroc:.1f}/{ap:.1f}" for auroc, ap in [*means, np.mean(means, axis=0)])
        print(f"| {name} | {told} | {seconds[name]:.0f} |")


if __name__ == "__main__":
    main()
