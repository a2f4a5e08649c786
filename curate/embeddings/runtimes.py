"""Ways to run a frozen backbone: on a CPU by torch or OpenVINO, on an accelerator by torch; in fp32 or bfloat16.

In fp32 all ways give the same descriptors to 1e-3. bfloat16 rounds, and is faster only where the hardware has
instructions for it (on CPUs AMX or AVX512-BF16). `examples/backbone/speed.py` measures them on a machine.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from curate.choices import Precision, Runtime
from curate.errors import UsageError

__all__ = ["Forward", "Precision", "Runtime", "check_precision", "fold_batch_norms", "prepare", "prepare_on"]

Forward = Callable[[Tensor], list[Tensor]]
"""From normalised images, (B, 3, H, W) fp32, to one map a stage, (B, C, H / stride, W / stride) fp32."""


def prepare(
    network: nn.Module, runtime: Runtime = Runtime.TORCH, *, precision: Precision = Precision.FP32, threads: int = 0
) -> Forward:
    """Make a frozen network ready to run on this CPU, BatchNorm folded.

    Args:
        network: in evaluation mode; it is copied, not changed.
        threads: for OpenVINO; 0 lets it choose. Torch has `torch.set_num_threads`.

    Raises:
        UsageError: the runtime is not installed, or cannot run this network.
    """
    folded = fold_batch_norms(network)
    match runtime:
        case Runtime.TORCH:
            return _torch(folded, precision)
        case Runtime.OPENVINO:
            return _openvino(folded, precision, threads)
        case _:
            assert_never(runtime)


def prepare_on(device: str, network: nn.Module, *, precision: Precision = Precision.FP32) -> Forward:
    """Make a frozen network ready to run on an accelerator, in bfloat16 by autocast.

    Args:
        device: as torch names it, e.g. "cuda".
        network: in evaluation mode; it is copied, not changed.

    Returns:
        What runs it on images that are on `device`. The maps stay there.

    Raises:
        UsageError: see `check_precision`.
    """
    check_precision(device, precision)
    network = copy.deepcopy(network).to(device)
    kind, autocast = torch.device(device).type, precision is Precision.BF16

    def run(images: Tensor) -> list[Tensor]:
        with torch.inference_mode(), torch.autocast(kind, dtype=torch.bfloat16, enabled=autocast):
            maps = network(images)
        return [level.float() for level in maps]

    return run


def check_precision(device: str, precision: Precision) -> None:
    """Refuse a precision that a device cannot calculate in.

    Raises:
        UsageError: bfloat16 on a CUDA device without it.
    """
    if torch.device(device).type == "cuda" and precision is Precision.BF16 and not torch.cuda.is_bf16_supported():
        raise UsageError(f"--precision bf16: the device {device} cannot calculate in bfloat16; use --precision fp32")


def _torch(network: nn.Module, precision: Precision) -> Forward:
    kind = torch.bfloat16 if precision is Precision.BF16 else torch.float32
    network = network.to(kind).to(memory_format=torch.channels_last)

    def run(images: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            maps = network(images.to(dtype=kind, memory_format=torch.channels_last))
        return [level.float() for level in maps]

    return run


def _openvino(network: nn.Module, precision: Precision, threads: int) -> Forward:
    try:
        import openvino
    except ImportError as error:
        raise UsageError("--runtime openvino: not installed; run `pip install 'curate-vision[openvino]'`") from error
    try:
        model = _converted(network)
    except RuntimeError as error:
        raise UsageError("--runtime openvino: it cannot run this backbone; use --runtime torch") from error
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BF16 else "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def run(images: Tensor) -> list[Tensor]:
        results = compiled(images.contiguous().numpy())
        return [torch.from_numpy(results[output].copy()) for output in compiled.outputs]

    _refuse_other_maps(network, run, precision)
    return run


def _refuse_other_maps(network: nn.Module, run: Forward, precision: Precision) -> None:
    """Refuse a converted network that gives other maps than torch, at a size that it was not converted at.

    Raises:
        UsageError: it does.
    """
    images = torch.randn(2, 3, 48, 96, generator=torch.Generator().manual_seed(0))
    tolerance = 1e-3 if precision is Precision.FP32 else 0.1
    try:
        with torch.inference_mode():
            wanted, given = network(images), run(images)
        same = all(
            a.shape == b.shape and float((a - b).abs().max()) <= tolerance * float(a.abs().max())
            for a, b in zip(wanted, given, strict=True)
        )
    except RuntimeError as error:
        raise UsageError("--runtime openvino: it cannot run this backbone; use --runtime torch") from error
    if not same:
        raise UsageError("--runtime openvino: it gives other features of this backbone; use --runtime torch")


def _converted(network: nn.Module) -> Any:
    """Convert a network through OpenVINO's frontend: `openvino.convert_model` would send telemetry to the network."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the frontend reads torch.jit, which torch calls deprecated
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(network, example_input=torch.zeros(1, 3, 64, 64))
        return frontend.convert(frontend.load(decoder))


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Return a copy with each BatchNorm folded into the convolution before it, where that changes nothing.

    A convolution and the BatchNorm registered right after it count as a pair. Only running the network shows whether
    they are one, so an unfolded copy is returned if the maps differ.
    """
    folded = copy.deepcopy(network).eval()
    for parent in list(folded.modules()):
        for (name, convolution), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and _is_pair(convolution, norm):
                setattr(parent, name, fuse_conv_bn_eval(convolution, norm))
                setattr(
                    parent, norm_name, getattr(norm, "act", None) or nn.Identity()
                )  # timm's norms may hold the ReLU
    return folded if _alike(network, folded) else copy.deepcopy(network)


def _is_pair(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    return convolution.out_channels == norm.num_features and norm.running_mean is not None


def _alike(network: nn.Module, folded: nn.Module) -> bool:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pairs = zip(network(images), folded(images), strict=True)
        return all(torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(a.nan_to_num().abs().max())) for a, b in pairs)
