"""Distances to the nearest patch: what one matrix product gives is what the definition says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from curate.scores.distances import PatchBanks, bank_of, distances, nearest_less_length


def drawn(images: int = 3, patches: int = 7, width: int = 5) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.normal(size=(patches + i, width)).astype(np.float32)) for i in range(images)]


def nearest(query: Tensor, others: list[Tensor]) -> Tensor:
    less_length = torch.empty((len(others), len(query)))
    nearest_less_length(query, map(bank_of, others), less_length)
    return distances(less_length, query)


def test_distances_are_those_of_the_definition():
    query, *others = drawn()
    expected = torch.stack([torch.cdist(query, other).min(dim=1).values for other in others])
    torch.testing.assert_close(nearest(query, others), expected, rtol=1e-4, atol=1e-4)


def test_a_patch_is_exactly_0_from_its_copy_however_long_it_is():
    query = 1000 * drawn()[0]
    assert nearest(query, [query.flip(0)]).tolist() == [[0.0] * len(query)]


def test_rows_without_a_bank_keep_what_they_held():
    query, other, _ = drawn()
    less_length = torch.full((3, len(query)), torch.inf)
    nearest_less_length(query, [bank_of(other)], less_length)
    assert torch.isinf(distances(less_length, query)[1:]).all()
    assert torch.isfinite(distances(less_length, query)[0]).all()


@pytest.mark.parametrize(("memory_bytes", "read"), [(1, [0, 1, 0, 1]), (1 << 20, [0, 1])])
def test_banks_are_read_again_only_where_memory_does_not_hold_them(memory_bytes, read):
    patches, calls = drawn(), list[int]()

    def patches_of(image: int) -> Tensor:
        calls.append(image)
        return patches[image]

    banks = PatchBanks(patches_of, memory_bytes)
    for image in (0, 1, 0, 1):
        assert torch.equal(banks.of(image), bank_of(patches[image]))
    assert calls == read
