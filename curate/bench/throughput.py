"""Speed and memory of a scan, compared with a bare loop of the same backbone.

One run on the images of a set measures a bare loop (the backbone over ready tensors of the set's own size, nothing
else), a first scan with an empty cache in a separate process, each scorer on the cached embeddings, and the bare loop
again. Ratios come from one run; single times depend on the machine and its load.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curate.bench.cells import SETTINGS, CellStore, provenance, read_settings, write_json
from curate.bench.draws import Draw
from curate.bench.embedder import LabelledSetEmbedder
from curate.bench.judge_draw import judge_draw
from curate.bench.plan import Plan
from curate.bench.sets import GOOD, LabelledSet
from curate.bench.variants import scan_variants
from curate.config import ScanConfig
from curate.errors import CouldNotFinish
from curate.progress import Stages

BATCH, BARE_IMAGES = 8, 400


def bare_loop(name: str, weights: Path | None, native: tuple[int, int], *, images: int = BARE_IMAGES) -> float:
    """Return images a second of the backbone alone, prepared as in a scan, over a ready batch.

    Args:
        name, weights: of the backbone.
        native: (width, height) of an image, in pixels, before it is scaled to the network's size.
        images: how many images pass through.
    """
    import torch

    from curate.embeddings.backbones import load_backbone
    from curate.embeddings.frame import auto_long_px, frame_size
    from curate.embeddings.runtimes import prepare

    backbone = load_backbone(name, weights=weights)
    width, height = frame_size(*native, auto_long_px([native]))
    batch = torch.randn(BATCH, 3, height, width).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        run = prepare(backbone.network)
        run(batch)
        start = time.perf_counter()
        for _ in range(max(1, images // BATCH)):
            run(batch)
    return max(1, images // BATCH) * BATCH / (time.perf_counter() - start)


def timed_scan(dataset: Path, cache: Path, options: Sequence[str]) -> dict[str, Any]:
    """Scan in a separate process; return its wall time, its steps and its peak memory.

    Raises:
        CouldNotFinish: the scan failed.
    """
    output = cache / f"audit-{dataset.name}"
    call = [sys.executable, "-m", "curate", "scan", str(dataset), "-o", str(output), "--force", "--quiet"]
    start = time.perf_counter()
    process = subprocess.Popen([*call, "--cache", str(cache), *options], stdout=subprocess.DEVNULL)  # noqa: S603
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise CouldNotFinish(f"the scan of {dataset} failed with exit code {process.returncode}, so there are no times")
    run = json.loads((output / "run.json").read_text(encoding="utf-8"))
    return {
        "wall_s": time.perf_counter() - start,
        "peak_mb": usage.ru_maxrss / 1024,
        **run["embedding"],
        **run["seconds"],
    }


def measure_into(store: CellStore, plan: Plan, *, screen: Stages) -> None:
    """Measure speed and memory on the nominal images of the first set, and keep the figures in `bench.json`."""
    source = plan.sources[0]
    figures = measure(source, plan.config, plan.scorers, screen=screen)
    images = sum(source.nominal)
    made = provenance()
    rows = [
        {
            "dataset": source.name,
            "images": images,
            "question": "time",
            "kind": "time",
            "method": "scan",
            "trained": "",
            "view": "",
            "figure": name,
            "value": value,
            "reason": "",
            "made": "; ".join(made[key] for key in sorted(made)),
        }
        for name, value in figures.items()
    ]
    write_json(store.folder / SETTINGS, read_settings(store.folder) | {"throughput": rows})


def measure(source: LabelledSet, config: ScanConfig, scorers: Sequence[str], *, screen: Stages) -> dict[str, float]:
    """Return the figures by name; times in seconds, rates in images a second, memory in MB."""
    from PIL import Image

    good = [file for file, nominal in zip(source.files, source.nominal, strict=True) if nominal]
    with Image.open(good[0]) as first:
        native = first.size
    options = ["--backbone", config.backbone] + (["--weights", str(config.weights)] if config.weights else [])
    options += ["--image-size", str(config.image_size)] if config.image_size else []
    with tempfile.TemporaryDirectory() as scratch, screen.stage("throughput", 3 + len(scorers)) as progress:
        folder = Path(scratch) / "set"
        folder.mkdir()
        for index, file in enumerate(good):
            (folder / f"{index:06d}{file.suffix.lower()}").symlink_to(file.resolve())
        before = bare_loop(config.backbone, config.weights, native)
        progress(1)
        whole = timed_scan(folder, Path(scratch) / "cache", options)
        progress(1)
        figures = _figures(len(good), before, whole)
        for name in scorers:
            for view, seconds in _seconds_by_scorer(source, config, name).items():
                figures[f"score, {name}, {view.removesuffix('_s')}: images/s"] = len(good) / max(seconds, 1e-3)
            progress(1)
        figures["bare loop after: images/s"] = bare_loop(config.backbone, config.weights, native)
        progress(1)
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def _seconds_by_scorer(source: LabelledSet, config: ScanConfig, name: str) -> dict[str, float]:
    """Return the seconds of each scorer of a variant, and of the verdicts, on the nominal images of a set."""
    rows = np.flatnonzero(source.nominal)
    names = tuple(f"{GOOD}/{row:06d}" for row in rows)
    nominal = Draw(
        share=0, seed=0, rows=rows, names=names, labels=(GOOD,) * len(rows), wrong=np.zeros(len(rows), dtype=np.bool_)
    )
    drawn = LabelledSetEmbedder(source=source, config=config).embed_draw(nominal)
    return judge_draw(drawn, config, scan_variants()[name]).seconds


def _figures(images: int, bare: float, scan: dict[str, Any]) -> dict[str, float]:
    return {
        "bare loop before: images/s": bare,
        "decode, a thread: images/s": images / max(scan["decode_s"], 1e-3),
        "forward, a thread: images/s": images / max(scan["forward_s"], 1e-3),
        "embedding (decode, forward, write): images/s": images / scan["embed_s"],
        "embedding, share of the bare loop": images / scan["embed_s"] / bare,
        "score, first scan: images/s": images / max(scan["score_s"], 1e-3),
        "whole process: images/s": images / scan["wall_s"],
        "peak memory: MB": scan["peak_mb"],
        "cores": os.cpu_count() or 1,
    }
