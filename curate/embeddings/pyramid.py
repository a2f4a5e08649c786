"""From a batch of images to pooled vectors and patch descriptors.

A patch descriptor joins the stages of the pyramid at one position of a grid of 16 px cells. Each stage is averaged over
3 x 3 of its own locations (locally aware features, Roth et al. 2022, PatchCore, §3.1), averaged down to the grid, and
scaled to unit length at each position, so that no stage dominates and the scale of the backbone does not matter. A
seeded Gaussian projection (Johnson-Lindenstrauss) of each stage gives a fixed width. Unit length and projection are our
own: neither is fitted, so a descriptor depends on its image alone and can be cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from curate.embeddings.frame import PATCH_PX

WIDTH = 128
"""Width of a patch descriptor after the projection."""

RECIPE = ("mean3x3", "unit length by stage", "projected by stage", PATCH_PX, WIDTH)
"""How a descriptor is made, as a part of the cache's keys: change it with the code below."""


def on_grid(features: Sequence[Tensor], strides: Sequence[int]) -> list[Tensor]:
    """Average each stage over 3 x 3 locations and bring it to the patch grid.

    Args:
        features: one map a stage, (B, C, H / stride, W / stride).
        strides: of each stage, in pixels; powers of two up to 16.

    Returns:
        One map a stage, (B, C, H / 16, W / 16).
    """
    maps = []
    for feature, stride in zip(features, strides, strict=True):
        local = functional.avg_pool2d(feature, 3, stride=1, padding=1, count_include_pad=False)
        factor = PATCH_PX // stride
        maps.append(functional.avg_pool2d(local, factor) if factor > 1 else local)
    return maps


def projection(channels: int, width: int, seed: int) -> Tensor:
    """Return a Gaussian projection, (channels, width), that preserves squared distances in expectation."""
    generator = np.random.default_rng(np.random.SeedSequence((seed, channels, width)))
    matrix = generator.standard_normal((channels, width)) / np.sqrt(width)
    return torch.from_numpy(matrix.astype(np.float32))


def stage_columns(stages: int, width: int) -> tuple[slice, ...]:
    """Return the columns that each stage fills in a descriptor of `width`, shared as evenly as possible."""
    edges = [width * stage // stages for stage in range(stages + 1)]
    return tuple(slice(a, b) for a, b in pairwise(edges))


def projection_by_stage(channels: Sequence[int], width: int, seed: int) -> Tensor:
    """Return one projection a stage as one matrix, (sum of channels, width), zero between the stages.

    The stages stay apart in a descriptor, so that a student can learn one from another. Squared distances are still
    preserved.
    """
    matrix = torch.zeros((sum(channels), width))
    top = 0
    for count, part in zip(channels, stage_columns(len(channels), width), strict=True):
        matrix[top : top + count, part] = projection(count, part.stop - part.start, seed)
        top += count
    return matrix


def describe(maps: Sequence[Tensor], matrix: Tensor) -> Tensor:
    """Join the stages at each position of the grid, each at unit length, and project them.

    Args:
        maps: one map a stage, (B, C, rows, columns).
        matrix: (sum of all C, width).

    Returns:
        (B, rows, columns, width), fp32.
    """
    unit = [functional.normalize(stage, dim=1) for stage in maps]
    return torch.cat(unit, dim=1).permute(0, 2, 3, 1) @ matrix


def to_input(crops: NDArray[np.uint8] | NDArray[np.float32], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return a batch of RGB crops, (B, H, W, 3) in 0-255, as the network's input, (B, 3, H, W), channels last."""
    batch = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
    mean_255 = torch.tensor(mean).mul(255).view(1, 3, 1, 1)
    std_255 = torch.tensor(std).mul(255).view(1, 3, 1, 1)
    return ((batch - mean_255) / std_255).contiguous(memory_format=torch.channels_last)
