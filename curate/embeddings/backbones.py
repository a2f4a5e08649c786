"""Load a frozen backbone from one of five sources, or several of them side by side (`--backbone A+B`).

They are, in this order: `--weights FILE`, the packaged network, a model imported by `curate models import`, an
installed package of weights, and timm's hub (its local cache first, then a download unless offline). Every tensor of
the pyramid must be in the weights file: a network with any random weights is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from curate.config import DEFAULT_BACKBONE, default_models
from curate.embeddings.catalogue import full_name
from curate.embeddings.packaged import PACKAGED_MEAN, PACKAGED_NAME, PACKAGED_STD, load_packaged, packaged_card
from curate.embeddings.several_networks import SeveralNetworks
from curate.embeddings.timm_pyramids import check_timm_name, timm_pyramid
from curate.embeddings.weight_files import file_sha256, load_weights, read_state
from curate.embeddings.weight_packages import installed_weights, read_installed, refuse_missing, weights_package
from curate.errors import CouldNotFinish, UsageError

__all__ = ["Backbone", "file_sha256", "forward", "hub_file", "load_backbone", "read_state"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A frozen network whose call returns one map a stage, (B, C, H / stride, W / stride).

    Attributes:
        name: as in `--backbone`.
        network: in evaluation mode, without gradients, channels last.
        channels, strides: of each stage.
        mean, std: of the RGB input in 0-1.
        sha256: of the weights file.
        licence: of the weights, "unknown" if the source does not name it.
        source: where the weights came from, for the audit.
        parts: the backbones that stand side by side in it; none for a single network.
    """

    name: str
    network: nn.Module
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str
    licence: str
    source: str
    parts: tuple[Backbone, ...] = ()


def load_backbone(name: str, *, weights: Path | None = None, offline: bool = False) -> Backbone:
    """Load a frozen backbone by name.

    Args:
        name: the packaged network, an imported model, a model of timm, or a short name of one (`catalogue`); several
            with "+" between them stand side by side.
        weights: a safetensors file, or a state dict that `torch.load(weights_only=True)` accepts.
        offline: never ask the hub; its local cache is still used.

    Raises:
        UsageError: timm has no such model, or its stages do not fit.
        InputError: the weights file is missing, is a pickle, or does not fit the model.
        CouldNotFinish: the weights are not on this machine and cannot be fetched.
    """
    if "+" in name:
        return _side_by_side(name, weights, offline)
    if name == PACKAGED_NAME:
        if weights is not None:
            _refuse_weights(name)
        return _packaged()
    name = full_name(name)
    if weights is not None:
        return _from_file(name, weights, source=weights.name)
    imported = default_models() / f"{name}.safetensors"
    if imported.is_file():
        return _from_file(name, imported, source=f"imported {imported.name}")
    installed = installed_weights(name)
    if installed is not None:
        state, sha256 = read_installed(installed), installed.package.sha256
        return _timm_backbone(name, state, file=installed.file, sha256=sha256, source=installed.source)
    refuse_missing(name)
    return _from_file(name, hub_file(name, offline), source="timm hub")


def _side_by_side(name: str, weights: Path | None, offline: bool) -> Backbone:
    names = name.split("+")
    if weights is not None:
        _refuse_weights(name)
    if not all(names) or len({full_name(one) for one in names}) < len(names):
        raise UsageError(f"--backbone {name}: give different names with one + between them, such as {DEFAULT_BACKBONE}")
    parts = tuple(load_backbone(one, offline=offline) for one in names)
    network = SeveralNetworks([p.network for p in parts], [p.mean for p in parts], [p.std for p in parts])
    return Backbone(
        name="+".join(p.name for p in parts),
        network=_freeze(network),
        channels=tuple(count for p in parts for count in p.channels),
        strides=tuple(stride for p in parts for stride in p.strides),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        sha256=hashlib.sha256("+".join(p.sha256 for p in parts).encode()).hexdigest(),
        licence=", ".join(dict.fromkeys(p.licence for p in parts)),
        source=", ".join(p.source for p in parts),
        parts=parts,
    )


def _packaged() -> Backbone:
    network = load_packaged()
    card = packaged_card()
    return Backbone(
        name=PACKAGED_NAME,
        network=_freeze(network),
        channels=tuple(network.feature_info.channels()),
        strides=tuple(network.feature_info.reduction()),
        mean=PACKAGED_MEAN,
        std=PACKAGED_STD,
        sha256=card.sha256,
        licence=card.licence,
        source="packaged",
    )


def _refuse_weights(name: str) -> NoReturn:
    raise UsageError(
        f"--weights needs a timm model, and {name} has its own weights: add --backbone NAME or leave --weights out"
    )


def _from_file(name: str, weights: Path, *, source: str) -> Backbone:
    check_timm_name(name)
    return _timm_backbone(name, read_state(weights), file=weights, sha256=file_sha256(weights), source=source)


def _timm_backbone(name: str, state: Mapping[str, Tensor], *, file: Path, sha256: str, source: str) -> Backbone:
    pyramid = timm_pyramid(name)
    load_weights(pyramid, state, name=name, file=file)
    settings = pyramid.network.pretrained_cfg
    return Backbone(
        name=name,
        network=_freeze(pyramid),
        channels=pyramid.channels,
        strides=pyramid.plan.strides,
        mean=tuple(settings.get("mean", IMAGENET_MEAN)),
        std=tuple(settings.get("std", IMAGENET_STD)),
        sha256=sha256,
        licence=str(settings.get("license") or "unknown"),
        source=source,
    )


def _freeze(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def hub_file(name: str, offline: bool) -> Path:
    """Return timm's published weights from the hub's local cache, or download them.

    Raises:
        UsageError: timm has no such model, or no published weights of it.
        CouldNotFinish: they are not in the cache, and the hub cannot be reached or must not be.
    """
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name = full_name(name)
    check_timm_name(name)
    settings = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if settings is None or not settings.hf_hub_id:
        raise UsageError(
            f"--backbone {name}: timm has no published weights for it; give them with --weights FILE.safetensors"
        )
    try:
        return Path(hf_hub_download(settings.hf_hub_id, published_file(settings), local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CouldNotFinish(_how_to_get_weights(name, offline)) from error


def published_file(settings: Any) -> str:
    """Return the name of timm's published weights in their repository on the hub, by the settings of the model."""
    name = str(settings.hf_hub_filename or "model.safetensors")
    return name.replace("pytorch_model.bin", "model.safetensors")  # timm's own rule: no pickle where there is a choice


def _how_to_get_weights(name: str, offline: bool) -> str:
    reason = "--offline is set" if offline else "the hub cannot be reached"
    package = weights_package(name)
    install = f"install the package {package.name}, " if package else ""
    return (
        f"the weights of {name} are not on this machine and {reason}: give them with --weights FILE.safetensors, "
        f"{install}import a bundle that `curate models export {name}` made elsewhere, or use the packaged backbone "
        f"{PACKAGED_NAME}"
    )


def forward(backbone: Backbone, batch: Tensor) -> Sequence[Tensor]:
    """Run the frozen network on (B, 3, H, W); return one map a stage, (B, C, H / stride, W / stride)."""
    with torch.inference_mode():
        features: Sequence[Tensor] = backbone.network(batch)
    return features
