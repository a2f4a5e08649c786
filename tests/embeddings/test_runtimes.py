from __future__ import annotations

import builtins
import copy

import pytest
import timm
import torch
from torch import nn

from curate.embeddings.packaged import load_packaged
from curate.embeddings.pyramid import describe, on_grid, projection
from curate.embeddings.runtimes import Precision, Runtime, check_precision, fold_batch_norms, prepare, prepare_on
from curate.errors import UsageError


def images(count: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def settled(name: str) -> nn.Module:
    """A timm pyramid whose BatchNorms have statistics of their own, as trained ones have."""
    torch.manual_seed(0)
    network = timm.create_model(name, features_only=True, out_indices=(1, 2, 3), pretrained=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.weight, 0.5, 2)
    return network.eval()


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_folding_removes_every_batch_norm_and_changes_no_map(name: str):
    network = settled(name)
    before = copy.deepcopy(network.state_dict())
    folded = fold_batch_norms(network)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    with torch.inference_mode():
        for a, b in zip(network(images()), folded(images()), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


class Crossed(nn.Module):
    """Registers its layers in an order that is not the order they run in."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.late(self.norm(x))]


def test_a_network_that_folding_would_change_stays_as_it_is():
    torch.manual_seed(0)
    network = Crossed().eval()
    prepared = prepare(network)(images())
    with torch.inference_mode():
        torch.testing.assert_close(prepared, network(images()), rtol=1e-4, atol=1e-5)


def runtimes() -> list[Runtime]:
    try:
        import openvino  # noqa: F401
    except ImportError:
        return [Runtime.TORCH]
    return list(Runtime)


@pytest.mark.parametrize("runtime", runtimes())
def test_every_runtime_gives_the_same_descriptors_to_a_thousandth_whatever_the_size(runtime: Runtime):
    network = load_packaged()
    run, matrix = prepare(network, runtime, threads=2), projection(64 + 128 + 256, 128, 0)
    for batch in (images(2, 96), images(1, 160)):
        with torch.inference_mode():
            wanted = describe(on_grid(network(batch), (4, 8, 16)), matrix)
        found = describe(on_grid(run(batch), (4, 8, 16)), matrix)
        assert (found - wanted).norm(dim=-1).max() < 1e-3


@pytest.mark.parametrize("runtime", runtimes())
def test_bfloat16_moves_a_descriptor_by_less_than_two_hundredths(runtime: Runtime):
    network = load_packaged()
    run, matrix = prepare(network, runtime, precision=Precision.BF16), projection(64 + 128 + 256, 128, 0)
    with torch.inference_mode():
        wanted = describe(on_grid(network(images()), (4, 8, 16)), matrix)
    found = describe(on_grid(run(images()), (4, 8, 16)), matrix)
    assert (found - wanted).norm(dim=-1).max() < 0.02 * wanted.norm(dim=-1).mean()


def descriptors(maps: list[torch.Tensor]) -> torch.Tensor:
    return describe(on_grid(maps, (4, 8, 16)), projection(64 + 128 + 256, 128, 0))


@pytest.mark.parametrize("device", [d for d in ("cpu", "cuda") if d == "cpu" or torch.cuda.is_available()])
def test_on_a_device_bf16_calculates_in_bfloat16_and_returns_float32_close_to_fp32(device: str):
    network, kinds = load_packaged(), set()
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    handles = [
        torch.nn.modules.module.register_module_forward_hook(
            lambda module, _, maps: kinds.add(getattr(maps, "dtype", 0))
        )
    ]
    try:
        exact = prepare_on(device, network)(images().to(device))
        assert kinds - {0} == {torch.float32}
        kinds.clear()
        rounded = prepare_on(device, network, precision=Precision.BF16)(images().to(device))
        assert kinds - {0} == {torch.bfloat16}
    finally:
        for handle in handles:
            handle.remove()
    assert {level.dtype for level in [*exact, *rounded]} == {torch.float32}
    wanted, found = descriptors([m.cpu() for m in exact]), descriptors([m.cpu() for m in rounded])
    assert 0 < (found - wanted).norm(dim=-1).max() < 0.02 * wanted.norm(dim=-1).mean()
    assert all(torch.equal(before[name], weight) for name, weight in network.state_dict().items())


def test_on_a_device_fp32_gives_the_maps_of_the_network_itself():
    network = load_packaged()
    with torch.inference_mode():
        wanted = network(images())
    assert all(torch.equal(a, b) for a, b in zip(prepare_on("cpu", network)(images()), wanted, strict=True))


def test_bf16_is_refused_where_the_cuda_device_cannot_calculate_in_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(UsageError, match=r"--precision bf16: .* cuda cannot .*; use --precision fp32"):
        prepare_on("cuda", load_packaged(), precision=Precision.BF16)
    check_precision("cuda", Precision.FP32)
    check_precision("cpu", Precision.BF16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    check_precision("cuda", Precision.BF16)


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    original = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "openvino":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"curate-vision\[openvino\]"):
        prepare(load_packaged(), Runtime.OPENVINO)
