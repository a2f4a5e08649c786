"""How long a backbone takes for an image on this machine, and how much memory: measured with random weights."""

from __future__ import annotations

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from curate.embeddings.frame import ORDINARY_LONG_PX
from curate.embeddings.packaged import PACKAGED_NAME, CompactPyramid
from curate.embeddings.runtimes import prepare
from curate.embeddings.timm_pyramids import timm_pyramid
from curate.errors import CurateError

MOST_RUNS, MOST_SECONDS = 5, 3.0
STATUS = Path("/proc/self/status")
"""Where Linux tells a process the memory that it holds."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a backbone costs on this machine, by torch in fp32 on one thread of the CPU, at 384 x 384 px.

    Attributes:
        seconds_an_image: the median of up to five images.
        peak_bytes: the most memory held at a time beyond that of the libraries; 0 where the system does not tell.
        parameters: numbers in the weights that are used.
    """

    seconds_an_image: float
    peak_bytes: int
    parameters: int


def footprint(name: str) -> Footprint | None:
    """Measure a backbone in a process of its own, so that memory is its own. No weights are needed.

    Args:
        name: the packaged network, or a network of timm.

    Returns:
        None if it cannot be built, or does not fit into memory.
    """
    context = multiprocessing.get_context("spawn")  # a forked process holds what this one holds
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_measure, name).result()
    except (CurateError, BrokenProcessPool, MemoryError):
        return None


def _measure(name: str) -> Footprint:
    import timm  # noqa: F401 - its memory belongs to the libraries
    import torch

    torch.set_num_threads(1)
    before = _memory_bytes("VmRSS")
    network = CompactPyramid().eval() if name == PACKAGED_NAME else timm_pyramid(name)
    run = prepare(network.requires_grad_(False))
    image = torch.randn(1, 3, ORDINARY_LONG_PX, ORDINARY_LONG_PX, generator=torch.Generator().manual_seed(0))
    run(image)
    seconds: list[float] = []
    while len(seconds) < MOST_RUNS and sum(seconds) < MOST_SECONDS:
        start = perf_counter()
        run(image)
        seconds.append(perf_counter() - start)
    return Footprint(
        seconds_an_image=sorted(seconds)[len(seconds) // 2],
        peak_bytes=max(0, _memory_bytes("VmHWM") - before),
        parameters=sum(weight.numel() for weight in network.parameters()),
    )


def _memory_bytes(what: str) -> int:
    """Return one of the figures that Linux gives of this process's memory; 0 elsewhere."""
    try:
        status = STATUS.read_text(encoding="ascii")
    except OSError:
        return 0
    line = re.search(rf"^{what}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(line[1]) * 1024 if line else 0
