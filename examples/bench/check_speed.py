"""Time and memory of `curate check AUDIT`, on an audit of 100,000 rows that is drawn from a seed.

    python examples/bench/check_speed.py [--images 100000] [--runs 5] [--rules default]

The audit is written to a temporary folder, and the command runs as a user runs it, in a separate process.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa

from curate.audit.parquet import Audit, write_audit
from curate.audit.schema import SCHEMA_VERSION, TABLES


def draw_audit(images: int, seed: int = 0) -> Audit:
    """Return an audit of ten classes and three splits, one image in a hundred flagged, one in two hundred a copy."""
    rng = np.random.default_rng(seed)
    verdict = rng.choice(["keep", "mislabelled", "near_ood", "duplicate"], images, p=[0.985, 0.005, 0.005, 0.005])
    code = {"keep": [], "mislabelled": ["LBL001"], "near_ood": ["OOD001"], "duplicate": ["DUP001"]}
    paths = [f"class_{i % 10}/{i:07d}.png" for i in range(images)]
    drawn = {
        "path": paths,
        "sha256": [rng.bytes(32).hex() for _ in range(images)],
        "split": [("train", "val", "test")[i % 3] for i in range(images)],
        "label": [f"class_{i % 10}" for i in range(images)],
        "group": [f"lot_{i // 3000 * 3 + i % 3}" for i in range(images)],
        "width_px": np.full(images, 1280, np.int32),
        "height_px": np.full(images, 1024, np.int32),
        "mode": ["L"] * images,
        "bit_depth": np.full(images, 8, np.int32),
        "skip_reason": [""] * images,
        "anomaly_score": rng.normal(0.3, 0.2, images).astype(np.float32),
        "verdict": verdict.tolist(),
        "suggested_label": [""] * images,
        "reasons": [code[v] for v in verdict],
        "nearest": [[paths[i - 1], paths[i - 2], paths[i - 3]] for i in range(images)],
    }
    columns = {name: drawn.get(name, [None] * images) for name in TABLES["images"].names}
    flagged = [i for i in range(images) if verdict[i] != "keep"]
    findings = [
        {"path": paths[i], "code": code[verdict[i]][0], "severity": "error", "message": "drawn", "neighbours": []}
        for i in flagged
    ]
    copies = [
        {"path": paths[i], "duplicate_of": paths[(i + 30) % images], "kind": "exact", "same_label": True}
        for i in flagged
        if verdict[i] == "duplicate"
    ]
    rows = {"findings": findings, "duplicates": copies}
    tables = {
        name: pa.Table.from_pylist(rows.get(name, []), schema=TABLES[name]) for name in TABLES if name != "images"
    }
    run = {"schema_version": SCHEMA_VERSION, "dataset": "drawn", "fingerprint": "drawn"}
    return Audit(tables={"images": pa.table(columns, schema=TABLES["images"])} | tables, run=run)


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rules", default="default")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_audit(draw_audit(chosen.images), Path(folder))
        size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
        seconds, cpu, code = [], [], 0
        for _ in range(chosen.runs):
            start, before = perf_counter(), cpu_seconds()
            call = [sys.executable, "-m", "curate", "check", folder, "--rules", chosen.rules, "--format", "json"]
            done = subprocess.run(call, stdout=subprocess.DEVNULL, check=False, cwd=Path.cwd(), env=os.environ)
            seconds.append(perf_counter() - start)
            cpu.append(cpu_seconds() - before)
            code = done.returncode
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"curate check, {chosen.images} images ({size:.1f} MB), pack {chosen.rules}, exit {code}")
    print(f"wall {min(seconds):.2f} s best of {chosen.runs} ({', '.join(f'{s:.2f}' for s in sorted(seconds))})")
    print(f"CPU {min(cpu):.2f} s best, peak memory {peak:.0f} MB; 1 minute load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
