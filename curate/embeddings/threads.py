"""Several threads, each running torch on one core.

For many products of middling size that beats one call spread over all cores, whose threads wait for each other at
every step, and the more so while others decode images.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

MOST = 8


def lane_count() -> int:
    """Return how many threads `one_core_each` gives: one a core, at most eight."""
    return max(1, min(MOST, os.cpu_count() or 1))


@contextmanager
def one_core_each(name: str) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads, among which torch's own threads are divided while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // lane_count()))
    try:
        with ThreadPoolExecutor(lane_count(), thread_name_prefix=name) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
