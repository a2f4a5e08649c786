"""Distances from the patches of one image to their nearest patches in other images, by one matrix product an image.

|x - y|^2 = |x|^2 + (|y|^2 - 2 x.y): a bank holds (-2 y, |y|^2) for each of its patches y, a query (x, 1) for each of
its patches x, so that their product is the squared distance less |x|^2. |x|^2 is the same for every bank and is added
last, to the few values that a caller keeps.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

RESOLUTION = 4e-6
"""Squared distances below this share of a patch's squared length are 0: fp16 does not resolve them."""


def nearest_less_length(query: Tensor, banks: Iterable[Tensor], out: Tensor) -> None:
    """Find the squared distance from each patch to its nearest in each bank, less the patch's own squared length.

    Args:
        query: patches, shape (P, D).
        banks: each as `bank_of` returns it, shape (any number of patches, D + 1).
        out: shape (at least as many rows as banks, P); row b is overwritten by the values of bank b.
    """
    augmented = torch.cat([query, torch.ones((len(query), 1))], dim=1).T.contiguous()  # (D + 1, P)
    for row, bank in enumerate(banks):
        torch.amin(torch.mm(bank, augmented), dim=0, out=out[row])


def distances(less_length: Tensor, query: Tensor) -> Tensor:
    """Return distances, (..., P), from values of `nearest_less_length` and their query; 0 below `RESOLUTION`."""
    squared_length = query.square().sum(dim=1)
    squared = less_length + squared_length
    return torch.where(squared > RESOLUTION * squared_length, squared, 0.0).sqrt()


def bank_of(patches: Tensor) -> Tensor:
    """Return patches, (P, D), as a bank, (P, D + 1): -2 times each patch, and its squared length."""
    return torch.cat([-2 * patches, patches.square().sum(dim=1, keepdim=True)], dim=1)


class PatchBanks:
    """The bank of each image of a set; the banks last used stay in memory. Safe to use from threads.

    Args:
        patches_of: returns the patches of an image, (P, D).
        memory_bytes: how much the banks in memory take at most; one bank always stays.
    """

    def __init__(self, patches_of: Callable[[int], Tensor], memory_bytes: int) -> None:
        self._patches_of, self._memory_bytes = patches_of, memory_bytes
        self._banks: OrderedDict[int, Tensor] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def of(self, image: int) -> Tensor:
        """Return the bank of an image, (P, D + 1)."""
        with self._lock:
            if image in self._banks:
                self._banks.move_to_end(image)
                return self._banks[image]
        bank = bank_of(self._patches_of(image))
        with self._lock:
            if image not in self._banks:
                self._banks[image] = bank
                self._bytes += bank.nbytes
            while self._bytes > self._memory_bytes and len(self._banks) > 1:
                self._bytes -= self._banks.popitem(last=False)[1].nbytes
        return bank
