"""Images a second of the packaged backbone next to a timm model, by runtime and precision.

    python examples/backbone/speed.py --teacher resnet18.safetensors [--batch 32] [--side 256] [--rounds 5]

All rows take turns, so that a machine whose speed drifts treats them alike; medians over the rounds. Rows whose
runtime is not installed are left out with a word.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from curate.embeddings.backbones import load_backbone
from curate.embeddings.packaged import PACKAGED_NAME
from curate.embeddings.runtimes import Forward, Precision, Runtime, prepare
from curate.errors import UsageError

ROWS = (
    (Runtime.TORCH, Precision.FP32),
    (Runtime.OPENVINO, Precision.FP32),
    (Runtime.TORCH, Precision.BF16),
    (Runtime.OPENVINO, Precision.BF16),
)


def runs(teacher: Path, threads: int) -> dict[str, Forward]:
    """Return what is timed, the timm model first."""
    network = load_backbone("resnet18", weights=teacher).network
    ready: dict[str, Callable[[torch.Tensor], list[torch.Tensor]]] = {"resnet18, torch fp32": prepare(network)}
    for runtime, precision in ROWS:
        name = f"{PACKAGED_NAME}, {runtime} {precision}"
        try:
            ready[name] = prepare(load_backbone(PACKAGED_NAME).network, runtime, precision=precision, threads=threads)
        except UsageError as reason:
            print(f"{name}: left out: {reason}")
    return ready


def images_per_second(run: Forward, batch: torch.Tensor) -> float:
    start = time.perf_counter()
    run(batch)
    return len(batch) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="weights of resnet18, stages 1-3")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    batch = torch.randn(args.batch, 3, args.side, args.side).contiguous(memory_format=torch.channels_last)
    ready = runs(args.teacher, torch.get_num_threads())
    figures: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(args.rounds + 1):
        for name, run in ready.items():
            figure = images_per_second(run, batch)
            figures[name] += [figure] * bool(turn)  # the first round warms up
    base = statistics.median(next(iter(figures.values())))
    print("| | images/s | x |\n| --- | --- | --- |")
    for name, values in figures.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.0f} | {median / base:.1f} |")


if __name__ == "__main__":
    main()
