"""What a plan says, whose word it follows, and what it refuses to plan."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench.kill_splits import snapshot

from curate.audit.parquet import read_audit
from curate.errors import InputError, UsageError
from curate.splits.files import refuse_path
from curate.splits.folder import default_output, plan_digest, read_split
from curate.splits.modes import Mode
from curate.splits.plan import Action, PlanRow
from tests.plates import ROOT
from tests.splits.pruning import REJECTED, decide, go, names


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


def test_a_plan_has_the_digest_that_it_had_in_version_0_1_so_that_its_journals_are_resumed():
    keep = PlanRow(path="a.png", sha256="1", action=Action.KEEP, reason="verdict keep")
    reject = PlanRow(path="b.png", sha256="2", action=Action.REJECT, reason="mislabelled", label="x")
    assert plan_digest((keep, reject)) == "417b39f4e201aff60c23a35b594f1ecf2dca99cd5b41deafc959e0d5bc04d071"


def test_without_apply_the_dataset_is_not_touched_and_a_dry_run_writes_nothing(parts: Path, tmp_path: Path):
    before, there = snapshot(parts), sorted(tmp_path.iterdir())
    go(tmp_path, Mode.MOVE, dry_run=True)
    assert sorted(tmp_path.iterdir()) == there
    go(tmp_path)
    assert snapshot(parts) == before
    assert names(tmp_path / "split") == {
        "anomalib.csv", "clean.csv", "clean.parquet", "metadata.csv", "plan.parquet", "split.json"
    }  # fmt: skip


def test_a_dry_run_names_the_images_that_would_be_rejected(parts: Path, tmp_path: Path):
    done = curate("prune", tmp_path / "audit", "-o", tmp_path / "split", "--dry-run")
    assert done.returncode == 0, done.stderr
    for path in REJECTED:
        assert f"reject  {path}: mislabelled" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "Dry run: nothing was written."
    assert {one.path for one in go(tmp_path, dry_run=True).rejected} == REJECTED
    assert go(tmp_path).rejected == ()


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
    with pytest.raises(InputError, match=r"class 'good' would keep 1 of the 7 .*fewer than 2.*--force"):
        go(tmp_path)
    assert go(tmp_path, force=True).warnings
    decide(tmp_path / "audit", **dict.fromkeys(kept, "reject"))
    with pytest.raises(InputError, match="no image would be kept"):
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


@pytest.mark.parametrize("path", ["../a.png", "/etc/passwd", "a/../../b.png", "a//b.png", "", "a\0.png", ".", None])
def test_a_path_that_leads_out_is_refused(parts: Path, tmp_path: Path, path: str | None):
    with pytest.raises(InputError, match="leads out of the dataset"):
        refuse_path(path)
    if path is None:
        return
    images = read_audit(tmp_path / "audit").tables["images"]
    paths = pa.array([path, *images["path"].to_pylist()[1:]])
    pq.write_table(images.set_column(0, images.schema.field("path"), paths), tmp_path / "audit" / "images.parquet")
    with pytest.raises(InputError, match="leads out of the dataset"):
        go(tmp_path)


@pytest.mark.parametrize("place", ["set/split", "audit/split", ".", "set", "audit"])
def test_a_split_lies_beside_what_it_reads(parts: Path, tmp_path: Path, place: str):
    before = snapshot(tmp_path)
    with pytest.raises(UsageError):
        go(tmp_path, split=place)
    assert snapshot(tmp_path) == before


def test_rounds_of_an_audit_cannot_be_changed(parts: Path, tmp_path: Path):
    done = curate("prune", tmp_path / "audit", "-o", tmp_path / "split", "--rounds", "5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the audit was made with 1" in done.stderr
    assert curate("prune", tmp_path / "audit", "-o", tmp_path / "split", "--rounds", "1").returncode == 0


def test_images_that_were_not_judged_stay_and_it_is_said(parts: Path, tmp_path: Path):
    images = pq.read_table(tmp_path / "audit" / "images.parquet")
    verdicts = ["not_judged" if one == "keep" else one for one in images["verdict"].to_pylist()]
    at = images.column_names.index("verdict")
    changed = images.set_column(at, images.schema.field(at), pa.array(verdicts))
    pq.write_table(changed, tmp_path / "audit" / "images.parquet")
    pruned = go(tmp_path)
    assert pruned.images["keep"] == verdicts.count("not_judged") > 0
    assert pruned.warnings[0].endswith("not judged (SET001) and kept, since nothing speaks against them")
    assert {row.reason for row in read_split(tmp_path / "split").rows if row.action == "keep"} == {"verdict not_judged"}
    decide(tmp_path / "audit", **{"train/good/001.png": "reject", "train/good/005.png": "keep"})
    decided = go(tmp_path, split="decided")
    assert decided.images["keep"] == pruned.images["keep"] - 1
    left = verdicts.count("not_judged") - 2
    assert decided.warnings[0].startswith(f"{left} images were not judged (SET001) and kept")
    assert decided.review == "0 confirmed, 0 overruled, 1 kept image rejected, 2 undecided"


def test_without_an_output_the_split_is_named_after_the_dataset_and_says_what_was_decided(parts: Path, tmp_path: Path):
    decide(tmp_path / "audit", **{"train/good/000.png": "keep", "train/good/004.png": "reject"})
    work = tmp_path / "work"
    work.mkdir()
    done = curate("prune", tmp_path / "audit", "--apply", "copy", cwd=work)
    assert done.returncode == 0, done.stderr
    assert "Review: 1 confirmed, 1 overruled" in done.stdout
    assert {folder.name for folder in work.iterdir()} == {"set-clean"}
    clean = names(work / "set-clean/data")
    assert "train/good/000.png" in clean
    assert "train/good/004.png" not in clean


@pytest.mark.parametrize(
    ("dataset", "folder"), [("/data/parts", "parts-clean"), ("images.csv", "images-clean"), ("/", "dataset-clean")]
)
def test_the_folder_of_a_split_has_the_name_of_its_dataset(dataset: str, folder: str):
    assert default_output(dataset) == Path(folder)
