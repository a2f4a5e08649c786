from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from curate.embeddings.backbones import file_sha256, forward, load_backbone, published_file, read_state
from curate.embeddings.packaged import PACKAGED_NAME
from curate.errors import CouldNotFinish, InputError, UsageError

SMALL = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a small timm model, as its hub would hold it."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(timm.create_model(SMALL, pretrained=False).state_dict(), file)
    return file


def test_a_timm_model_becomes_a_pyramid_of_strides_4_8_16(weights: Path):
    backbone = load_backbone(SMALL, weights=weights, offline=True)
    maps = forward(backbone, torch.zeros(2, 3, 64, 96))
    assert backbone.strides == (4, 8, 16)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(backbone.channels, (4, 8, 16), strict=True)
    ]
    assert backbone.sha256 == file_sha256(weights)
    assert not any(p.requires_grad for p in backbone.network.parameters())


def test_every_tensor_of_the_pyramid_comes_from_the_file(weights: Path):
    one, two = (load_backbone(SMALL, weights=weights) for _ in range(2))
    for (name, a), b in zip(one.network.state_dict().items(), two.network.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_weights_that_lack_a_tensor_are_refused_rather_than_left_random(weights: Path, tmp_path: Path):
    state = read_state(weights)
    name = next(key for key in state if key.startswith("blocks.1") and key.endswith("weight"))
    del state[name]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match=f"not the weights of {SMALL}: 1 of"):
        load_backbone(SMALL, weights=tmp_path / "part.safetensors")


def test_a_plain_state_dict_is_read_and_a_pickle_with_code_is_refused(weights: Path, tmp_path: Path):
    torch.save({"state_dict": read_state(weights)}, tmp_path / "plain.pth")
    assert load_backbone(SMALL, weights=tmp_path / "plain.pth").name == SMALL

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    torch.save({"x": Evil()}, tmp_path / "evil.pt")
    for name in ("evil.pth", "evil.pt"):
        with pytest.raises(InputError, match=name):
            read_state(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"\x10\0\0\0\0\0\0\0{}", b"not weights at all"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_damaged_weights_file_is_one_sentence(tmp_path: Path, content: bytes, suffix: str):
    file = tmp_path / f"damaged{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError, match="damaged") as caught:
        read_state(file)
    assert "\n" not in str(caught.value)


def test_a_missing_weights_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="there is no such weights file"):
        load_backbone(SMALL, weights=tmp_path / "none.safetensors")


def test_a_misspelt_backbone_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"did you mean .*resnet18"):
        load_backbone("resnet_18")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224", "resnet18"])
def test_the_weights_of_another_model_are_refused(name: str, weights: Path):
    with pytest.raises(InputError, match=f"not the weights of {name}"):
        load_backbone(name, weights=weights)


def published(name: str, folder: Path, **options: int) -> Path:
    """The state of a timm model with random weights, its classifier among them."""
    torch.manual_seed(0)
    file = folder / "published.safetensors"
    save_file({k: v.contiguous() for k, v in timm.create_model(name, **options).state_dict().items()}, file)
    return file


@pytest.mark.parametrize(
    "name",
    [
        "convnext_atto",
        "swin_tiny_patch4_window7_224",
        "vit_tiny_patch16_224",
        "vit_small_patch16_dinov3",
        "densenet121",
    ],
)
def test_each_family_loads_every_tensor_that_it_uses_and_none_may_be_missing(name: str, tmp_path: Path):
    file = published(name, tmp_path)
    state = read_state(file)
    weights = load_backbone(name, weights=file).network.weights.state_dict()
    for key, value in weights.items():
        top, _, rest = key.partition(".")
        source = key if key in state else f"{top.replace('_', '.', 1)}.{rest}"
        assert torch.equal(value, state[source]), key
    del state[source]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match=f"not the weights of {name}: 1 of"):
        load_backbone(name, weights=tmp_path / "part.safetensors")


def test_position_embeddings_of_another_grid_are_resampled_as_timm_does(tmp_path: Path):
    file = published("vit_tiny_patch16_224", tmp_path, img_size=96)
    loaded = load_backbone("vit_tiny_patch16_224", weights=file).network.weights.pos_embed
    wanted = resample_abs_pos_embed(read_state(file)["pos_embed"], new_size=[14, 14], num_prefix_tokens=1)
    assert torch.equal(loaded, wanted)


def test_a_short_name_stands_for_timms_which_is_recorded(tmp_path: Path):
    file = published("vit_small_patch14_dinov2", tmp_path)
    backbone = load_backbone("dinov2-small", weights=file)
    assert backbone.name == "vit_small_patch14_dinov2.lvd142m"
    assert (backbone.strides, backbone.licence) == ((16, 16, 16), "apache-2.0")


def test_without_its_weights_on_this_machine_the_sentence_says_how_to_bring_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CouldNotFinish, match=r"--offline is set: give them with --weights"):
        load_backbone(SMALL, offline=True)


def test_weights_in_the_local_cache_of_the_hub_are_used_offline(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    repository = tmp_path / ("models--" + timm.get_pretrained_cfg(SMALL).hf_hub_id.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(weights.read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert load_backbone(SMALL, offline=True).source == "timm hub"


HUB = """
import threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer
time.sleep = lambda seconds: None  # the hub's client waits between its tries

class Hub(BaseHTTPRequestHandler):
    body = open({file!r}, "rb").read()

    def do_HEAD(self):
        self.send_response(200 if self.path.endswith("/resolve/main/model.safetensors") else 404)
        for name, value in {{"ETag": '"1"', "X-Repo-Commit": "a" * 40, "Content-Length": str(len(self.body))}}.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(self.body)

    def log_message(self, *words):
        pass

if {port} == 9:
    hub_address = "http://127.0.0.1:9"
else:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub_address = f"http://127.0.0.1:{{server.server_port}}"

import os
os.environ["HF_ENDPOINT"] = hub_address
from curate.embeddings.backbones import load_backbone
from curate.errors import CurateError
try:
    print(load_backbone({name!r}).sha256)
except CurateError as error:
    print(error)
"""


def with_hub(weights: Path, cache: Path, *, port: int, name: str = SMALL) -> str:
    """Load a backbone in a process of its own, against a hub on this machine; port 9 is nobody."""
    program = HUB.format(file=str(weights), port=port, name=name)
    folders = {"HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(cache), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | folders,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()


def test_published_weights_are_downloaded_from_the_hub_and_then_cached(weights: Path, tmp_path: Path):
    assert with_hub(weights, tmp_path, port=0) == file_sha256(weights)
    assert with_hub(weights, tmp_path, port=9) == file_sha256(weights)


def test_published_weights_of_a_transformer_are_those_that_the_hub_gives(tmp_path: Path):
    file = published("vit_tiny_patch16_224", tmp_path, img_size=96)
    assert with_hub(file, tmp_path / "cache", port=0, name="vit_tiny_patch16_224") == file_sha256(file)


def test_the_file_on_the_hub_is_the_one_that_timm_names_and_never_a_pickle_where_there_is_a_choice():
    names = (None, "model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin", "other.safetensors")
    given = [published_file(SimpleNamespace(hf_hub_filename=name)) for name in names]
    assert given == ["model.safetensors"] * 3 + ["open_clip_model.safetensors", "other.safetensors"]


def test_a_hub_that_cannot_be_reached_is_one_sentence(weights: Path, tmp_path: Path):
    assert "the hub cannot be reached: give them with --weights" in with_hub(weights, tmp_path, port=9)


def test_networks_side_by_side_give_the_stages_of_each():
    both = load_backbone(f"{PACKAGED_NAME}+efficientnet-lite0")
    alone = [load_backbone(PACKAGED_NAME), load_backbone("efficientnet-lite0")]
    assert both.name == f"{PACKAGED_NAME}+tf_efficientnet_lite0.in1k"
    assert both.channels == alone[0].channels + alone[1].channels
    assert both.sha256 not in {one.sha256 for one in alone}
    rgb = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    wanted = [
        level
        for one in alone
        for level in forward(one, (rgb - torch.tensor(one.mean).view(3, 1, 1)) / torch.tensor(one.std).view(3, 1, 1))
    ]
    for level, expected in zip(forward(both, rgb), wanted, strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["curate_s+", "+", "curate_s+curate_s", "efficientnet-lite0+tf_efficientnet_lite0.in1k"]
)
def test_networks_side_by_side_need_different_names(name: str):
    with pytest.raises(UsageError, match="different names"):
        load_backbone(name)


def test_weights_are_for_one_network(tmp_path: Path):
    with pytest.raises(UsageError, match="--weights needs a timm model"):
        load_backbone("curate_s+efficientnet-lite0", weights=tmp_path / "any.safetensors")
