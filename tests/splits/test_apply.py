"""What an apply does, and that nothing is touched where it must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.kill_splits import draw_set, images_lost, snapshot, write_fake_audit

from curate.audit.parquet import read_audit
from curate.errors import CouldNotFinish, InputError, UsageError, WriteError
from curate.splits import transfer
from curate.splits.folder import read_split
from curate.splits.journal import locked
from curate.splits.modes import Mode
from curate.splits.undo import restore
from tests.plates import ROOT
from tests.splits.pruning import FOLDERS, REJECTED, decide, go, names


@pytest.mark.parametrize("mode", FOLDERS)
def test_an_apply_makes_the_clean_set_in_the_layout_of_its_source(parts: Path, tmp_path: Path, mode: Mode):
    before = snapshot(parts)
    go(tmp_path, mode)
    data = tmp_path / "split" / "data"
    assert names(data) == names(parts) - REJECTED
    copied, original = data / "train/good/001.png", parts / "train/good/001.png"
    assert copied.read_bytes() == original.read_bytes()
    assert copied.stat().st_mtime_ns == original.stat().st_mtime_ns
    assert snapshot(parts) == before


def test_a_move_takes_away_what_is_rejected_and_nothing_else(parts: Path, tmp_path: Path):
    everything = names(parts)
    go(tmp_path, Mode.MOVE)
    assert names(tmp_path / "split" / "quarantine") == REJECTED
    assert names(parts) == everything - REJECTED


def test_a_list_of_the_clean_files_is_what_scan_reads_on_stdin(parts: Path, tmp_path: Path):
    go(tmp_path, Mode.MANIFEST)
    listed = (tmp_path / "split" / "data" / "files.txt").read_text().splitlines()
    assert str(parts / "train/good/001.png") in listed
    assert not any("ground_truth" in line for line in listed)
    assert len(listed) == 10


def test_a_mask_goes_where_its_image_goes(parts: Path, tmp_path: Path):
    write_fake_audit(tmp_path / "all", parts, {"test/hole/003.png"}, split="all")
    go(tmp_path, Mode.MOVE, audit="all")
    assert names(tmp_path / "split" / "quarantine") == {"test/hole/003.png", "ground_truth/hole/003_mask.png"}


@pytest.mark.parametrize("mode", [*FOLDERS, Mode.MOVE, None])
@pytest.mark.parametrize("harm", ["changed", "gone", "new", "carried changed"])
def test_a_dataset_that_changed_is_not_touched(parts: Path, tmp_path: Path, mode: Mode | None, harm: str):
    if harm == "carried changed":
        go(tmp_path)
    match harm:
        case "changed":
            (parts / "train/good/010.png").write_bytes(b"other")
        case "gone":
            (parts / "train/good/010.png").unlink()
        case "new":
            (parts / "train/good/new.png").write_bytes(b"new")
        case "carried changed":
            (parts / "test/hole/003.png").write_bytes(b"other")
            if mode is None:
                return
    before = snapshot(parts)
    with pytest.raises(CouldNotFinish, match="changed since the audit"):
        go(tmp_path, mode)
    assert snapshot(parts) == before
    assert not (tmp_path / "split" / "journal.jsonl").exists()
    assert harm == "carried changed" or not (tmp_path / "split").exists()


def test_a_link_that_leads_out_of_the_dataset_is_refused_unless_asked_for(parts: Path, tmp_path: Path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (parts / "train/good/020.png").symlink_to("../../../secret.png")
    write_fake_audit(tmp_path / "linked", parts, {"train/good/020.png"})
    before = snapshot(parts)
    with pytest.raises(InputError, match="a link that leads out of the dataset"):
        go(tmp_path, Mode.MOVE, audit="linked")
    assert not (tmp_path / "split").exists()
    go(tmp_path, Mode.MOVE, audit="linked", follow_links=True)
    assert secret.read_bytes() == b"secret"
    assert (tmp_path / "split/quarantine/train/good/020.png").is_symlink()
    restore(tmp_path / "split")
    assert snapshot(parts) == before


@pytest.mark.parametrize(
    "name", [b"a\xff.png", b"new\nline.png", b"-rf.png", b"a\\x41.png", b"\xe2\x80\xae.png", b"n" * 251 + b".png"]
)
@pytest.mark.parametrize("mode", [Mode.COPY, Mode.MOVE, Mode.MANIFEST])
def test_no_name_is_too_odd(tmp_path: Path, name: bytes, mode: Mode):
    root = tmp_path / "set"
    root.mkdir()
    for other in (b"1.png", b"2.png", b"3.png", b"a\\xff.png", name):
        (root / os.fsdecode(other)).write_bytes(b"bytes of " + other)
    listed = write_fake_audit(tmp_path / "audit", root, set())
    odd = [p for p in read_audit(listed).tables["images"]["path"].to_pylist() if p not in ("1.png", "2.png", "3.png")]
    decide(listed, **dict.fromkeys(odd if mode is Mode.MOVE else [], "reject"))
    before = snapshot(root)
    go(tmp_path, mode)
    where = tmp_path / "split" / ("quarantine" if mode is Mode.MOVE else "data")
    if mode is not Mode.MANIFEST:
        assert (where / os.fsdecode(name)).read_bytes() == b"bytes of " + name
    restore(tmp_path / "split")
    assert snapshot(root) == before


def test_names_of_a_manifest_that_are_not_utf8_are_found_by_their_bytes(tmp_path: Path):
    root = tmp_path / "set"
    root.mkdir()
    for name in (b"a\xff.png", b"b.png", b"c.png"):
        (root / os.fsdecode(name)).write_bytes(b"bytes of " + name)
    write_fake_audit(tmp_path / "audit", root, {"a\\xff.png"})
    run = json.loads((tmp_path / "audit/run.json").read_text())
    (tmp_path / "audit/run.json").write_text(json.dumps(run | {"layout": "file-list"}))
    go(tmp_path, Mode.MOVE)
    assert (tmp_path / "split/quarantine" / os.fsdecode(b"a\xff.png")).is_file()


def test_metadata_of_hugging_face_keep_their_columns_and_lose_the_rejected_rows(tmp_path: Path):
    root = tmp_path / "set"
    root.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (root / name).write_bytes(name.encode())
    (root / "metadata.csv").write_text('file_name,text\na.png,"one, two"\nb.png,three\nc.png,four\n')
    write_fake_audit(tmp_path / "audit", root, {"b.png"})
    go(tmp_path, Mode.COPY)
    assert (tmp_path / "split/data/metadata.csv").read_text() == 'file_name,text\na.png,"one, two"\nc.png,four\n'
    restore(tmp_path / "split")


def test_another_mode_or_other_decisions_want_a_restore_first(parts: Path, tmp_path: Path):
    go(tmp_path, Mode.COPY)
    with pytest.raises(UsageError, match=r"`curate restore` it first: --apply copy was used, not move"):
        go(tmp_path, Mode.MOVE)
    decide(tmp_path / "audit", **{"train/good/000.png": "keep"})
    with pytest.raises(UsageError, match="holds another plan"):
        go(tmp_path, Mode.COPY)


def test_two_at_the_same_time_are_kept_apart(parts: Path, tmp_path: Path):
    go(tmp_path)
    for held in (tmp_path / "split", parts):
        with locked(held), pytest.raises(CouldNotFinish, match="another curate is at work"):
            go(tmp_path, Mode.MOVE)
    with locked(parts, alone=False):
        go(tmp_path, Mode.COPY)  # copies do not mind each other


@pytest.mark.parametrize("mode", [*FOLDERS, Mode.MOVE])
def test_a_disk_that_fails_half_way_leaves_all_as_it_was(
    parts: Path, tmp_path: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
):
    go(tmp_path)
    before, calls = snapshot(tmp_path), []
    plain = transfer.place

    def place(*words: object, **more: object) -> None:
        calls.append(words)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        plain(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("curate.splits.apply.place", place)
    with pytest.raises(WriteError, match="No space left on device; all that was done is undone"):
        go(tmp_path, mode)
    after = snapshot(tmp_path)
    for state in (before, after):
        state.pop("split")  # the time of the folder in which data/ came and went
    assert after == before


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/bin/setpriv").exists(), reason="needs another user to be")
def test_a_folder_that_may_not_be_written_is_one_sentence_before_anything_is_touched(tmp_path: Path):
    home = tmp_path / "home"
    root = draw_set(home / "set", 12, 300)
    write_fake_audit(home / "audit", root, REJECTED)
    for folder in (tmp_path, *(folder for folder in tmp_path.parents if "pytest-of-" in str(folder))):
        folder.chmod(0o755)
    home.chmod(0o777)
    before = snapshot(root)
    call = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-m", "curate", "prune"]
    words = [*call, str(home / "audit"), "-o", str(home / "split"), "--apply", "move"]
    done = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "permission denied to move images away, nothing was touched" in done.stderr
    assert snapshot(root) == before


def test_a_move_to_another_filesystem_is_a_verified_copy(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(source: Path, target: Path, plain: object = os.rename) -> None:
        if "curate-part" not in str(source) and "journal" not in str(source):
            raise OSError(18, "Invalid cross-device link")
        plain(source, target)  # type: ignore[operator]

    before = snapshot(parts)
    go(tmp_path)
    monkeypatch.setattr(transfer.os, "rename", refuse)
    go(tmp_path, Mode.MOVE)
    assert names(tmp_path / "split/quarantine") == REJECTED
    assert not images_lost(before, parts, tmp_path / "split")
    restore(tmp_path / "split")
    assert snapshot(parts) == before


def test_acting_on_an_audit_needs_no_torch(parts: Path, tmp_path: Path):
    program = (
        "import sys, curate.cli\n"
        "sys.argv[1:] = ['prune', 'audit', '-o', 'split', '--apply', 'copy', '--format', 'json']\n"
        "try: curate.cli.main()\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    call = [sys.executable, "-c", program]
    done = subprocess.run(
        call, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == "False"
    assert json.loads(done.stdout)["images"] == {"keep": 7, "reject": 2, "carry": 3}


def test_masks_in_a_folder_an_image_and_sidecar_files_go_where_their_images_go(tmp_path: Path):
    root = draw_set(tmp_path / "set", 12, 300)
    along = {
        "ground_truth/hole/003/000.png": "test/hole/003.png",
        "ground_truth/hole/003/001.png": "test/hole/003.png",
        "train/good/001.json": "train/good/001.png",
        "labels/train/good/002.txt": "train/good/002.png",
        "Annotations/test/hole/003.xml": "test/hole/003.png",
    }
    rejected_too = {"train/good/000.png.xml": "train/good/000.png"}
    left = ("ground_truth/hole/077_mask.png", "license.txt")
    for name in (*along, *rejected_too, *left):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    write_fake_audit(tmp_path / "audit", root, REJECTED)
    pruned = go(tmp_path, Mode.COPY)
    data = names(tmp_path / "split" / "data")
    assert set(along) <= data
    assert not {*rejected_too, *REJECTED, *left} & data
    rows = {row.path: row.mask_of for row in read_split(tmp_path / "split").rows if row.mask_of}
    assert {**along, **rejected_too}.items() <= rows.items()
    assert pruned.sidecars == 4
    assert pruned.warnings[-1] == "1 mask of no image, or of several: left where they are"
    moved = go(tmp_path, Mode.MOVE, split="moved")
    assert moved.masks == pruned.masks
    assert set(rejected_too) <= names(tmp_path / "moved" / "quarantine")
    assert not (root / "train/good/000.png.xml").exists()


def test_a_sidecar_file_is_no_mask_for_anomalib(parts: Path, tmp_path: Path):
    (parts / "test/hole/003.txt").write_text("hole")
    go(tmp_path)
    assert "003.txt" not in (tmp_path / "split" / "anomalib.csv").read_text()
