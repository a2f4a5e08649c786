"""Time and size of a report.

    python examples/bench/report.py [--images 10000] [--flagged 500] [--size 1280x1024]

The script draws 24 JPEGs, links the others to them, and writes an audit with a map for the 200 most anomalous. Then it
writes the report in a separate process, as `curate report` does, and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.audit.parquet import Audit, write_audit
from curate.audit.schema import SCHEMA_VERSION, TABLES

sys.path.insert(0, str(Path(__file__).parent.parent))
from draw_demo import flange, sensor

DRAWN, MAPS = 24, 200


def draw_images(folder: Path, count: int, size: tuple[int, int]) -> list[tuple[str, str]]:
    """Draw a set and return the path and sha256 of each image."""
    rng, hashes = np.random.default_rng(0), []
    (folder / "good").mkdir(parents=True)
    for index in range(count):
        file = folder / "good" / f"{index:05d}.jpg"
        if index < DRAWN:
            sensor(flange(rng, size), rng).save(file, quality=90)
            hashes.append(hashlib.sha256(file.read_bytes()).hexdigest())
        else:
            os.link(folder / "good" / f"{index % DRAWN:05d}.jpg", file)
    return [(f"good/{index:05d}.jpg", hashes[index % DRAWN]) for index in range(count)]


def draw_audit(folder: Path, root: Path, images: list[tuple[str, str]], *, flagged: int, size: tuple[int, int]) -> None:
    """Write an audit in which the first images are flagged."""
    rng = np.random.default_rng(1)
    nearest = [path for path, _ in images[flagged:]]
    rows, findings, maps = [], [], []
    for index, (path, sha256) in enumerate(images):
        bad = index < flagged
        score = float(rng.uniform(1.05, 4) if bad else np.clip(rng.normal(0, 0.3), -1, 0.99))
        near = [nearest[int(i)] for i in rng.integers(0, len(nearest), 3)] if bad else []
        views = {f"score_{view}": score + float(rng.normal(0, 0.2)) for view in ("flow", "student", "neighbours")}
        at = dict(zip(("pca_1", "pca_2"), rng.normal(bad, 1, 2).tolist(), strict=True))
        texts = dict.fromkeys(("split", "group", "skip_reason", "suggested_label"), "")
        row = {
            "path": path,
            "sha256": sha256,
            "label": "good",
            "nominal_set": "good",
            "width_px": size[0],
            "height_px": size[1],
            "mode": "RGB",
        }
        row |= {"bit_depth": 8, "verdict": "mislabelled" if bad else "keep", "reasons": ["LBL001"] * bad}
        rows.append(row | texts | views | at | {"anomaly_score": score, "nearest": near, "confidence": 0.1})
        if bad:
            why = {"code": "LBL001", "severity": "error", "message": "differs from the other images", "fence": 1.0}
            findings.append({"path": path, "score": score, "box": [400, 300, 200, 150], **why})
        if index < min(flagged, MAPS):
            values = rng.gamma(2, 0.1, 24 * 30).astype(np.float32).tolist()
            maps.append({"path": path, "rows": 24, "columns": 30, "values": values})
    views = [
        {"nominal_set": "good", "view": view, "threshold": 1.0, "abstains": False, "reason": ""}
        for view in ("hybrid", "flow", "student", "neighbours")
    ]
    content = {"images": rows, "findings": findings, "maps": maps, "views": views}
    run = {"schema_version": SCHEMA_VERSION, "dataset": str(root), "map_scale": {"low": 0, "high": 1}}
    tables = {name: pa.Table.from_pylist(content.get(name, []), schema=schema) for name, schema in TABLES.items()}
    folder.mkdir()
    write_audit(Audit(tables=tables, run=run, path=folder), folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--flagged", type=int, default=500)
    parser.add_argument("--size", default="1280x1024", help="width x height in px")
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    with tempfile.TemporaryDirectory() as scratch:
        root, audit = Path(scratch) / "set", Path(scratch) / "audit"
        draw_audit(
            audit, root, draw_images(root, args.images, (width, height)), flagged=args.flagged, size=(width, height)
        )
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "curate", "report", str(audit), "-q"])
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit("the report could not be written")
        beside = sum(file.stat().st_size for file in (audit / "report-thumbnails").glob("*"))
        page = (audit / "report.html").stat().st_size
    print(f"{args.images} images of {args.size}, {args.flagged} flagged, {os.cpu_count()} cores\n")
    print("| what | figure |\n| --- | --- |")
    print(f"| whole process | {seconds:.1f} s |\n| peak memory | {usage.ru_maxrss / 1024:.0f} MB |")
    print(f"| report.html | {page / 1e6:.2f} MB |\n| thumbnails beside it | {beside / 1e6:.2f} MB |")


if __name__ == "__main__":
    main()
