"""How well does `curate scan` find noise that was planted? One row a set, share and backbone.

    python examples/bench/find_noise.py LABELLED_SET... --bench FOLDER [--backbone NAME --weights FILE]

Each LABELLED_SET holds good/ and defect/<type>/. FOLDER holds make_noisy.py and score_audit.py, which build a
contaminated set and hold an audit against its truth. Prints a Markdown table: AUROC of `anomaly_score` for each
seed, its mean, average precision, and the verdicts' precision, recall and false alarms.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import curate


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file}: no such script")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cell(
    source: Path, share: float, seed: int, bench: Path, scratch: Path, settings: dict[str, Any]
) -> dict[str, float]:
    """Build one contaminated set, scan it, and return score_audit.py's figures."""
    noisy, audit = scratch / "noisy", scratch / "audit"
    call = [sys.executable, str(bench / "make_noisy.py"), str(source), str(noisy)]
    subprocess.run([*call, "--share", str(share), "--seed", str(seed)], check=True, stdout=subprocess.DEVNULL)
    curate.scan(noisy / "train", audit, force=True, cache=scratch / "cache", **settings)
    figures: dict[str, float] = load(bench / "score_audit.py").figures(audit / "images.parquet", noisy / "truth.csv")
    return figures


def row(source: Path, share: float, runs: list[dict[str, float]]) -> str:
    def mean(name: str) -> str:
        return f"{100 * statistics.mean(run[name] for run in runs):.1f}" if name in runs[0] else "-"

    seeds = " ".join(f"{100 * run['auroc']:.1f}" for run in runs) if share else "-"
    images, bad = (round(statistics.mean(run[name] for run in runs)) for name in ("images", "defective"))
    names = ("auroc", "ap", "f1", "precision", "recall", "false_alarm")
    return (
        f"| {source.name} | {share:.0%} | {bad}/{images} | {seeds} | " + " | ".join(mean(name) for name in names) + " |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--shares", default="0.1,0.4")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone", default="curate_s")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--image-size", type=int)
    args = parser.parse_args()
    settings = {k: v for k, v in vars(args).items() if k in ("backbone", "weights", "image_size") and v is not None}
    print(f"{args.backbone}, figures in %\n")
    print("| set | share | defective | AUROC, by seed | mean | AP | F1 | precision | recall | false alarms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        for source in args.sets:
            for share in (float(part) for part in args.shares.split(",")):
                runs = [cell(source, share, seed, args.bench, Path(scratch), settings) for seed in range(args.seeds)]
                print(row(source, share, runs), flush=True)


if __name__ == "__main__":
    main()
