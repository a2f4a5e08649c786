"""How far is each patch of one image from the nearest patch of another? For every two images that a bench compares.

Draws of one set share most of their images, so each pair is compared once and kept while memory lasts. Patch nearest
neighbours and the memory bank are choices of rows from this.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from curate.records import Embeddings, FloatArray, IntArray
from curate.scores.neighbours import RESOLUTION

MEMORY_BYTES = 1 << 30


class Gaps:
    """The nearest-patch distances between the images of one set.

    Args:
        embeddings: of N images.
        memory_bytes: of distances that are kept.
    """

    def __init__(self, embeddings: Embeddings, memory_bytes: int = MEMORY_BYTES) -> None:
        self._embeddings = embeddings
        self._kept: OrderedDict[int, dict[int, FloatArray]] = OrderedDict()
        self._bytes, self._most = 0, memory_bytes
        self._banks: OrderedDict[int, Tensor] = OrderedDict()

    def of(self, image: int, others: IntArray) -> FloatArray:
        """Return the distance from each of the P patches of `image` to its nearest in each other image: (others, P)."""
        row = self._kept.setdefault(image, {})
        self._kept.move_to_end(image)
        missing = [other for other in others.tolist() if other not in row]
        if missing:
            found = self._compare(image, missing)
            row.update(zip(missing, found, strict=True))
            self._bytes += found.nbytes
        out = np.stack([row[other] for other in others.tolist()])
        while self._bytes > self._most and len(self._kept) > 1:
            self._bytes -= sum(gap.nbytes for gap in self._kept.popitem(last=False)[1].values())
        return out

    def _compare(self, image: int, others: list[int]) -> FloatArray:
        query = torch.from_numpy(self._embeddings.patches(image))
        length = query.square().sum(dim=1)
        turned = torch.cat([query, torch.ones((len(query), 1))], dim=1).T.contiguous()  # (D + 1, P)
        gaps = torch.empty((len(others), len(query)))
        for row, other in enumerate(others):
            torch.amin(torch.mm(self._bank(other), turned), dim=0, out=gaps[row])
        gaps += length
        return np.asarray(torch.where(gaps > RESOLUTION * length, gaps, 0.0).sqrt().numpy())

    def _bank(self, image: int) -> Tensor:
        if image not in self._banks:
            patches = torch.from_numpy(self._embeddings.patches(image))
            self._banks[image] = torch.cat([-2 * patches, patches.square().sum(dim=1, keepdim=True)], dim=1)
            while len(self._banks) > 1024:
                self._banks.popitem(last=False)
        return self._banks[image]
