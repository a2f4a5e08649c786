"""Several backbones as one: their stages side by side.

What one network does not see, another may: one trained on photographs and one distilled on drawings rank different
parts well. Each network normalises the image as it was trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SeveralNetworks(nn.Module):
    """Networks that see the same image; a call returns the maps of the first, then those of the next.

    Args:
        networks: each returns one map a stage, (B, C, H / stride, W / stride).
        means, stds: of the RGB input in 0-1, of each network.
    """

    def __init__(
        self, networks: Sequence[nn.Module], means: Sequence[tuple[float, ...]], stds: Sequence[tuple[float, ...]]
    ) -> None:
        super().__init__()
        self.means: Tensor
        self.stds: Tensor
        self.networks = nn.ModuleList(networks)
        self.register_buffer("means", torch.tensor(means).view(len(networks), 3, 1, 1))
        self.register_buffer("stds", torch.tensor(stds).view(len(networks), 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of RGB images in 0-1, (B, 3, H, W)."""
        maps: list[Tensor] = []
        for index, network in enumerate(self.networks):
            maps += network((images - self.means[index]) / self.stds[index])
        return maps
