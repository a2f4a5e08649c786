"""What a plan says, what an apply does, and that nothing is touched where it must not."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench.kill_splits import draw_set, images_lost, measure, snapshot, write_fake_audit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.errors import CouldNotFinish, CurateError, InputError, UsageError, WriteError
from curate.reports.parquet import read_audit
from curate.screen import Screen
from curate.splits import transfer
from curate.splits.files import refuse_path
from curate.splits.folder import read_split
from curate.splits.journal import locked
from curate.splits.modes import Mode
from curate.splits.plan import Action
from curate.splits.prune import Pruned, Settings, prune_audit
from curate.splits.undo import restore
from tests.plates import ROOT

FOLDERS = (Mode.COPY, Mode.HARDLINK, Mode.SYMLINK)
REJECTED = {"train/good/000.png", "train/good/004.png"}


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Twelve parts in the layout of MVTec AD, and an audit of them that rejects two."""
    root = draw_set(tmp_path / "set", 12, 300)
    write_fake_audit(tmp_path / "audit", root, REJECTED)
    return root


def go(home: Path, mode: Mode | None = None, *, split: str = "split", audit: str = "audit", **more: object) -> Pruned:
    """Prune the audit in a folder as the command line would."""
    chosen = Settings(mode=mode, **more)  # type: ignore[arg-type]
    return prune_audit(read_audit(home / audit), home / split, chosen, Screen(quiet=True))


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def decide(audit: Path, **decisions: str) -> None:
    rows = {"path": list(decisions), "decision": list(decisions.values()), "note": ["why"] * len(decisions)}
    pq.write_table(pa.table(rows), audit / "decisions.parquet")


def curate(*words: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "curate", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=60, check=False, **more)  # type: ignore[call-overload]


def test_a_plan_names_every_file_what_becomes_of_it_and_why(parts: Path, tmp_path: Path):
    pruned = go(tmp_path)
    assert pruned.images == {"keep": 7, "reject": 2, "carry": 3}
    rows = {row.path: row for row in read_split(tmp_path / "split").rows}
    assert {path for path, row in rows.items() if row.action is Action.REJECT} == REJECTED
    assert rows["train/good/000.png"].reason == "mislabelled"
    assert rows["ground_truth/hole/003_mask.png"].mask_of == "test/hole/003.png"
    assert {len(row.sha256) for row in rows.values()} == {64}
    assert pq.read_schema(tmp_path / "split" / "plan.parquet").field("action").metadata[b"comment"]


def test_without_apply_the_dataset_is_not_touched_and_a_dry_run_writes_nothing(parts: Path, tmp_path: Path):
    before, there = snapshot(parts), sorted(tmp_path.iterdir())
    go(tmp_path, Mode.MOVE, dry_run=True)
    assert sorted(tmp_path.iterdir()) == there
    go(tmp_path)
    assert snapshot(parts) == before
    assert names(tmp_path / "split") == {
        "anomalib.csv", "clean.csv", "clean.parquet", "metadata.csv", "plan.parquet", "split.json"
    }  # fmt: skip


def test_anomalib_reads_normal_training_images_and_masks_of_the_abnormal(parts: Path, tmp_path: Path):
    go(tmp_path)
    with (tmp_path / "split" / "anomalib.csv").open() as file:
        rows = {row["image_path"]: row for row in csv.DictReader(file)}
    good, hole = rows["train/good/001.png"], rows["test/hole/003.png"]
    assert (good["label_index"], good["split"], good["mask_path"]) == ("0", "train", "")
    assert (hole["label_index"], hole["split"]) == ("1", "test")
    assert hole["mask_path"] == "ground_truth/hole/003_mask.png"
    assert not REJECTED & rows.keys()


def test_hugging_face_reads_file_names_and_labels(parts: Path, tmp_path: Path):
    go(tmp_path)
    with (tmp_path / "split" / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file_name", "label", "split"]
    assert len(rows) == 10


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


@pytest.mark.parametrize("mode", list(Mode))
def test_restore_gives_back_the_tree_to_the_byte(parts: Path, tmp_path: Path, mode: Mode):
    before = snapshot(parts)
    go(tmp_path, mode)
    go(tmp_path, mode)  # once more is no harm
    restore(tmp_path / "split")
    assert snapshot(parts) == before
    assert not {"data", "quarantine", "journal.jsonl"} & {p.name for p in (tmp_path / "split").iterdir()}
    assert restore(tmp_path / "split").mode is None


def test_restore_makes_a_folder_again_that_somebody_cleared_away(parts: Path, tmp_path: Path):
    audit = write_fake_audit(
        tmp_path / "all", parts, {"test/hole/003.png", "test/hole/007.png", "test/hole/011.png"}, split="all"
    )
    before = snapshot(parts)
    go(tmp_path, Mode.MOVE, audit=audit.name)
    (parts / "test" / "hole").rmdir()
    (parts / "ground_truth" / "hole").rmdir()
    restore(tmp_path / "split")
    assert {p: v[2] for p, v in snapshot(parts).items()} == {p: v[2] for p, v in before.items()}


def test_a_mask_goes_where_its_image_goes(parts: Path, tmp_path: Path):
    write_fake_audit(tmp_path / "all", parts, {"test/hole/003.png"}, split="all")
    go(tmp_path, Mode.MOVE, audit="all")
    assert names(tmp_path / "split" / "quarantine") == {"test/hole/003.png", "ground_truth/hole/003_mask.png"}


def test_decisions_stand_above_verdicts_and_unsure_is_as_the_verdict_says(parts: Path, tmp_path: Path):
    decide(
        tmp_path / "audit",
        **{"train/good/000.png": "keep", "train/good/001.png": "reject", "train/good/004.png": "unsure"},
    )
    go(tmp_path)
    rows = {row.path: row for row in read_split(tmp_path / "split").rows}
    assert rows["train/good/000.png"].action is Action.KEEP
    assert rows["train/good/001.png"].reason == "decided by hand: why"
    assert rows["train/good/004.png"].action is Action.REJECT


def test_decisions_that_empty_a_class_are_refused_unless_forced(parts: Path, tmp_path: Path):
    kept = sorted(p for p in names(parts) if p.startswith("train") and p not in REJECTED)
    decide(tmp_path / "audit", **dict.fromkeys(kept[:-1], "reject"))
    with pytest.raises(InputError, match=r"class 'good' would keep 1 of 7 .*fewer than 2.*--force"):
        go(tmp_path)
    assert go(tmp_path, force=True).warnings
    decide(tmp_path / "audit", **dict.fromkeys(kept, "reject"))
    with pytest.raises(InputError, match="not one image would be kept"):
        go(tmp_path, force=True, split="other")


@pytest.mark.parametrize(
    ("decisions", "says"),
    [
        ({"train/good/099.png": "keep"}, "not an image"),
        ({"train/good/001.png": "maybe"}, "none of keep, reject, unsure"),
    ],
)
def test_decisions_that_make_no_sense_are_one_sentence(
    parts: Path, tmp_path: Path, decisions: dict[str, str], says: str
):
    decide(tmp_path / "audit", **decisions)
    with pytest.raises(InputError, match=says):
        go(tmp_path)


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


@pytest.mark.parametrize("path", ["../a.png", "/etc/passwd", "a/../../b.png", "a//b.png", "", "a\0.png", ".", None])
def test_a_path_that_leads_out_is_refused(parts: Path, tmp_path: Path, path: str | None):
    with pytest.raises(InputError, match="leads out of the dataset"):
        refuse_path(path)
    if path is None:
        return
    images = read_audit(tmp_path / "audit").tables["images"]
    told = pa.array([path, *images["path"].to_pylist()[1:]])
    pq.write_table(images.set_column(0, images.schema.field("path"), told), tmp_path / "audit" / "images.parquet")
    with pytest.raises(InputError, match="leads out of the dataset"):
        go(tmp_path)


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


@pytest.mark.parametrize("place", ["set/split", "audit/split", ".", "set", "audit"])
def test_a_split_lies_beside_what_it_reads(parts: Path, tmp_path: Path, place: str):
    before = snapshot(tmp_path)
    with pytest.raises(UsageError):
        go(tmp_path, split=place)
    assert snapshot(tmp_path) == before


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

    def place(*words: object) -> None:
        calls.append(words)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        plain(*words)  # type: ignore[arg-type]

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
    for folder in (tmp_path, *tmp_path.parents[:2]):
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


def test_restore_touches_nothing_where_somebody_changed_a_file(parts: Path, tmp_path: Path):
    go(tmp_path, Mode.MOVE)
    (tmp_path / "split/quarantine/train/good/000.png").write_bytes(b"painted")
    before = snapshot(tmp_path)
    with pytest.raises(CouldNotFinish, match=r"quarantine/train/good/000.png: was changed since.*--force"):
        restore(tmp_path / "split")
    assert snapshot(tmp_path) == before
    undone = restore(tmp_path / "split", force=True)
    assert undone.left == ("train/good/000.png",)
    assert (parts / "train/good/004.png").is_file()


def test_restore_does_not_remove_the_last_copy_of_an_image(parts: Path, tmp_path: Path):
    go(tmp_path, Mode.COPY)
    (parts / "train/good/001.png").unlink()
    with pytest.raises(CouldNotFinish, match="is its last copy"):
        restore(tmp_path / "split")
    restore(tmp_path / "split", force=True)
    assert names(tmp_path / "split/data") == {"train/good/001.png"}


def test_what_somebody_put_into_the_data_is_not_removed(parts: Path, tmp_path: Path):
    go(tmp_path, Mode.SYMLINK)
    (tmp_path / "split/data/note.txt").write_text("mine")
    with pytest.raises(CouldNotFinish, match=r"data/note.txt: was put there since"):
        restore(tmp_path / "split")
    restore(tmp_path / "split", force=True)
    assert names(tmp_path / "split/data") == {"note.txt"}


@pytest.mark.parametrize("told", ['{"curate_journal": 1}', "", "[]", "\x00"])
def test_a_damaged_journal_is_one_sentence(parts: Path, tmp_path: Path, told: str):
    go(tmp_path)
    (tmp_path / "split/journal.jsonl").write_text(told)
    with pytest.raises(InputError, match="a damaged journal"):
        restore(tmp_path / "split")


def test_a_hostile_journal_moves_nothing_out_of_the_dataset(parts: Path, tmp_path: Path):
    go(tmp_path, Mode.MOVE)
    file = tmp_path / "split/journal.jsonl"
    file.write_text(file.read_text().replace("train/good/000.png", "../victim.png"))
    before = snapshot(tmp_path)
    with pytest.raises(CurateError, match="leads out of the dataset"):
        restore(tmp_path / "split")
    assert snapshot(tmp_path) == before


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


class Killed(BaseException):
    """Ends a call where it stands, as a kill does: nothing of ours cleans up."""


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from([*FOLDERS, Mode.MOVE]),
    rejected=st.sets(st.sampled_from([f"train/good/{i:03d}.png" for i in (0, 1, 2, 4, 5, 6)]), max_size=4),
    at=st.integers(0, 14),
    after=st.booleans(),
    then=st.sampled_from(["finish", "undo", "undo twice"]),
)
def test_whatever_step_is_the_last_one_the_apply_can_be_finished_and_undone(
    tmp_path_factory: pytest.TempPathFactory, mode: Mode, rejected: set[str], at: int, after: bool, then: str
):
    home = tmp_path_factory.mktemp("home")
    root = draw_set(home / "set", 8, 50)
    write_fake_audit(home / "audit", root, rejected)
    before = snapshot(root)
    go(home)
    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr("curate.splits.apply.place", _killed_at(at, after, transfer.place))
        go(home, mode)
    assert not images_lost(before, root, home / "split")
    if then == "finish":
        go(home, mode)
        clean = snapshot(root if mode is Mode.MOVE else home / "split" / "data")
        assert {name for name, value in clean.items() if value[2]} == {n for n, v in before.items() if v[2]} - rejected
    if then == "undo twice":
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            patch.setattr("curate.splits.undo.move", _killed_at(at // 4, after, transfer.move))
            restore(home / "split")
        assert not images_lost(before, root, home / "split")
    restore(home / "split")
    assert snapshot(root) == before
    assert not {"data", "data.partial", "quarantine"} & {p.name for p in (home / "split").iterdir()}


def _killed_at(at: int, after: bool, call: Callable[..., None]) -> Callable[..., None]:
    """Return a function that ends all with its call number `at`, before or after it did its work."""
    calls = iter(range(10_000))

    def one(*words: object) -> None:
        number = next(calls)
        if number == at and not after:
            raise Killed
        call(*words)
        if number == at:
            raise Killed

    return one


def test_processes_killed_at_any_moment_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = measure(tmp_path, tmp_path, kills=3, images=80, seed=1, longest_s=0.02)
    assert {name: found[name] for name in ("images lost", "trees that differ", "left behind")} == {
        "images lost": 0, "trees that differ": 0, "left behind": 0
    }  # fmt: skip


def test_rounds_of_an_audit_cannot_be_changed(parts: Path, tmp_path: Path):
    done = curate("prune", tmp_path / "audit", "-o", tmp_path / "split", "--rounds", "5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the audit was made with 1" in done.stderr
    assert curate("prune", tmp_path / "audit", "-o", tmp_path / "split", "--rounds", "1").returncode == 0


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
