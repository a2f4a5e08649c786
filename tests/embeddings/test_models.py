from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from curate.embeddings.backbones import load_backbone
from curate.embeddings.catalogue import SHORT_NAMES
from curate.embeddings.models import FACTS, WEIGHTS, Origin, export, import_bundle, list_models, pull
from curate.embeddings.packaged import PACKAGED_NAME
from curate.errors import CouldNotFinish, InputError, UsageError, WriteError

SMALL = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a small timm model, as its hub would hold it."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("hub") / "model.safetensors"
    save_file(timm.create_model(SMALL, pretrained=False).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def bundle(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sender")
    export(SMALL, folder / "bundle.tar", folder / "models", fetch=lambda name, offline: published)
    return folder / "bundle.tar"


def members(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def packed(
    target: Path, contents: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] = lambda m: None
) -> Path:
    with tarfile.open(target, "w") as tar:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            change(member)
            tar.addfile(member, io.BytesIO(data))
    return target


def test_weights_that_are_still_being_written_are_not_listed(published: Path, tmp_path: Path):
    pull(SMALL, tmp_path, fetch=lambda name, offline: published)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{SMALL}.json", f"{SMALL}.safetensors"]
    (tmp_path / ".curate-0.safetensors").write_bytes(b"half")
    assert [model.name for model in list_models(tmp_path) if model.origin is Origin.IMPORTED] == [SMALL]


def test_a_model_travels_from_one_machine_to_another_unchanged(bundle: Path, published: Path, tmp_path: Path):
    facts = import_bundle(bundle, tmp_path)
    taken = tmp_path / f"{SMALL}.safetensors"
    assert taken.read_bytes() == published.read_bytes()
    assert facts.sha256 == hashlib.sha256(published.read_bytes()).hexdigest()
    assert load_backbone(SMALL, weights=taken, offline=True).sha256 == facts.sha256
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{SMALL}.json", f"{SMALL}.safetensors"]


def test_equal_models_make_equal_bundles(bundle: Path, published: Path, tmp_path: Path):
    export(SMALL, tmp_path / "again.tar", tmp_path / "models", fetch=lambda name, offline: published)
    assert (tmp_path / "again.tar").read_bytes() == bundle.read_bytes()


def test_a_model_in_the_folder_is_exported_without_asking_the_hub(bundle: Path, tmp_path: Path):
    def hub(name: str, offline: bool) -> Path:
        raise AssertionError("the hub was asked")

    import_bundle(bundle, tmp_path / "models")
    export(SMALL, tmp_path / "again.tar", tmp_path / "models", fetch=hub)
    assert (tmp_path / "again.tar").read_bytes() == bundle.read_bytes()


def test_a_bundle_is_not_overwritten_unless_told(bundle: Path, tmp_path: Path):
    target = tmp_path / "taken.tar"
    target.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        export(SMALL, target, tmp_path)
    assert target.read_text() == "mine"


def test_importing_twice_changes_nothing_and_other_weights_are_not_replaced_unless_told(bundle: Path, tmp_path: Path):
    import_bundle(bundle, tmp_path)
    import_bundle(bundle, tmp_path)
    (tmp_path / f"{SMALL}.safetensors").write_bytes(b"other")
    with pytest.raises(UsageError, match="--force"):
        import_bundle(bundle, tmp_path)
    import_bundle(bundle, tmp_path, force=True)
    assert (tmp_path / f"{SMALL}.safetensors").read_bytes() == members(bundle)[WEIGHTS]


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda c: {FACTS: c[FACTS], WEIGHTS: c[WEIGHTS][:-1] + b"!"}, "the sha256 of the weights differs"),
        (lambda c: {FACTS: c[FACTS], WEIGHTS: c[WEIGHTS][:-9]}, "the sha256 of the weights differs"),
        (lambda c: {FACTS: c[FACTS]}, "nothing"),
        (lambda c: {}, "nothing"),
        (lambda c: {WEIGHTS: c[WEIGHTS], FACTS: c[FACTS]}, "in place of the file model.json"),
        (lambda c: {FACTS: b"not json", WEIGHTS: c[WEIGHTS]}, "JSON"),
        (lambda c: {FACTS: c[FACTS], WEIGHTS: c[WEIGHTS], "../../evil": b"x"}, "holds more"),
        (lambda c: {FACTS: c[FACTS], "../../evil": c[WEIGHTS]}, "in place of the file"),
    ],
)
def test_a_damaged_bundle_leaves_the_folder_as_it_was(bundle: Path, tmp_path: Path, harm, complaint: str):
    broken = packed(tmp_path / "broken.tar", harm(members(bundle)))
    with pytest.raises(InputError, match=complaint):
        import_bundle(broken, tmp_path / "models")
    assert not list((tmp_path / "models").rglob("*"))
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "/etc/evil", "", ".hidden", "a\nb", "x" * 200])
def test_a_name_that_is_not_a_model_name_is_refused(bundle: Path, tmp_path: Path, name: str):
    contents = members(bundle)
    facts = json.loads(contents[FACTS]) | {"name": name}
    broken = packed(tmp_path / "broken.tar", {FACTS: json.dumps(facts).encode(), WEIGHTS: contents[WEIGHTS]})
    with pytest.raises(InputError, match="name"):
        import_bundle(broken, tmp_path / "models")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(bundle: Path, tmp_path: Path, kind: bytes):
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname, member.size = kind, "/etc/passwd", 0

    broken = packed(tmp_path / "broken.tar", dict.fromkeys((FACTS, WEIGHTS), b""), change)
    with pytest.raises(InputError):
        import_bundle(broken, tmp_path / "models")


@pytest.mark.parametrize("data", [b"", b"\0" * 10240, b"PK\x03\x04 a zip", b"\x1f\x8b gzip"])
def test_a_file_that_is_no_bundle_is_refused_in_one_sentence(tmp_path: Path, data: bytes):
    file = tmp_path / "no.tar"
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"no\.tar"):
        import_bundle(file, tmp_path / "models")
    with pytest.raises(InputError, match="cannot be read"):
        import_bundle(tmp_path / "missing.tar", tmp_path / "models")


def test_weights_of_another_model_are_refused_although_their_sha256_is_right(bundle: Path, tmp_path: Path):
    contents = members(bundle)
    facts = json.loads(contents[FACTS]) | {"name": "resnet18"}
    broken = packed(tmp_path / "broken.tar", {FACTS: json.dumps(facts).encode(), WEIGHTS: contents[WEIGHTS]})
    with pytest.raises(InputError, match="not the weights of resnet18"):
        import_bundle(broken, tmp_path / "models")


def test_what_the_hub_gives_is_checked_before_it_is_kept(tmp_path: Path):
    page = tmp_path / "page.safetensors"
    page.write_text("<html>sign in</html>")
    with pytest.raises(InputError, match="safetensors"):
        pull(SMALL, tmp_path / "models", fetch=lambda name, offline: page)
    assert not (tmp_path / "models").exists()


def test_offline_pull_names_the_way_out_and_opens_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CouldNotFinish, match=r"--offline is set: .*`curate models export resnet18`"):
        pull("resnet18", tmp_path, offline=True)


@pytest.mark.parametrize("name", ["no_such_model", "../resnet18", PACKAGED_NAME])
def test_a_name_that_cannot_be_pulled_is_a_usage_error(tmp_path: Path, name: str):
    with pytest.raises(UsageError):
        pull(name, tmp_path, offline=True)


def test_a_folder_that_cannot_be_written_is_said(bundle: Path, tmp_path: Path):
    (tmp_path / "models").write_text("a file stands here")
    with pytest.raises((WriteError, InputError), match="models"):
        import_bundle(bundle, tmp_path / "models")


def test_the_list_names_each_model_once_with_what_is_known_of_it(bundle: Path, published: Path, tmp_path: Path):
    import_bundle(bundle, tmp_path)
    rows = {row.name: row for row in list_models(tmp_path)}
    assert rows[PACKAGED_NAME].origin is Origin.PACKAGED
    assert rows[SMALL].origin is Origin.IMPORTED
    assert rows[SMALL].sha256 == hashlib.sha256(published.read_bytes()).hexdigest()
    assert rows[SMALL].size_bytes == published.stat().st_size
    assert set(rows) == {PACKAGED_NAME, SMALL, *SHORT_NAMES}


def test_a_bundle_holds_a_model_of_any_number_of_stages_and_old_ones_of_three(tmp_path: Path):
    torch.manual_seed(0)
    weights = tmp_path / "hub.safetensors"
    save_file(timm.create_model("shvit_s1").state_dict(), weights)
    export("shvit_s1", tmp_path / "two.tar", tmp_path / "sender", fetch=lambda name, offline: weights)
    assert json.loads(members(tmp_path / "two.tar")[FACTS])["strides"] == [16, 16]
    assert import_bundle(tmp_path / "two.tar", tmp_path / "models").strides == (16, 16)


@pytest.mark.parametrize("strides", [[], [4, 8], [4] * 99, ["4", "8", "16", 3.5]])
def test_strides_that_are_not_the_models_are_refused(bundle: Path, tmp_path: Path, strides: list[object]):
    contents = members(bundle)
    facts = json.loads(contents[FACTS]) | {"strides": strides}
    broken = packed(tmp_path / "broken.tar", {FACTS: json.dumps(facts).encode(), WEIGHTS: contents[WEIGHTS]})
    with pytest.raises(InputError, match="strides"):
        import_bundle(broken, tmp_path / "models")


def test_a_short_name_is_pulled_under_timms_name_and_listed_by_the_short_one(tmp_path: Path):
    torch.manual_seed(0)
    weights = tmp_path / "hub.safetensors"
    save_file(timm.create_model("tf_efficientnet_lite1").state_dict(), weights)
    facts = pull("efficientnet-lite1", tmp_path / "models", fetch=lambda name, offline: weights)
    assert facts.name == "tf_efficientnet_lite1.in1k"
    rows = [row for row in list_models(tmp_path / "models") if row.full_name == facts.name]
    assert [(row.name, row.origin) for row in rows] == [("efficientnet-lite1", Origin.IMPORTED)]
