"""Each family of timm's networks, with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import timm
import torch
from torch import nn

from curate.choices import Precision, Runtime
from curate.embeddings.backbones import Backbone
from curate.embeddings.engines.cache import EmbedSettings
from curate.embeddings.engines.network import PatchNetwork
from curate.embeddings.runtimes import prepare
from curate.embeddings.timm_pyramids import TimmPyramid, plan_stages, timm_pyramid
from curate.errors import UsageError
from curate.images.decode import DecodeConfig
from curate.images.levels import Levels

FAMILIES = {
    "resnet18": (4, 8, 16),
    "mobilenetv3_small_050": (4, 8, 16),
    "tf_efficientnet_lite0": (4, 8, 16),
    "convnext_atto": (4, 8, 16),
    "swin_tiny_patch4_window7_224": (4, 8, 16),
    "vit_small_patch14_dinov2": (16, 16, 16),
    "vit_small_patch14_reg4_dinov2": (16, 16, 16),
    "vit_small_patch16_dinov3": (16, 16, 16),
    "vit_base_patch16_siglip_224": (16, 16, 16),
    "deit_tiny_distilled_patch16_224": (16, 16, 16),
    "vit_small_patch8_224": (8, 8, 8),
    "shvit_s1": (16, 16),  # of stride 16, 32 and 64
}


@pytest.fixture(scope="module", autouse=True)
def forget_networks() -> Iterator[None]:
    yield
    drawn.cache_clear()


@cache
def drawn(name: str) -> TimmPyramid:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm_pyramid(name).requires_grad_(False)


def images(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def patch_network(name: str) -> PatchNetwork:
    network = drawn(name)
    backbone = Backbone(
        name=name,
        network=network,
        channels=network.channels,
        strides=network.plan.strides,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        sha256="",
        licence="",
        source="drawn",
    )
    return PatchNetwork(backbone, EmbedSettings(long_px=384, decode=DecodeConfig(), levels=Levels()))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_maps_of_the_promised_size_and_the_same_bytes_twice(name: str):
    network, strides = drawn(name), FAMILIES[name]
    assert network.plan.strides == strides
    for height, width in ((96, 96), (32, 240)):
        maps = network(images(1, height, width))
        assert [tuple(level.shape) for level in maps] == [
            (1, channels, height // stride, width // stride)
            for channels, stride in zip(network.channels, strides, strict=True)
        ]
        assert all(torch.equal(a, b) for a, b in zip(maps, network(images(1, height, width)), strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_has_the_same_bytes_alone_and_in_a_batch_also_in_tiles(name: str):
    network = patch_network(name)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 528, 48, 3), dtype=np.uint8)
    together, pooled = network.describe(pixels)
    assert together.shape[:3] == (2, 33, 3)
    for index in range(2):
        alone, vector = network.describe(pixels[index : index + 1])
        assert alone.tobytes() == together[index : index + 1].tobytes()
        assert vector.tobytes() == pooled[index : index + 1].tobytes()


@pytest.mark.parametrize(
    ("reductions", "indices", "strides"),
    [
        ((2, 4, 8, 16, 32), (1, 2, 3), (4, 8, 16)),
        ((1, 2, 4, 8, 16, 32), (2, 3, 4), (4, 8, 16)),
        ((8, 16, 32), (0, 1), (8, 16)),
        ((4, 4, 8, 8, 32), (1, 3), (4, 8)),
        ((16, 32, 64), (0, 1), (16, 16)),
        ((8, 32), (0, 1), (8, 16)),
        ((7, 14, 14), (0, 2), (8, 16)),
        ((14,) * 12, (3, 5, 8), (16,) * 3),
        ((16,) * 24, (7, 11, 17), (16,) * 3),
        ((32,) * 12, (3, 5, 8), (16,) * 3),
        ((8,) * 12, (3, 5, 8), (8,) * 3),
        ((16, 16), (0, 1), (16, 16)),
    ],
)
def test_stages_of_4_to_16_px_are_taken_and_a_third_a_half_and_three_quarters_of_a_plain_transformer(
    reductions: tuple[int, ...], indices: tuple[int, ...], strides: tuple[int, ...]
):
    plan = plan_stages(reductions)
    assert plan is not None
    assert (plan.indices, plan.strides) == (indices, strides)


@pytest.mark.parametrize("reductions", [(), (0,), (2, 2), (64, 64), (12, 17)])
def test_stages_that_fit_no_grid_have_no_plan(reductions: tuple[int, ...]):
    assert plan_stages(reductions) is None


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("crossvit_9_240", "stride 12, .*17 px, do not fit a grid of 16 px"),
        ("beit_base_patch16_224", "does not take images of every size"),
        ("inception_v3", "does not take images of every size"),
        ("hrnet_w18_small", "does not take images of every size"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused_in_one_sentence(name: str, complaint: str):
    with pytest.raises(UsageError, match=f"--backbone {name}: .*{complaint}") as caught:
        timm_pyramid(name)
    assert "\n" not in str(caught.value)


def test_the_layers_of_a_transformer_are_timms_without_class_and_register_tokens():
    network = drawn("vit_small_patch14_reg4_dinov2")
    whole = timm.create_model("vit_small_patch14_reg4_dinov2", dynamic_img_size=True).eval()
    whole.load_state_dict(network.weights.state_dict(), strict=False)
    seen = nn.functional.interpolate(images(1, 64, 160), (56, 140), mode="bilinear", antialias=True)
    with torch.inference_mode():
        wanted = whole.forward_intermediates(seen, indices=[3, 5, 8], intermediates_only=True)
        assert all(torch.equal(a, b) for a, b in zip(network(images(1, 64, 160)), wanted, strict=True))


def without_blocks(name: str) -> TimmPyramid:
    """A vision transformer whose blocks change nothing: its maps are tokens and position embeddings."""
    network = timm_pyramid(name).requires_grad_(False)
    for block in network.weights.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
    network.weights.patch_embed.proj.bias.zero_()
    return network


def test_position_embeddings_are_stretched_to_the_aspect_ratio_of_the_image():
    network = without_blocks("vit_tiny_patch16_224")
    network.weights.patch_embed.proj.weight.zero_()
    grid = torch.zeros(14, 14, network.channels[0])
    grid[..., 0] = torch.linspace(0, 1, 14)[:, None]
    grid[..., 1] = torch.linspace(0, 1, 14)[None, :]
    network.weights.pos_embed.copy_(torch.cat((torch.zeros(1, network.channels[0]), grid.flatten(0, 1)))[None])
    level = network(images(1, 64, 320))[0][0]
    assert level.shape[1:] == (4, 20)
    for values in (level[0].mean(1), level[1].mean(0)):
        assert (values.diff() > 0).all()
        torch.testing.assert_close(values[[0, -1]], torch.tensor([0.0, 1.0]), atol=0.15, rtol=0)


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_tiny_patch16_224", "vit_small_patch8_224"])
def test_a_token_covers_its_cell_of_the_image(name: str):
    network = without_blocks(name)
    network.weights.pos_embed.zero_()
    network.weights.patch_embed.proj.weight.fill_(1e-3)
    plain = torch.zeros(1, 3, 96, 160)
    marked = plain.clone()
    marked[..., 32:48, 112:128] = 1
    for level, stride in zip(network(marked), network.plan.strides, strict=True):
        token = level[0, 0]
        inside = token[32 // stride : 48 // stride, 112 // stride : 128 // stride]
        assert inside.min() > 0.9 * token.max()
        assert inside.sum() > 0.9 * token.sum()


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050", "convnext_atto", "resnet18"])
def test_what_comes_after_the_last_stage_is_dropped(name: str):

    calls = []
    handles = [m.register_forward_hook(lambda module, *_: calls.append(module)) for m in drawn(name).modules()]
    drawn(name)(images(1, 64, 64))
    for handle in handles:
        handle.remove()
    weighted = [m for m in drawn(name).modules() if next(m.parameters(recurse=False), None) is not None]

    assert all(any(module is called for called in calls) for module in weighted)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "vit_small_patch14_dinov2", "vit_small_patch16_dinov3"])
def test_openvino_gives_the_same_maps_whatever_size_it_was_converted_at(name: str):
    pytest.importorskip("openvino")
    run = prepare(drawn(name), Runtime.OPENVINO, threads=1)
    for given, wanted in zip(run(images(2, 48, 144)), drawn(name)(images(2, 48, 144)), strict=True):
        assert (given - wanted).abs().max() < 1e-3 * wanted.abs().max()


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch16_dinov3", "shvit_s1"])
def test_bfloat16_gives_nearly_the_same_maps(name: str):
    run = prepare(drawn(name), precision=Precision.BF16)
    for given, wanted in zip(run(images(2, 48, 144)), drawn(name)(images(2, 48, 144)), strict=True):
        assert 0 < (given - wanted).norm() < 0.05 * wanted.norm()


def test_openvino_is_refused_where_it_gives_other_maps():
    pytest.importorskip("openvino")
    with pytest.raises(UsageError, match=r"--runtime openvino: .* use --runtime torch"):
        prepare(drawn("shvit_s1"), Runtime.OPENVINO, threads=1)
