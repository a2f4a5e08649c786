from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from curate.embeddings import packaged
from curate.embeddings.packaged import CompactPyramid, load_packaged, packaged_card, packaged_weights
from curate.errors import InputError


def images(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width"), [(256, 256), (64, 96), (250, 31)])
def test_the_maps_are_those_that_the_pyramid_promises(height: int, width: int):
    backbone = load_packaged()
    info = backbone.feature_info
    maps = backbone(images(2, height, width))
    assert info.reduction() == [4, 8, 16]
    for level, channels, stride in zip(maps, info.channels(), info.reduction(), strict=True):
        assert level.shape == (2, channels, -(-height // stride), -(-width // stride))
        assert (level >= 0).all()


def test_the_weights_are_those_of_the_card_small_and_half_precision():
    data = packaged_weights().read_bytes()
    assert hashlib.sha256(data).hexdigest() == packaged_card().sha256
    assert len(data) <= 8_000_000
    with safe_open(packaged_weights(), "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_loading_is_deterministic_and_the_result_is_frozen():
    one, two = load_packaged(), load_packaged()
    assert not one.training
    assert not any(p.requires_grad for p in one.parameters())
    for a, b in zip(one(images(1, 64, 64)), two(images(1, 64, 64)), strict=True):
        assert torch.equal(a, b)


def test_an_image_is_judged_alike_whatever_batch_it_comes_in():
    backbone, batch = load_packaged(), images(3, 64, 64)
    together = backbone(batch)
    for index in range(3):
        for whole, alone in zip(together, backbone(batch[index : index + 1]), strict=True):
            torch.testing.assert_close(whole[index : index + 1], alone, rtol=1e-4, atol=1e-4)


def test_it_was_trained_a_mark_on_a_plain_surface_stands_out_where_it_is():
    backbone = load_packaged()
    plain = torch.zeros(1, 3, 256, 256)
    marked = plain.clone()
    marked[..., 120:136, 120:136] = 2.0
    for index, (level, stride) in enumerate(zip(backbone(marked), (4, 8, 16), strict=True)):
        changed = (level - backbone(plain)[index]).square().sum(1)[0]
        row, column = divmod(int(changed.argmax()), changed.shape[1])
        assert abs(row * stride - 128) <= 32
        assert abs(column * stride - 128) <= 32


def test_weights_that_were_changed_on_disk_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy = tmp_path / "weights"
    shutil.copytree(packaged.WEIGHTS, copy)
    monkeypatch.setattr(packaged, "WEIGHTS", copy)
    data = bytearray(packaged_weights().read_bytes())
    data[-1] ^= 1
    packaged_weights().write_bytes(data)
    with pytest.raises(InputError, match="sha256 differs"):
        load_packaged()


def test_no_weight_of_the_teacher_can_be_in_it():
    """None of the student's convolutions has the shape of one of a ResNet-18's."""
    shapes = {tuple(p.shape) for p in CompactPyramid().parameters() if p.ndim == 4}
    teacher = {(64, 3, 7, 7), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3), (128, 64, 1, 1)}
    teacher |= {(256, 128, 3, 3), (256, 256, 3, 3), (256, 128, 1, 1)}
    assert not shapes & teacher
