"""Several threads, each running torch on one core.

For many matrix products of medium size this is faster than one call spread over all cores, whose threads wait for each
other at every step, above all while other threads decode images.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

MOST = 8


def lane_count() -> int:
    """Return the number of threads of `one_core_each`: one a core, at most eight."""
    return max(1, min(MOST, os.cpu_count() or 1))


@contextmanager
def one_core_each(name: str) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads; while the block runs, torch's own threads are divided among them."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // lane_count()))
    try:
        with ThreadPoolExecutor(lane_count(), thread_name_prefix=name) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
