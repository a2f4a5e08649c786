"""Patches that coupling flows are trained on: one pool for the whole set, whitened anew for each flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.records import Embeddings, FloatArray, IntArray
from curate.scores.position_gaussians import PositionGaussians
from curate.scores.positions import positions_of

POOL_PATCHES = 65_536
"""Patches in the pool, over all images."""

FREQUENCIES = (1, 2)
"""Half-turns of the position encoding along each side of an image."""

ENCODING_WIDTH = 4 * len(FREQUENCIES)

Batch = tuple[Tensor, Tensor | None]
"""Whitened patches (B, D), and their condition (B, C) if the flow takes one."""


def encode_positions(positions: FloatArray) -> Tensor:
    """Return the sine and cosine encoding of positions, (P, 2) row and column in 0-1 -> (P, ENCODING_WIDTH)."""
    angles = np.concatenate([np.pi * frequency * positions for frequency in FREQUENCIES], axis=1)
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1, dtype=np.float32))


@dataclass(frozen=True)
class PatchPool:
    """The same number m of patches from each of N images.

    Attributes:
        patches: (N, m, D) descriptors, fp16.
        positions: (N, m, 2) row and column, 0-1.
        noise: (N, m, D) standard normal, fp16.
    """

    patches: Tensor
    positions: FloatArray
    noise: Tensor


def draw_pool(embeddings: Embeddings, rng: np.random.Generator) -> PatchPool:
    """Draw patches from every image, without replacement where the image has at least m."""
    count = len(embeddings)
    per_image = max(1, min(int(embeddings.patch_counts().max()), POOL_PATCHES // count))
    patches = np.empty((count, per_image, embeddings.width), dtype=np.float16)
    positions = np.empty((count, per_image, 2), dtype=np.float32)
    for image, (rows, columns) in enumerate(embeddings.grids.tolist()):
        chosen = (
            rng.permutation(rows * columns)[:per_image]
            if rows * columns >= per_image
            else rng.integers(rows * columns, size=per_image)
        )
        patches[image] = embeddings.source.read(image)[chosen]
        positions[image] = positions_of(rows, columns)[chosen]
    noise = rng.standard_normal(patches.shape, dtype=np.float32).astype(np.float16)
    return PatchPool(torch.from_numpy(patches), positions, torch.from_numpy(noise))


@dataclass(frozen=True)
class WhitenedPatches:
    """What one flow learns from: whitened patches of R images, with the noise that the ridge stands for.

    Attributes:
        x: (R, m, D).
        condition: (R, m, C); None for a flow that does not take the position.
        meta_set: indices, 0 to R - 1, of the images in the meta-set.
    """

    x: Tensor
    condition: Tensor | None
    meta_set: IntArray

    def batch(self, images: IntArray, size: int, rng: np.random.Generator) -> Batch:
        """Draw `size` patches, evenly from `images`, (any number,) indices 0 to R - 1."""
        rows = torch.from_numpy(np.resize(images, size))
        columns = torch.from_numpy(rng.integers(self.x.shape[1], size=size))
        return self.x[rows, columns], None if self.condition is None else self.condition[rows, columns]


def whiten_pool(
    pool: PatchPool, images: IntArray, gaussians: PositionGaussians, *, meta_set: IntArray, conditioned: bool
) -> WhitenedPatches:
    """Whiten the pool's patches of some images.

    Args:
        pool: of N images.
        images: (R,) indices, 0 to N - 1.
        gaussians: that whiten.
        meta_set: indices, 0 to N - 1; those outside `images` are ignored.
        conditioned: whether the flow takes the position.
    """
    positions = pool.positions[images].reshape(-1, 2)
    shape = pool.patches[images].shape
    noisy = pool.patches[images].float() + gaussians.noise * pool.noise[images].float()
    x, _ = gaussians.whiten(noisy.reshape(-1, shape[-1]), positions)
    condition = encode_positions(positions).reshape(*shape[:2], -1) if conditioned else None
    return WhitenedPatches(x.reshape(shape), condition, np.flatnonzero(np.isin(images, meta_set)))
