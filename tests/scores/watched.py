"""A source of patches or pixels that records how far progress had come at each read."""

from __future__ import annotations

import numpy as np


class Watched:
    """Gives images; pass `progress` to a scorer, and `progress_at_reads` has its sum at each read of an image."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays, self.finished, self.progress_at_reads = arrays, 0, list[int]()

    def progress(self, images: int) -> None:
        self.finished += images

    def read(self, image: int) -> np.ndarray:
        self.progress_at_reads.append(self.finished)
        return self.arrays[image]
