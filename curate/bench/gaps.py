"""How far is each patch of one image from the nearest patch of another? For every two images that a bench compares.

Draws of one set share most of their images, so each pair is compared once and kept while memory lasts. Patch nearest
neighbours and the memory bank are choices of rows from this.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.records import BoolArray, Embeddings, FloatArray, IntArray
from curate.scores.neighbours import RESOLUTION

MEMORY_BYTES = 512 << 20
"""Of distances that are kept."""

BANK_BYTES = 128 << 20
"""Of patches that are kept ready to be compared with."""


@dataclass
class _Row:
    """The distances from one image: (N, P) in one piece, of which only what is known takes memory."""

    values: FloatArray
    known: BoolArray

    @property
    def nbytes(self) -> int:
        return int(self.known.sum() * self.values.shape[1] * self.values.itemsize)


class Gaps:
    """The nearest-patch distances between the images of one set.

    Args:
        embeddings: of N images.
        memory_bytes: of distances that are kept.
    """

    def __init__(self, embeddings: Embeddings, memory_bytes: int = MEMORY_BYTES) -> None:
        self._embeddings, self._most = embeddings, memory_bytes
        self._rows: OrderedDict[int, _Row] = OrderedDict()
        self._bytes = 0
        self._banks: OrderedDict[int, Tensor] = OrderedDict()
        self._bank_bytes = 0

    def of(self, image: int, others: IntArray) -> FloatArray:
        """Return the distance from each of the P patches of `image` to its nearest in each other image: (others, P)."""
        row = self._row(image)
        missing = others[~row.known[others]]
        if len(missing):
            row.values[missing] = self._compare(image, missing)
            row.known[missing] = True
            self._bytes += len(missing) * row.values[0].nbytes
        out = row.values[others]
        while self._bytes > self._most and len(self._rows) > 1:
            self._bytes -= self._rows.popitem(last=False)[1].nbytes
        return out

    def _row(self, image: int) -> _Row:
        if image not in self._rows:
            count, patches = len(self._embeddings), int(self._embeddings.grids[image].prod())
            self._rows[image] = _Row(np.empty((count, patches), dtype=np.float32), np.zeros(count, dtype=np.bool_))
        self._rows.move_to_end(image)
        return self._rows[image]

    def _compare(self, image: int, others: IntArray) -> FloatArray:
        query = torch.from_numpy(self._embeddings.patches(image))
        length = query.square().sum(dim=1)
        turned = torch.cat([query, torch.ones((len(query), 1))], dim=1).T.contiguous()  # (D + 1, P)
        gaps = torch.empty((len(others), len(query)))
        for row, other in enumerate(others.tolist()):
            torch.amin(torch.mm(self._bank(other), turned), dim=0, out=gaps[row])
        gaps += length
        return np.asarray(torch.where(gaps > RESOLUTION * length, gaps, 0.0).sqrt().numpy())

    def _bank(self, image: int) -> Tensor:
        if image not in self._banks:
            patches = torch.from_numpy(self._embeddings.patches(image))
            bank = torch.cat([-2 * patches, patches.square().sum(dim=1, keepdim=True)], dim=1)
            self._banks[image] = bank
            self._bank_bytes += bank.nbytes
            while self._bank_bytes > BANK_BYTES and len(self._banks) > 1:
                self._bank_bytes -= self._banks.popitem(last=False)[1].nbytes
        return self._banks[image]
