"""Which shots of one part a plan keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from bench.kill_splits import snapshot, write_fake_audit

from curate.audit.parquet import Audit, read_audit, write_audit
from curate.audit.schema import DUPLICATES, SAME_PART, SAME_PART_DIFFERS
from curate.errors import InputError, UsageError
from curate.splits.folder import read_split
from curate.splits.modes import KeepShots, Mode
from curate.splits.plan import Action
from curate.splits.undo import restore
from tests.splits.pruning import REJECTED, decide, go
from tests.splits.test_plan import curate

A, B, C, D = (f"train/good/{number:03d}.png" for number in (1, 2, 5, 6))
TRIO = ((A, B), (A, C), (B, C))
Pairs = Sequence[tuple[str, str]]


def with_shots(folder: Path, pairs: Pairs, *, kind: str = SAME_PART, sharpness: dict[str, float] | None = None) -> None:
    """Let an audit say which images show the same part, and how sharp they are."""
    audit = read_audit(folder)
    rows = [{"duplicate_of": a, "path": b, "kind": kind, "similarity": 9.0, "same_label": True} for a, b in pairs]
    images = audit.tables["images"]
    values = [(sharpness or {}).get(path, 0.5) for path in images["path"].to_pylist()]
    place = images.schema.get_field_index("sharpness")
    images = images.set_column(place, images.schema.field(place), pa.array(values, pa.float32()))
    tables = {**audit.tables, "images": images, "duplicates": pa.Table.from_pylist(rows, schema=DUPLICATES)}
    write_audit(replace(audit, tables=tables, run={**audit.run, "same_part": {"pairs": len(rows)}}), folder)


def reasons(home: Path, **settings: object) -> dict[str, str]:
    """Return why images are rejected that their verdicts keep."""
    go(home, **settings)
    rejected = (row for row in read_split(home / "split").rows if row.action is Action.REJECT)
    return {row.path: row.reason for row in rejected if row.path not in REJECTED}


def another(path: str) -> str:
    return f"another shot of the same part as {path}, which is kept"


def test_all_shots_stay_unless_asked(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", TRIO)
    assert reasons(tmp_path) == {}


def test_the_first_shot_by_path_stays(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", TRIO)
    assert reasons(tmp_path, keep_shots=KeepShots.FIRST) == {B: another(A), C: another(A)}


def test_the_sharpest_shot_stays_and_of_equally_sharp_ones_the_first(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", TRIO, sharpness={A: 0.3, B: 0.6, C: 0.6})
    assert reasons(tmp_path, keep_shots=KeepShots.SHARPEST) == {A: another(B), C: another(B)}


def test_a_shot_whose_sharpness_is_unknown_is_the_last(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", ((A, B),), sharpness={A: float("nan"), B: 0.1})
    assert reasons(tmp_path, keep_shots=KeepShots.SHARPEST) == {A: another(B)}


def test_a_chain_is_not_one_part(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", TRIO[:2])
    assert reasons(tmp_path, keep_shots=KeepShots.FIRST) == {B: another(A)}


def test_a_pair_that_differs_in_one_place_stays(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", TRIO, kind=SAME_PART_DIFFERS)
    assert reasons(tmp_path, keep_shots=KeepShots.FIRST) == {}


def test_a_rejected_shot_is_no_shot_to_keep(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", (("train/good/000.png", A), ("train/good/000.png", B), (A, B)))
    assert reasons(tmp_path, keep_shots=KeepShots.FIRST) == {B: another(A)}


def test_a_shot_under_another_label_stays(tmp_path: Path):
    labels = {"good": range(4), "hole": range(4, 8)}
    for label, numbers in labels.items():
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in numbers:
            (tmp_path / "set" / label / f"{number}.png").write_bytes(bytes([number]))
    write_fake_audit(tmp_path / "audit", tmp_path / "set", set())
    with_shots(
        tmp_path / "audit", (("good/0.png", "good/1.png"), ("good/0.png", "hole/4.png"), ("good/1.png", "hole/4.png"))
    )
    assert reasons(tmp_path, keep_shots=KeepShots.FIRST) == {"good/1.png": another("good/0.png")}


def test_a_person_who_keeps_a_shot_is_followed(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", TRIO, sharpness={A: 0.9})
    decide(tmp_path / "audit", **{B: "keep"})
    assert reasons(tmp_path, keep_shots=KeepShots.SHARPEST) == {A: another(B), C: another(B)}


def test_all_shots_that_a_person_keeps_stay(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", TRIO)
    decide(tmp_path / "audit", **{B: "keep", C: "keep"})
    assert reasons(tmp_path, keep_shots=KeepShots.FIRST) == {A: another(B)}


def test_a_shot_that_a_person_rejects_leaves_the_part_to_the_others(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", TRIO)
    decide(tmp_path / "audit", **{A: "reject"})
    assert reasons(tmp_path, keep_shots=KeepShots.FIRST) == {A: "decided by hand: why", C: another(B)}


def test_a_class_is_not_emptied_of_its_shots_unless_forced(parts: Path, tmp_path: Path):
    kept = [f"train/good/{number:03d}.png" for number in (1, 2, 5, 6, 8, 9, 10)]
    with_shots(tmp_path / "audit", [(a, b) for i, a in enumerate(kept) for b in kept[i + 1 :]])
    with pytest.raises(InputError, match=r"--keep-shots first: class 'good' would keep 1 of the 7 .* --force"):
        go(tmp_path, keep_shots=KeepShots.FIRST)
    assert go(tmp_path, keep_shots=KeepShots.FIRST, force=True).warnings


def test_an_audit_without_the_search_is_refused_in_one_sentence(parts: Path, tmp_path: Path):
    with pytest.raises(InputError, match="was made without the search for shots of the same part"):
        go(tmp_path, keep_shots=KeepShots.FIRST)
    assert not (tmp_path / "split").exists()


def test_a_plan_is_resumed_with_the_same_shots_only_and_restored(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", TRIO)
    before = snapshot(parts)
    assert go(tmp_path, Mode.MOVE, keep_shots=KeepShots.FIRST).images == {"keep": 5, "reject": 4, "carry": 3}
    assert (tmp_path / "split" / "quarantine" / B).is_file()
    assert go(tmp_path, Mode.MOVE, keep_shots=KeepShots.FIRST).images["keep"] == 5
    with pytest.raises(UsageError, match="holds another plan, from other verdicts, decisions, --keep-shots or splits"):
        go(tmp_path, Mode.MOVE)
    restore(tmp_path / "split")
    assert snapshot(parts) == before


def test_the_option_is_on_the_command_line(parts: Path, tmp_path: Path):
    with_shots(tmp_path / "audit", TRIO)
    done = curate("prune", tmp_path / "audit", "-o", tmp_path / "split", "--keep-shots", "sharpest")
    assert (done.returncode, done.stderr) == (0, "")
    assert "4  reject" in done.stdout


def test_images_of_unjudged_splits_have_the_groups_that_the_scan_took_from_names(parts: Path, tmp_path: Path):
    audit = read_audit(tmp_path / "audit")
    run = {**audit.run, "settings": {**audit.run["settings"], "group_from": r"(\d+)\.png"}}
    write_audit(Audit(tables=audit.tables, run=run), tmp_path / "audit")
    go(tmp_path)
    rows = {row.path: row for row in read_split(tmp_path / "split").rows}
    assert rows["test/hole/003.png"].group == "003"
    write_audit(Audit(tables=audit.tables, run=run | {"settings": {"group_from": "("}}), tmp_path / "audit")
    with pytest.raises(InputError, match="group_from that RE2 cannot read"):
        go(tmp_path, split="other")
