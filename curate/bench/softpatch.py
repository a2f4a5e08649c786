"""SoftPatch (Xi et al. 2022, NeurIPS), written from the paper: a memory bank that leaves noisy patches out.

Every patch gets a local outlier factor (LOF, Breunig et al. 2000) among the patches at its own position in the other
images. The 15 % of patches with the highest factors are left out; a tenth of the others form a coreset, each patch
with its factor as its weight. The score of a patch is its distance to the nearest patch of the coreset times that
patch's weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.records import Embeddings, FloatArray

NEIGHBOURS = 6
NOISE_SHARE, CORESET_SHARE = 0.15, 0.1
POSITIONS_AT_A_TIME = 64
CORESET_MOST, CORESET_OF = 4_000, 20_000
"""Limit of the patches of a coreset, and of the seeded sample that it is chosen from: the choice is quadratic."""

CORESET_WIDTH = 32
"""Columns of the seeded projection in which the coreset is chosen."""


def common_grid(embeddings: Embeddings) -> Tensor:
    """Return all patches on one grid, the median one: (M, positions, D).

    Images of another grid are sampled at the nearest positions. The paper's images are all of one size.
    """
    rows, columns = np.median(embeddings.grids, axis=0).astype(int).tolist()
    out = torch.empty((len(embeddings), rows * columns, embeddings.width))
    for image, (own_rows, own_columns) in enumerate(embeddings.grids.tolist()):
        grid = embeddings.patches(image).reshape(own_rows, own_columns, -1)
        at = np.arange(rows) * own_rows // rows, np.arange(columns) * own_columns // columns
        out[image] = torch.from_numpy(grid[at[0][:, None], at[1]].reshape(rows * columns, -1))
    return out


def local_outlier_factors(patches: Tensor, neighbours: int = NEIGHBOURS) -> FloatArray:
    """Return the LOF of each patch at its position, about 1 if nominal: (M, positions, D) -> (positions, M).

    Source: Breunig et al. 2000, §4, definitions 5 to 7.
    """
    turned, count = patches.transpose(0, 1), min(neighbours, len(patches) - 1)
    if count < 1:
        return np.ones((patches.shape[1], len(patches)), dtype=np.float32)
    parts = [_factors(part, count) for part in torch.split(turned, POSITIONS_AT_A_TIME)]
    return np.asarray(torch.cat(parts).numpy())


def _factors(block: Tensor, count: int) -> Tensor:
    """Return the LOF within each row of a block, (B, M, D) -> (B, M)."""
    distances = torch.cdist(block, block)
    distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    nearest, indices = distances.topk(count, dim=2, largest=False)  # (B, M, k)
    k_distance = nearest[:, :, -1].unsqueeze(1).expand(-1, block.shape[1], -1)
    reachable = torch.maximum(nearest, torch.gather(k_distance, 2, indices))
    density = 1 / (reachable.mean(dim=2) + 1e-10)
    return torch.gather(density.unsqueeze(1).expand(-1, block.shape[1], -1), 2, indices).mean(dim=2) / density


@dataclass(frozen=True)
class SoftBank:
    """A memory bank of K patches, (K, D), and the weight of each, (K,)."""

    patches: Tensor
    weights: Tensor

    def anomaly_map(self, patches: FloatArray) -> FloatArray:
        """Return the weighted distance of each patch to its nearest in the bank, (P, D) -> (P,)."""
        distance, nearest = torch.cdist(torch.from_numpy(patches), self.patches).min(dim=1)
        return np.asarray((distance * self.weights[nearest]).numpy())


def fit(embeddings: Embeddings, seed: int) -> SoftBank:
    """Build the bank of a training set of M images; the seed fixes the coreset's projection and start."""
    patches = common_grid(embeddings)
    factors = torch.from_numpy(local_outlier_factors(patches)).T.reshape(-1)  # image by image
    flat = patches.reshape(len(factors), -1)
    kept = torch.nonzero(factors <= torch.from_numpy(np.quantile(factors.numpy(), [1 - NOISE_SHARE]))).ravel()
    chosen = kept[coreset(flat[kept], min(CORESET_MOST, max(1, int(CORESET_SHARE * len(factors)))), seed)]
    return SoftBank(flat[chosen], factors[chosen].clamp(min=0))


def coreset(patches: Tensor, count: int, seed: int) -> Tensor:
    """Choose `count` patches, each the farthest from those chosen before (Roth et al. 2022, PatchCore, §3.2)."""
    rng = np.random.default_rng(seed)
    sample = torch.from_numpy(np.sort(rng.permutation(len(patches))[:CORESET_OF]))
    count = min(count, len(sample))
    matrix = torch.from_numpy(rng.standard_normal((patches.shape[1], CORESET_WIDTH)).astype(np.float32))
    small = patches[sample] @ matrix
    square = small.square().sum(dim=1)
    nearest = torch.full((len(small),), torch.inf)
    chosen = torch.empty(count, dtype=torch.int64)
    at = int(rng.integers(len(small)))
    for index in range(count):
        chosen[index] = at
        torch.minimum(nearest, square - 2 * (small @ small[at]) + square[at], out=nearest)
        at = int(nearest.argmax())
    return sample[chosen]
