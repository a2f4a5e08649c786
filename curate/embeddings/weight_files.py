"""Read weights without running any code in their file, and load them into a network, every tensor of it.

timm changes the tensors of some files before it loads them: names of the original release, position embeddings that
were learnt on another grid of tokens. Its own functions do so here too.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.embeddings.timm_pyramids import UNFIT, TimmPyramid, timm_network
from curate.errors import InputError


def load_weights(pyramid: TimmPyramid, state: Mapping[str, Tensor], *, name: str, file: Path) -> None:
    """Load named tensors into a pyramid; of what is used, only batch counters may be missing.

    Args:
        state: as in the weights file of timm's whole network; what the pyramid does not use is left out.
        name: of timm's network.
        file: where the tensors are from, for the message.

    Raises:
        InputError: a tensor is missing or has another shape.
    """
    weights = pyramid.weights
    wanted = {k: v for k, v in weights.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = _renamed(_as_timm_names_them(name, state, file), wanted)
    wrong = [k for k, v in wanted.items() if k not in given or given[k].shape != v.shape]
    if wrong:
        raise InputError(
            f"{file}: not the weights of {name}: {len(wrong)} of {len(wanted)} tensors are missing or have another "
            f"shape, the first is {wrong[0]}"
        )
    weights.load_state_dict(given, strict=False)


def _as_timm_names_them(name: str, state: Mapping[str, Tensor], file: Path) -> Mapping[str, Tensor]:
    """Rename and resample the tensors of a file as timm does when it loads them."""
    network = timm_network(name)
    change: Any = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if change is None:
        return state
    try:
        changed: Mapping[str, Tensor] = change(dict(state), network)
    except UNFIT as error:
        raise InputError(f"{file}: not the weights of {name}; timm cannot read its tensors as such") from error
    return changed


def _renamed(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors as in timm's flattened pyramids, where `blocks.0.1.x` is `blocks_0.1.x`."""
    given = {}
    for key in wanted:
        source = next((name for name in _unflattened(key) if name in state), None)
        if source is not None:
            given[key] = state[source]
    return given


def _unflattened(key: str) -> list[str]:
    top, dot, rest = key.partition(".")
    breaks = [index for index, letter in enumerate(top) if letter == "_"]
    return [key, *(f"{top[:index]}.{top[index + 1 :]}{dot}{rest}" for index in breaks)]


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a file of named tensors without running any code in it.

    Raises:
        InputError: there is no such file, it is damaged, or it is a pickle of more than tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise InputError(f"{file}: there is no such weights file; check the path of --weights")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return _read_pickled(file, file)
    except SafetensorError as error:
        raise InputError(f"{file}: the safetensors file is damaged ({error}); fetch it again") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read as weights; give a .safetensors file") from error


def read_pinned(file: Path, sha256: str, *, cure: str) -> dict[str, Tensor]:
    """Read a pickled state dict if it is exactly the one that is expected.

    Args:
        sha256: that the file must have, hex.
        cure: what to do where it has another.

    Raises:
        InputError: there is no such file, it cannot be read, or its sha256 is another.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); {cure}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"{file}: its sha256 is not {sha256[:12]}…, which curate expects; {cure}")
    return _read_pickled(file, io.BytesIO(data))


def _read_pickled(file: Path, source: Path | io.BytesIO) -> dict[str, Tensor]:
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{file}: holds pickled code, which is never run; convert it to .safetensors") from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as weights; give a .safetensors file") from error
    return _only_tensors(file, state)


def _only_tensors(file: Path, state: object) -> dict[str, Tensor]:
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{file}: not a plain state dict of tensors; save `model.state_dict()` as .safetensors")
    return dict(state)


def file_sha256(file: Path) -> str:
    """Return the sha256 of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
