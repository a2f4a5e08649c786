"""The distance from each patch of one image to the nearest patch of another, for any two images of a set.

Draws of one set share most of their images, so each pair is compared once and kept while memory lasts. The baseline
`patch-nn` and the detector `neighbours` choose rows from these.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.records import BoolArray, Embeddings, FloatArray, IntArray
from curate.scores.distances import PatchBanks, distances, nearest_less_length

MEMORY_BYTES = 512 << 20
"""Limit of the distances that are kept."""

BANK_BYTES = 128 << 20
"""Limit of the patches that are kept ready for comparison."""


@dataclass
class _ImageDistances:
    """The distances from one image: (N, P) in one piece; only rows that were written take memory."""

    values: FloatArray
    computed: BoolArray

    @property
    def nbytes(self) -> int:
        return int(self.computed.sum() * self.values.shape[1] * self.values.itemsize)


class PatchDistances:
    """The nearest-patch distances between the images of one set.

    Args:
        embeddings: of N images.
        memory_bytes: limit of the distances that are kept.
    """

    def __init__(self, embeddings: Embeddings, memory_bytes: int = MEMORY_BYTES) -> None:
        self._embeddings, self._memory_bytes = embeddings, memory_bytes
        self._images: OrderedDict[int, _ImageDistances] = OrderedDict()
        self._bytes = 0
        self._banks = PatchBanks(self._patches, BANK_BYTES)

    def between(self, image: int, others: IntArray) -> FloatArray:
        """Return the distance from each of the P patches of `image` to its nearest in each other image: (others, P)."""
        kept = self._distances_of(image)
        missing = others[~kept.computed[others]]
        if len(missing):
            kept.values[missing] = self._compare(image, missing)
            kept.computed[missing] = True
            self._bytes += len(missing) * kept.values[0].nbytes
        chosen = kept.values[others]
        while self._bytes > self._memory_bytes and len(self._images) > 1:
            self._bytes -= self._images.popitem(last=False)[1].nbytes
        return chosen

    def _distances_of(self, image: int) -> _ImageDistances:
        if image not in self._images:
            count, patches = len(self._embeddings), int(self._embeddings.grids[image].prod())
            self._images[image] = _ImageDistances(
                np.empty((count, patches), dtype=np.float32), np.zeros(count, dtype=np.bool_)
            )
        self._images.move_to_end(image)
        return self._images[image]

    def _compare(self, image: int, others: IntArray) -> FloatArray:
        query = self._patches(image)
        less_length = torch.empty((len(others), len(query)))
        nearest_less_length(query, map(self._banks.of, others.tolist()), less_length)
        return np.asarray(distances(less_length, query).numpy())

    def _patches(self, image: int) -> Tensor:
        return torch.from_numpy(self._embeddings.patches(image))
