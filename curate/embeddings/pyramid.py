"""From a batch of images to pooled vectors and patch descriptors.

A patch descriptor joins the stages of the pyramid at one position of a grid of 16 px cells. Each stage is averaged over
3 x 3 of its own locations (locally aware features, Roth et al. 2022, PatchCore, §3.1), averaged down to the grid, and
scaled to unit length at each position, so that no stage dominates and the scale of the backbone does not matter. Up to
384 channels are kept as they are; where there are more, a seeded Gaussian projection (Johnson-Lindenstrauss) narrows
the widest stages. Unit length and projection are our own: neither is fitted, so a descriptor depends on its image alone
and can be cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from curate.embeddings.frame import PATCH_PX

MOST_WIDTH = 384
"""Width of a patch descriptor at most."""

RECIPE = ("mean3x3", "unit length by stage", "widest stages projected", PATCH_PX, MOST_WIDTH)
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


def stage_widths(channels: Sequence[int]) -> tuple[int, ...]:
    """Return the width of each stage in a descriptor: its channels, or an equal share of what narrower stages leave.

    Examples:
        >>> stage_widths((24, 40, 112)), stage_widths((64, 128, 256)), stage_widths((384, 384, 384))
        ((24, 40, 112), (64, 128, 192), (128, 128, 128))
    """
    widths, left = [0] * len(channels), MOST_WIDTH
    for done, stage in enumerate(sorted(range(len(channels)), key=lambda one: channels[one])):
        widths[stage] = min(channels[stage], left // (len(channels) - done))
        left -= widths[stage]
    return tuple(widths)


def stage_columns(channels: Sequence[int]) -> tuple[slice, ...]:
    """Return the columns that each stage fills in a descriptor."""
    edges = [0, *accumulate(stage_widths(channels))]
    return tuple(slice(a, b) for a, b in pairwise(edges))


def projection_by_stage(channels: Sequence[int], seed: int) -> Tensor:
    """Return what narrows each stage as one matrix, (sum of channels, width), zero between the stages.

    A stage that keeps its channels is not changed. The stages stay apart in a descriptor, so that a student can learn
    one from another. Squared distances are preserved.
    """
    columns = stage_columns(channels)
    matrix = torch.zeros((sum(channels), columns[-1].stop))
    top = 0
    for count, part in zip(channels, columns, strict=True):
        width = part.stop - part.start
        matrix[top : top + count, part] = torch.eye(count) if width == count else projection(count, width, seed)
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
