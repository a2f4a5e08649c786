"""Load a frozen backbone from one of four sources.

They are, in this order: `--weights FILE`, the packaged network, a model imported by `curate models import`, and timm's
hub (its local cache first, then a download unless offline). Every tensor of the pyramid must be in the weights file: a
network with any random weights is refused.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from curate.config import default_models
from curate.embeddings.packaged import PACKAGED_MEAN, PACKAGED_NAME, PACKAGED_STD, load_packaged, packaged_card
from curate.errors import CouldNotFinish, InputError, UsageError

STRIDES = (4, 8, 16)
"""The strides in pixels of the stages that are used."""

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


def load_backbone(name: str, *, weights: Path | None = None, offline: bool = False) -> Backbone:
    """Load a frozen backbone by name.

    Args:
        name: the packaged network, an imported model, or a timm model with stages of stride 4, 8 and 16.
        weights: a safetensors file, or a state dict that `torch.load(weights_only=True)` accepts.
        offline: never ask the hub; its local cache is still used.

    Raises:
        UsageError: timm has no such model, or it has no such stages.
        InputError: the weights file is missing, is a pickle, or does not fit the model.
        CouldNotFinish: the weights are not on this machine and cannot be fetched.
    """
    if name == PACKAGED_NAME:
        return _packaged() if weights is None else _refuse_weights(name)
    if weights is not None:
        return _timm_backbone(name, weights, source=weights.name)
    imported = default_models() / f"{name}.safetensors"
    if imported.is_file():
        return _timm_backbone(name, imported, source=f"imported {imported.name}")
    return _timm_backbone(name, hub_file(name, offline), source="timm hub")


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


def _refuse_weights(name: str) -> Backbone:
    raise UsageError(
        f"--weights needs a timm model, and {name} has its own weights: add --backbone NAME or leave --weights out"
    )


def _timm_backbone(name: str, weights: Path, *, source: str) -> Backbone:
    network = _timm_pyramid(name)
    load_weights(network, weights, name)
    settings = network.pretrained_cfg
    return Backbone(
        name=name,
        network=_freeze(network),
        channels=tuple(network.feature_info.channels()),
        strides=tuple(network.feature_info.reduction()),
        mean=tuple(settings.get("mean", IMAGENET_MEAN)),
        std=tuple(settings.get("std", IMAGENET_STD)),
        sha256=file_sha256(weights),
        licence=str(settings.get("license") or "unknown"),
        source=source,
    )


def _freeze(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _timm_pyramid(name: str) -> Any:
    """Build a timm model, cut down to the stages of stride 4, 8 and 16, with random weights."""
    import timm

    _check_timm_name(name)
    try:
        strides = timm.create_model(name, features_only=True, pretrained=False).feature_info.reduction()
        last = {stride: index for index, stride in enumerate(strides)}
        return timm.create_model(
            name, features_only=True, pretrained=False, out_indices=tuple(last[s] for s in STRIDES), **_padding(name)
        )
    except (KeyError, RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{name}: this timm model has no feature pyramid of strides 4, 8 and 16; "
            "choose a convolutional one such as resnet18"
        ) from error


def _padding(name: str) -> dict[str, str]:
    """Return the padding with which published weights from TensorFlow were trained."""
    return {"pad_type": "same"} if name.startswith("mobilenetv2_100") else {}


def _check_timm_name(name: str) -> None:
    import timm

    base = name.split(".", 1)[0]
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, [PACKAGED_NAME, *timm.list_models()], n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `curate models list` lists the models"
        raise UsageError(f"--backbone {name}: not packaged, not imported, and not a model of timm{hint}")


def load_weights(network: nn.Module, file: Path, name: str) -> None:
    """Load `file` into `network`; only batch counters may be missing.

    Raises:
        InputError: see `read_state`; or a tensor is missing or has another shape.
    """
    state = _renamed(read_state(file), network.state_dict())
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    wrong = [k for k, v in wanted.items() if k not in state or state[k].shape != v.shape]
    if wrong:
        raise InputError(
            f"{file}: not the weights of {name}: {len(wrong)} of {len(wanted)} tensors are missing or have another "
            f"shape, the first is {wrong[0]}"
        )
    network.load_state_dict({k: state[k] for k in wanted}, strict=False)


def _renamed(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors as in timm's flattened pyramid, where `blocks.0.1.x` is `blocks_0.1.x`."""
    flat = {re.sub(r"^(\w+)\.(\d+)\.", r"\1_\2.", key): value for key, value in state.items()}
    return {key: state[key] if key in state else flat[key] for key in wanted if key in state or key in flat}


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a file of named tensors without running any code in it.

    Raises:
        InputError: there is no such file, it is damaged, or it is a pickle of more than tensors.
    """
    import pickle

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise InputError(f"{file}: there is no such weights file; check the path of --weights")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise InputError(f"{file}: the safetensors file is damaged ({error}); fetch it again") from error
    except pickle.UnpicklingError as error:
        raise InputError(f"{file}: holds pickled code, which is never run; convert it to .safetensors") from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as weights; give a .safetensors file") from error
    return _only_tensors(file, state)


def _only_tensors(file: Path, state: object) -> dict[str, Tensor]:
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{file}: not a plain state dict of tensors; save `model.state_dict()` as .safetensors")
    return dict(state)


def hub_file(name: str, offline: bool) -> Path:
    """Return timm's published weights from the hub's local cache, or download them.

    Raises:
        UsageError: timm has no such model, or no published weights of it.
        CouldNotFinish: they are not in the cache, and the hub cannot be reached or must not be.
    """
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    _check_timm_name(name)
    settings = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if settings is None or not settings.hf_hub_id:
        raise UsageError(
            f"--backbone {name}: timm has no published weights for it; give them with --weights FILE.safetensors"
        )
    try:
        return Path(hf_hub_download(settings.hf_hub_id, "model.safetensors", local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CouldNotFinish(_how_to_get_weights(name, offline)) from error


def _how_to_get_weights(name: str, offline: bool) -> str:
    reason = "--offline is set" if offline else "the hub cannot be reached"
    return (
        f"the weights of {name} are not on this machine and {reason}: give them with --weights FILE.safetensors, "
        f"import a bundle that `curate models export {name}` made elsewhere, or use the packaged backbone "
        f"{PACKAGED_NAME}"
    )


def file_sha256(file: Path) -> str:
    """Return the sha256 of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def forward(backbone: Backbone, batch: Tensor) -> Sequence[Tensor]:
    """Run the frozen network on (B, 3, H, W); return one map a stage, (B, C, H / stride, W / stride)."""
    with torch.inference_mode():
        features: Sequence[Tensor] = backbone.network(batch)
    return features
