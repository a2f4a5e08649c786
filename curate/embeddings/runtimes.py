"""Run a frozen backbone faster: BatchNorm folded, channels last; in bfloat16, or by OpenVINO, where asked for.

`examples/backbone/speed.py` measures what each is worth on a machine. In fp32 all runtimes give the same scores to
1e-3. bfloat16 is faster only where the CPU has instructions for it (AMX, AVX512-BF16), and rounds.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from enum import StrEnum
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from curate.errors import UsageError

Run = Callable[[Tensor], list[Tensor]]
"""From normalised images, (B, 3, H, W) fp32, to one map a stage, (B, C, H / stride, W / stride) fp32."""


class Runtime(StrEnum):
    """What runs the network; OpenVINO is the extra `openvino`."""

    TORCH = "torch"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """In what numbers the network calculates."""

    FP32 = "fp32"
    BF16 = "bf16"


def prepare(
    network: nn.Module, runtime: Runtime = Runtime.TORCH, *, precision: Precision = Precision.FP32, threads: int = 0
) -> Run:
    """Make a frozen network ready to run on this CPU.

    Args:
        network: in evaluation mode; it is copied, not changed.
        threads: for OpenVINO; 0 for its own choice. Torch has `torch.set_num_threads`.

    Raises:
        UsageError: the runtime is not installed.
    """
    folded = fold_batch_norms(network)
    if runtime is Runtime.OPENVINO:
        return _openvino(folded, precision, threads)
    return _torch(folded, precision)


def _torch(network: nn.Module, precision: Precision) -> Run:
    kind = torch.bfloat16 if precision is Precision.BF16 else torch.float32
    network = network.to(kind).to(memory_format=torch.channels_last)

    def run(images: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            maps = network(images.to(dtype=kind, memory_format=torch.channels_last))
        return [level.float() for level in maps]

    return run


def _openvino(network: nn.Module, precision: Precision, threads: int) -> Run:
    try:
        import openvino
    except ImportError as error:
        raise UsageError("--runtime openvino: not installed; run `pip install 'curate[openvino]'`") from error
    model = _converted(network)
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BF16 else "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def run(images: Tensor) -> list[Tensor]:
        results = compiled(images.contiguous().numpy())
        return [torch.from_numpy(results[output].copy()) for output in compiled.outputs]

    return run


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

    A convolution and the BatchNorm registered next to it are taken for a pair; since only running the network shows
    that they are, the copy is thrown away if its maps differ.
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
