"""The packaged backbone: a small convolutional network whose weights ship with `curate`, so that none is downloaded.

It was distilled from the first three stages of a ResNet-18 on images drawn by code (`examples/backbone/`). It is called
like a timm backbone made with `features_only=True`: from RGB in 0-1, normalised by ImageNet's mean and standard
deviation, to a list of feature maps.

    >>> backbone = load_packaged()
    >>> [tuple(level.shape) for level in backbone(torch.zeros(1, 3, 256, 256))]
    [(1, 64, 64, 64), (1, 128, 32, 32), (1, 256, 16, 16)]
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from curate.errors import InputError

PACKAGED_NAME = "curate_s"
PACKAGED_MEAN = (0.485, 0.456, 0.406)
PACKAGED_STD = (0.229, 0.224, 0.225)
WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class PyramidInfo:
    """A stand-in for timm's `feature_info`: channels and reduction (stride in px) of each level."""

    levels: tuple[tuple[int, int], ...]

    def channels(self) -> list[int]:
        return [channels for channels, _ in self.levels]

    def reduction(self) -> list[int]:
        return [reduction for _, reduction in self.levels]


@dataclass(frozen=True, kw_only=True)
class PackagedCard:
    """The facts of the model card beside the weights that an audit records."""

    name: str
    sha256: str
    licence: str
    teacher: str
    training_data: str


class CompactPyramid(nn.Module):
    """Plain 3 x 3 convolutions from (B, 3, H, W) to maps at 1/4, 1/8 and 1/16 of the image's height and width.

    Plain convolutions run near a CPU's peak, depthwise ones wait for memory. The trunk is (32) - 64 - 96 - 192 channels
    wide; 1 x 1 heads map its levels to the teacher's 64, 128 and 256 channels, whose distances patch scorers compare.

    Args:
        normalised: with BatchNorm after each convolution, for training; in the shipped weights it is folded.
    """

    def __init__(self, *, normalised: bool = False) -> None:
        super().__init__()
        self.stem = _convolution(3, 32, 2, normalised=normalised)
        self.stages = nn.ModuleList(
            (
                _stage(32, 64, 1, normalised=normalised),
                _stage(64, 96, 3, normalised=normalised),
                _stage(96, 192, 4, normalised=normalised),
            )
        )
        self.heads = nn.ModuleList((nn.Conv2d(64, 64, 1), nn.Conv2d(96, 128, 1), nn.Conv2d(192, 256, 1)))
        self.feature_info = PyramidInfo(((64, 4), (128, 8), (256, 16)))

    def trunk(self, images: Tensor) -> list[Tensor]:
        """Return the maps before the heads: (B, 64, H/4, W/4), (B, 96, H/8, W/8), (B, 192, H/16, W/16)."""
        x = self.stem(images)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return (B, 64, H/4, W/4), (B, 128, H/8, W/8), (B, 256, H/16, W/16), none negative; sizes are rounded up."""
        return [head(x).relu_() for head, x in zip(self.heads, self.trunk(images), strict=True)]


def _convolution(inputs: int, outputs: int, stride: int, *, normalised: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=not normalised)]
    if normalised:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def _stage(inputs: int, outputs: int, depth: int, *, normalised: bool) -> nn.Sequential:
    widths = [inputs] + [outputs] * depth
    return nn.Sequential(
        *(_convolution(widths[i], widths[i + 1], 2 if i == 0 else 1, normalised=normalised) for i in range(depth))
    )


def packaged_weights() -> Path:
    """Return the weights file in the package."""
    return WEIGHTS / f"{PACKAGED_NAME}.safetensors"


def packaged_card() -> PackagedCard:
    """Read the model card beside the weights."""
    facts = tomllib.loads((WEIGHTS / f"{PACKAGED_NAME}.toml").read_text(encoding="utf-8"))
    return PackagedCard(**{field: facts[field] for field in PackagedCard.__dataclass_fields__})


def load_packaged() -> CompactPyramid:
    """Return the packaged backbone, frozen, for inference: fp32, channels_last, BatchNorm folded.

    Raises:
        InputError: the weights do not have the sha256 of the model card.
    """
    data, wanted = packaged_weights().read_bytes(), packaged_card().sha256
    if hashlib.sha256(data).hexdigest() != wanted:
        raise InputError(f"{packaged_weights()}: sha256 differs from the model card's {wanted[:12]}…; reinstall curate")
    backbone = CompactPyramid()
    backbone.load_state_dict({name: weight.float() for name, weight in load_safetensors(data).items()})
    frozen: CompactPyramid = backbone.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return frozen
