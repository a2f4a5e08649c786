"""Proposed splits: no leakage group on both sides, the wanted shares of each label, the same for the same seed."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench.kill_splits import snapshot, write_fake_audit
from hypothesis import given
from hypothesis import strategies as st

from curate.audit.leakage_groups import audit_leakage_groups
from curate.audit.parquet import Audit, read_audit, write_audit
from curate.audit.schema import TABLES
from curate.errors import UsageError
from curate.splits import apply as apply_module
from curate.splits.folder import read_split
from curate.splits.group_split import split_groups
from curate.splits.modes import Mode
from curate.splits.resplit import ResplitSettings, leaked_share
from curate.splits.shares import parse_shares, wanted_counts
from curate.splits.undo import restore
from tests.cli.test_main import curate
from tests.plates import draw_plates
from tests.splits.pruning import FOLDERS, go, names

SPLITS = ("train", "val", "test")
Rows = list[tuple[int, int]]
"""Group and label of each image."""

rows_of_any_groups = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1, max_size=60)
rows_of_pure_groups = rows_of_any_groups.map(lambda rows: [(group, group % 3) for group, _ in rows])
any_shares = st.lists(st.integers(1, 8), min_size=2, max_size=4).map(lambda parts: np.array(parts) / sum(parts))


def split(rows: Rows, shares: np.ndarray, seed: int = 0) -> np.ndarray:
    groups, labels = np.array(rows, np.int64).T
    wanted = np.bincount(labels, minlength=3)[:, None] * shares
    return split_groups(groups, labels, wanted, generator=np.random.default_rng(seed))


@given(rows=rows_of_any_groups, shares=any_shares, seed=st.integers(0, 3))
def test_no_group_lies_in_two_splits_and_equal_seeds_give_equal_splits(rows: Rows, shares: np.ndarray, seed: int):
    splits = split(rows, shares, seed)
    groups = np.array(rows)[:, 0]
    assert all(len(set(splits[groups == group])) == 1 for group in groups)
    assert splits.tolist() == split(rows, shares, seed).tolist()


@given(rows=rows_of_pure_groups, shares=any_shares)
def test_each_label_has_its_shares_to_within_its_largest_group(rows: Rows, shares: np.ndarray):
    splits = split(rows, shares)
    groups, labels = np.array(rows).T
    for label in set(labels):
        own = labels == label
        largest = np.bincount(groups[own]).max()
        counts = np.bincount(splits[own], minlength=len(shares))
        assert np.abs(counts - own.sum() * shares).max() <= largest + 1e-9


@given(rows=rows_of_any_groups, number=st.permutations(range(13)))
def test_the_numbers_of_groups_mean_nothing(rows: Rows, number: list[int]):
    renamed = [(number[group], label) for group, label in rows]
    assert split(rows, np.array([0.5, 0.5])).tolist() == split(renamed, np.array([0.5, 0.5])).tolist()


def test_seeds_differ_and_0_is_one():
    rows = [(row, 0) for row in range(40)]
    splits = [split(rows, np.array([0.5, 0.5]), seed).tolist() for seed in (0, 1)]
    assert splits[0] != splits[1]


def test_labels_stay_balanced_where_groups_hold_several():
    rows = [(row // 4, int(row % 4 == 3)) for row in range(400)]
    splits = split(rows, np.array([0.7, 0.3]))
    labels = np.array(rows)[:, 1]
    assert [np.mean(splits[labels == label] == 0) for label in (0, 1)] == pytest.approx([0.7, 0.7], abs=0.02)


def test_each_label_keeps_its_shares_so_that_a_defect_of_test_stays_out_of_training():
    labels, splits = ["good"] * 10 + ["hole"] * 4, ["train"] * 8 + ["test"] * 6
    there, wanted = wanted_counts(labels, splits, None)
    assert there == ["train", "test"]
    assert {label: counts.tolist() for label, counts in wanted.items()} == {"good": [8, 2], "hole": [0, 4]}


def test_given_shares_hold_for_every_label_but_keep_out_of_train_what_it_does_not_hold():
    labels, splits = ["good"] * 10 + ["hole"] * 4, ["train"] * 8 + ["test"] * 6
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    _, wanted = wanted_counts(labels, splits, shares)
    assert wanted["good"].tolist() == pytest.approx([6, 2, 2])
    assert wanted["hole"].tolist() == pytest.approx([0, 2, 2])
    _, without = wanted_counts(labels, [""] * 14, shares)
    assert without["hole"].tolist() == pytest.approx([2.4, 0.8, 0.8])


@pytest.mark.parametrize("splits", [["train"] * 3, [""] * 3])
def test_without_two_splits_shares_must_be_given(splits: list[str]):
    with pytest.raises(UsageError, match="which gives no shares; add --shares train="):
        wanted_counts(["a"] * 3, splits, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train=0.7,test=0.2", "add up to 0.9; they must add up to 1"),
        ("train=1", "'train=1' is not NAME=SHARE"),
        ("train", "'train' is not NAME=SHARE"),
        ("", "'' is not NAME=SHARE"),
        ("train=0.5,train=0.5", "'train' occurs twice"),
        ("train=0.5,../x=0.5", "'../x=0.5' is not NAME=SHARE"),
        ("train=half,test=0.5", "'train=half' is not NAME=SHARE"),
        ("train=nan,test=0.5", "'train=nan' is not NAME=SHARE"),
        ("train=1.5,test=-0.5", "'train=1.5' is not NAME=SHARE"),
    ],
)
def test_wrong_shares_are_one_sentence(text: str, says: str):
    with pytest.raises(UsageError) as refused:
        parse_shares(text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_shares_are_read_in_their_order():
    assert parse_shares("train=0.7, val=0.15,test=0.15") == {"train": 0.7, "val": 0.15, "test": 0.15}


LOTS = 20


@pytest.fixture
def lots(tmp_path: Path) -> Path:
    """A manifest of twenty lots of three images each, the third of each in `test`, and an audit of it."""
    root = tmp_path / "set"
    root.mkdir()
    rows = ["path,label,split,group"]
    for row in range(3 * LOTS):
        name, lot = f"{row:03d}.png", row // 3
        (root / name).write_bytes(b"image %d" % row)
        rows.append(f"{name},{'hole' if lot % 4 == 3 else 'good'},{'test' if row % 3 == 2 else 'train'},lot {lot}")
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    write_fake_audit(tmp_path / "audit", root / "list.csv", {"004.png"})
    run = json.loads((tmp_path / "audit/run.json").read_text())
    run |= {"dataset": str(root / "list.csv"), "same_part": {"threshold": 6.0, "undecidable": 0.1}}
    (tmp_path / "audit/run.json").write_text(json.dumps(run))
    return root


def test_a_proposed_split_does_not_leak_and_says_what_it_changes(lots: Path, tmp_path: Path):
    pruned = go(tmp_path, resplit=ResplitSettings())
    found = pruned.resplit
    assert found
    assert (found.images, found.groups, found.leaked_before, found.leaked_after) == (59, 20, 1.0, 0.0)
    assert found.counts["good"]["train"] == pytest.approx(found.wanted["good"]["train"], abs=3)
    assert found.counts["hole"]["train"] == pytest.approx(found.wanted["hole"]["train"], abs=3)
    assert found.groups_moved == 20
    assert pruned.warnings == ()
    rows = [row for row in read_split(tmp_path / "split").rows if row.action == "keep"]
    assert sum(row.split != row.former_split for row in rows) == found.images_moved
    assert len({(row.group, row.split) for row in rows}) == 20


def test_every_list_has_the_new_split_and_the_plan_the_former_one(lots: Path, tmp_path: Path):
    go(tmp_path, resplit=ResplitSettings(shares=parse_shares("train=0.5,val=0.25,test=0.25"), seed=7))
    folder = tmp_path / "split"
    plan = {row["path"]: row for row in pq.read_table(folder / "plan.parquet").to_pylist()}
    new = {path: row["split"] for path, row in plan.items() if row["action"] == "keep"}
    assert set(new.values()) == {"train", "val", "test"}
    assert {plan[path]["former_split"] for path in new} == {"train", "test"}
    assert plan["004.png"]["former_split"] is None
    assert plan["004.png"]["split"] == "train"
    for name, key in (("clean.csv", "path"), ("metadata.csv", "file_name")):
        with (folder / name).open() as file:
            assert {row[key]: row["split"] for row in csv.DictReader(file)} == new
    clean = pq.read_table(folder / "clean.parquet")
    assert clean.schema.equals(TABLES["images"])
    assert dict(zip(clean["path"].to_pylist(), clean["split"].to_pylist(), strict=True)) == new
    with (folder / "anomalib.csv").open() as file:
        anomalib = {row["image_path"]: row["split"] for row in csv.DictReader(file)}
    good = {path for path in new if plan[path]["label"] == "good"}
    assert {p for p in good if anomalib[p] == "train"} == {p for p in good if new[p] == "train"}
    assert {p for p in set(anomalib) - good} == {p for p in set(new) - good if new[p] != "train"}
    assert json.loads((folder / "split.json").read_text())["resplit"]["seed"] == 7


def test_without_resplit_the_plan_and_the_lists_are_as_ever(lots: Path, tmp_path: Path):
    assert go(tmp_path).resplit is None
    plan = pq.read_table(tmp_path / "split/plan.parquet")
    assert set(plan["former_split"].to_pylist()) == {None}
    assert set(plan["split"].to_pylist()) == {"train", "test"}


def test_a_plan_of_an_earlier_version_without_former_splits_is_read(lots: Path, tmp_path: Path):
    go(tmp_path)
    file = tmp_path / "split/plan.parquet"
    before = read_split(tmp_path / "split").rows
    pq.write_table(pq.read_table(file).drop_columns(["former_split"]), file)
    assert read_split(tmp_path / "split").rows == before


def shuffled(folder: Path, target: Path) -> Path:
    audit = read_audit(folder)
    order = np.random.default_rng(1).permutation(audit.tables["images"].num_rows)
    images = audit.tables["images"].take(pa.array(order))
    target.mkdir()
    write_audit(Audit(tables={**audit.tables, "images": images}, run=audit.run), target)
    return target


def test_equal_seeds_give_equal_bytes_and_the_order_of_files_counts_for_nothing(lots: Path, tmp_path: Path):
    shuffled(tmp_path / "audit", tmp_path / "other")
    for output, audit in (("one", "audit"), ("two", "audit"), ("three", "other")):
        go(tmp_path, split=output, audit=audit, resplit=ResplitSettings(seed=3))
    one, two, three = (tmp_path / output for output in ("one", "two", "three"))
    for name in ("plan.parquet", "clean.csv", "clean.parquet", "anomalib.csv", "metadata.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    splits = [{row.path: row.split for row in read_split(folder).rows} for folder in (one, three)]
    assert splits[0] == splits[1]


def test_chains_of_copies_groups_and_shots_stay_together(lots: Path, tmp_path: Path):
    audit = read_audit(tmp_path / "audit")
    pairs = [{"path": "003.png", "duplicate_of": "000.png", "kind": "same_part", "same_label": True}]
    pairs += [{"path": "006.png", "duplicate_of": "005.png", "kind": "exact", "same_label": True}]
    tables = {**audit.tables, "duplicates": pa.Table.from_pylist(pairs, schema=TABLES["duplicates"])}
    write_audit(Audit(tables=tables, run=audit.run), tmp_path / "audit")
    go(tmp_path, resplit=ResplitSettings())
    rows = {row.path: row.split for row in read_split(tmp_path / "split").rows if row.action == "keep"}
    assert len({rows[f"{row:03d}.png"] for row in range(9) if row != 4}) == 1
    groups = audit_leakage_groups(read_audit(tmp_path / "audit"))
    assert leaked_share(np.delete(groups, 4), [rows[path] for path in sorted(rows)]) == 0


def test_what_was_not_looked_for_and_what_stays_empty_is_said(lots: Path, tmp_path: Path):
    run = json.loads((tmp_path / "audit/run.json").read_text())
    (tmp_path / "audit/run.json").write_text(json.dumps(run | {"same_part": None}))
    shares = parse_shares("train=0.98,val=0.01,test=0.01")
    warnings = go(tmp_path, resplit=ResplitSettings(shares=shares)).warnings
    assert "Parts may still leak: shots of the same part were not looked for (--no-same-part)" in warnings
    assert any("The split 'val' has no image" in warning for warning in warnings)


@pytest.mark.parametrize("mode", FOLDERS)
def test_an_applied_manifest_has_the_new_splits_and_is_undone(lots: Path, tmp_path: Path, mode: Mode):
    before = snapshot(lots)
    go(tmp_path, mode, resplit=ResplitSettings())
    with (tmp_path / "split/data/manifest.csv").open() as file:
        written = {row["path"]: row["split"] for row in csv.DictReader(file)}
    rows = {row.path: row.split for row in read_split(tmp_path / "split").rows if row.action == "keep"}
    assert written == rows
    restore(tmp_path / "split")
    assert snapshot(lots) == before
    assert not (tmp_path / "split/data").exists()


class Killed(BaseException):
    """Ends a call where it stands, as a kill does."""


def test_a_killed_apply_resumes_with_the_same_proposal_and_no_other(
    lots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps = iter(range(10))

    def die(*values: object, plain: object = apply_module.place, **more: object) -> None:
        if next(steps, None) is None:
            raise Killed
        plain(*values, **more)  # type: ignore[operator]

    settings = ResplitSettings(seed=5)
    with monkeypatch.context() as patched:
        patched.setattr(apply_module, "place", die)
        with pytest.raises(Killed):
            go(tmp_path, Mode.COPY, resplit=settings)
    for other in (None, ResplitSettings(seed=6)):
        with pytest.raises(
            UsageError, match="holds another plan, from other verdicts, decisions, --keep-shots or splits"
        ):
            go(tmp_path, Mode.COPY, resplit=other)
    found = go(tmp_path, Mode.COPY, resplit=settings).resplit
    assert found
    assert found.leaked_after == 0
    assert len(names(tmp_path / "split/data")) == 60


@pytest.mark.parametrize("mode", [Mode.MOVE, Mode.MANIFEST])
def test_a_mode_that_writes_no_manifest_is_refused(lots: Path, tmp_path: Path, mode: Mode):
    with pytest.raises(UsageError, match=f"--apply {mode}: with --resplit only copy, hardlink and symlink"):
        go(tmp_path, mode, resplit=ResplitSettings())
    assert not (tmp_path / "split").exists()


@pytest.mark.parametrize("mode", list(Mode))
def test_folders_that_are_splits_are_not_filled_anew(parts: Path, tmp_path: Path, mode: Mode):
    with pytest.raises(UsageError, match=f"--apply {mode}: folders cannot say the splits of --resplit"):
        go(tmp_path, mode, resplit=ResplitSettings())
    assert not (tmp_path / "split").exists()


def test_splits_that_were_not_judged_are_refused(parts: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"3 images \(split 'test'\) not in the audit.*--split all"):
        go(tmp_path, resplit=ResplitSettings(shares=parse_shares("train=0.5,test=0.5")))
    assert not (tmp_path / "split").exists()


def test_masks_have_the_split_of_their_image(parts: Path, tmp_path: Path):
    write_fake_audit(tmp_path / "all", parts, set(), split="all")
    shares = parse_shares("train=0.5,val=0.25,test=0.25")
    go(tmp_path, audit="all", resplit=ResplitSettings(shares=shares))
    rows = {row.path: row for row in read_split(tmp_path / "split").rows}
    masks = [row for row in rows.values() if row.mask_of]
    assert len(masks) == 3
    assert all((row.split, row.former_split) == (rows[row.mask_of].split, "test") for row in masks)
    assert not any(row.split == "train" for row in rows.values() if row.label == "hole")


def test_the_command_line_prints_shares_and_leaks_and_takes_a_seed_for_an_audit(lots: Path, tmp_path: Path):
    done = curate("prune", "audit", "-o", "split", "--resplit", "--seed", "0", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Proposed splits: 59 images in 20 leakage groups; " in done.stdout
    assert "In another split, too (pixels, group or part): 100.0 % of the images before, 0.0 % after." in done.stdout
    again = curate("prune", "audit", "-o", "split", "--resplit", "--format", "json", cwd=tmp_path)
    assert json.loads(again.stdout)["resplit"]["leaked_after"] == 0


def test_a_dataset_is_scanned_with_all_its_splits(tmp_path: Path):
    draw_plates(tmp_path / "set/train/good", 10)
    draw_plates(tmp_path / "set/test/good", 4, seed=1)
    words = ("prune", "set", "-o", "split", "--resplit", "--rounds", "1", "--offline", "-q", "--format", "json")
    done = curate(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pruned = json.loads(done.stdout)
    assert sum(pruned["resplit"]["counts"]["good"].values()) == pruned["images"]["keep"]
    assert len(read_split(tmp_path / "split").rows) == 14


def test_many_labels_are_cut_short_on_the_terminal(lots: Path, tmp_path: Path):
    found = go(tmp_path, resplit=ResplitSettings()).resplit
    assert found
    many = {f"{number:02d}": {"train": 1} for number in range(25)}
    lines = replace(found, counts=many, wanted=many).lines()
    assert len(lines) == 23
    assert lines[-2] == "  and 5 more labels; --format json has all"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--shares", "train=0.5,test=0.5"), "--shares train=0.5,test=0.5: is for --resplit"),
        (("--resplit", "--seed", "-1"), "--seed -1: must be 0 or more"),
        (("--seed", "1"), "--seed: only a dataset is scanned"),
        (("--resplit", "--shares", "a"), "'a' is not NAME=SHARE"),
    ],
)
def test_wrong_options_are_one_sentence(lots: Path, tmp_path: Path, words: tuple[str, ...], says: str):
    done = curate("prune", "audit", "-o", "split", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not os.path.lexists(tmp_path / "split")
