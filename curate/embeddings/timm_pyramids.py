"""Any network of timm as a pyramid: one map a stage, on grids of 4, 8 and 16 px, whatever the size of the image.

A convolutional network or a hierarchical transformer gives its stages of stride 4, 8 and 16. A network with fewer than
two of these gives what it has, a stage of stride 32 enlarged to 16. A plain vision transformer, whose layers all have
one stride, gives three layers of the middle of its depth: the first ones hold little but colours and edges, the last
ones what sets the classes of the training apart (as for convolutional stages, Roth et al. 2022, PatchCore, §3.1). At
which depths is our own choice. The layers are taken without the network's last norm, which was trained for the last
layer alone; a descriptor brings each stage to unit length anyway. Class and register tokens are left out.

Tokens whose side is no power of two are made one: the image is resized so that a token of 14 px covers 16 px of it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.embeddings.catalogue import SHORT_NAMES
from curate.embeddings.frame import PATCH_PX
from curate.embeddings.packaged import PACKAGED_NAME
from curate.errors import UsageError

STRIDES = (4, 8, 16)
"""The strides in pixels of the stages that are used, where a network has two of them."""

LARGEST_STRIDE = 32
LAYER_DEPTHS = (1 / 3, 1 / 2, 3 / 4)
"""The layers of a plain transformer that are used, as shares of its depth."""

ANY_SIZE: tuple[dict[str, bool], ...] = ({"strict_img_size": False}, {"dynamic_img_size": True}, {})
"""Options by which timm's networks take images of any size; which of them a network knows, only trying shows."""

TRIAL_SIZES = ((2 * PATCH_PX, 3 * PATCH_PX), (10 * PATCH_PX, 7 * PATCH_PX))
"""Heights and widths that each network must take: the shortest side of a frame, and more than one window of tokens."""

HOOKS = Lock()
"""Held while a network runs that returns its stages through hooks: they share one place for all threads."""

UNFIT = (AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What timm raises where a network cannot be built or run as it is asked to."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """Which stages of a network are used, and how they come to strides that are powers of two.

    Attributes:
        indices: of the stages, in timm's order.
        strides: of the maps that are returned, in pixels of the image; powers of two from 4 to 16.
        enlarged: the strides before stages of stride 32 are enlarged.
        scale: what the image's sides are multiplied by, (numerator, denominator).
    """

    indices: tuple[int, ...]
    strides: tuple[int, ...]
    enlarged: tuple[int, ...]
    scale: tuple[int, int]


def plan_stages(reductions: Sequence[int]) -> StagePlan | None:
    """Choose among a network's stages.

    Args:
        reductions: the stride of each stage in pixels of its input, in the order in which they run.

    Returns:
        The plan; None if no stage has a stride of 4 to 32, or strides are not powers of two of one another.
    """
    token = min(reductions, default=0)
    if token < 1:
        return None
    cell = 2 ** round(math.log2(token))
    scaled = [reduction * cell / token for reduction in reductions]
    if any(not math.log2(stride).is_integer() for stride in scaled):
        return None
    strides = [int(stride) for stride in scaled]
    indices = _layers(len(strides)) if len(set(strides)) == 1 else _stages(strides)
    chosen = tuple(strides[index] for index in indices)
    if not chosen or not STRIDES[0] <= min(chosen) <= max(chosen) <= LARGEST_STRIDE:
        return None
    strides_px = tuple(min(stride, PATCH_PX) for stride in chosen)
    return StagePlan(indices=indices, strides=strides_px, enlarged=chosen, scale=(token, cell))


def _layers(depth: int) -> tuple[int, ...]:
    return tuple(sorted({max(1, round(depth * share)) - 1 for share in LAYER_DEPTHS}))


def _stages(strides: Sequence[int]) -> tuple[int, ...]:
    last = {stride: index for index, stride in enumerate(strides)}
    wanted = [stride for stride in STRIDES if stride in last]
    if len(wanted) < 2:
        wanted = [stride for stride in sorted(last) if STRIDES[0] <= stride <= LARGEST_STRIDE]
    return tuple(last[stride] for stride in wanted)


class TimmPyramid(nn.Module):
    """A network of timm whose call returns one map a stage, (B, C, H / stride, W / stride).

    Args:
        network: made by timm with `features_only`.
        plan: of its stages.
    """

    def __init__(self, network: Any, plan: StagePlan) -> None:
        super().__init__()
        self.network = network
        self.plan = plan
        self.channels = tuple(network.feature_info.channels())
        self.channels_last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
        self.hooked = getattr(network, "hooks", None) is not None or getattr(network, "feature_hooks", None) is not None

    @property
    def weights(self) -> Any:
        """The network whose tensors have the names of the weights file."""
        return getattr(self.network, "model", self.network)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of normalised images, (B, 3, H, W)."""
        height, width = images.shape[-2:]
        sized = self._resized(images, height, width)
        if self.hooked:
            with HOOKS:
                maps = self.network(sized)
        else:
            maps = self.network(sized)
        if self.channels_last:
            maps = [level.permute(0, 3, 1, 2) for level in maps]
        return [
            _to_size(level, (-(-height // stride), -(-width // stride)))
            for level, stride in zip(maps, self.plan.strides, strict=True)
        ]

    def _resized(self, images: Tensor, height: int, width: int) -> Tensor:
        """Resize images so that each token covers a power of two of their pixels, and whole tokens cover them."""
        token, cell = self.plan.scale
        largest = max(self.plan.enlarged)
        if token == cell and largest <= PATCH_PX:
            return images
        size = tuple(-(-side // largest) * largest * token // cell for side in (height, width))
        resized = functional.interpolate(images.float(), size, mode="bilinear", antialias=True)  # no bfloat16 on a CPU
        return resized.to(images.dtype)


def _to_size(level: Tensor, size: tuple[int, int]) -> Tensor:
    if level.shape[-2:] == size:
        return level
    return functional.interpolate(level, size, mode="bilinear")


def timm_pyramid(name: str) -> TimmPyramid:
    """Build a network of timm with random weights, cut off after the last stage that is used.

    Args:
        name: timm's, with or without the tag of its weights.

    Raises:
        UsageError: timm has no such network, it has no stages that fit, or it takes images of one size alone.
    """
    import timm

    check_timm_name(name)
    try:
        options, reductions = _shape_of(name)
        plan = plan_stages(reductions)
        if plan is None:
            raise UsageError(
                f"--backbone {name}: its stages, of stride {', '.join(map(str, reductions))} px, do not fit a grid of "
                f"{PATCH_PX} px; `curate models list` lists backbones"
            )
        network = timm.create_model(name, features_only=True, out_indices=plan.indices, **options)
    except UNFIT as error:
        raise UsageError(
            f"--backbone {name}: timm cannot take it apart into stages; `curate models list` lists backbones"
        ) from error
    pyramid = TimmPyramid(_without_later_blocks(network), plan).eval()
    _try_sizes(name, pyramid)
    return pyramid


def timm_network(name: str) -> Any:
    """Return the whole network of timm, with its classifier, as a shape without values: torch's device "meta".

    Raises:
        UsageError: timm has no such network.
    """
    import timm

    check_timm_name(name)
    with torch.device("meta"):
        return timm.create_model(name, **_shape_of(name)[0])


def check_timm_name(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        UsageError: it does not; the nearest names are given.
    """
    import timm

    base = name.split(".", 1)[0]
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, [PACKAGED_NAME, *SHORT_NAMES, *timm.list_models()], n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `curate models list` lists the models"
        raise UsageError(f"--backbone {name}: not packaged, not imported, and not a model of timm{hint}")


@cache
def _shape_of(name: str) -> tuple[dict[str, Any], list[int]]:
    """Return the options with which a network takes images of any size, and the stride of each of its stages."""
    padding = _padding(name)
    for options in ANY_SIZE[:-1]:
        try:
            return options | padding, _reductions(name, options | padding)
        except TypeError:
            continue  # the network does not know the option
    return padding, _reductions(name, padding)


def _reductions(name: str, options: dict[str, Any]) -> list[int]:
    import timm

    with torch.device("meta"):
        stages = timm.create_model(name, features_only=True, **options).feature_info.info
    return [int(stage["reduction"]) for stage in stages]


def _padding(name: str) -> dict[str, Any]:
    """Return the padding with which published weights from TensorFlow were trained."""
    return {"pad_type": "same"} if name.startswith("mobilenetv2_100") else {}


def _without_later_blocks(network: Any) -> Any:
    """Drop the blocks after the last stage, which timm keeps in its EfficientNets and MobileNets of version 3."""
    blocks, taken = getattr(network, "blocks", None), getattr(network, "_stage_out_idx", None)
    if isinstance(blocks, nn.Sequential) and taken and getattr(network, "feature_hooks", None) is None:
        network.blocks = blocks[: max(taken)]
    return network


def _try_sizes(name: str, pyramid: TimmPyramid) -> None:
    """Refuse a network that does not take images of any size.

    Raises:
        UsageError: it does not.
    """
    try:
        with torch.inference_mode():
            widths = [[level.shape[1] for level in pyramid(torch.zeros(1, 3, *size))] for size in TRIAL_SIZES]
    except UNFIT as error:
        raise UsageError(
            f"--backbone {name}: this timm model does not take images of every size from {TRIAL_SIZES[0][0]} px on; "
            "`curate models list` lists others"
        ) from error
    if any(tuple(channels) != pyramid.channels for channels in widths):
        raise UsageError(f"--backbone {name}: its stages are not what timm says; `curate models list` lists others")
