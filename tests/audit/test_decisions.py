"""What people decided, read from a file that curate or a person wrote, and written so that no change is lost."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.audit.decisions import LONGEST_NOTE, SCHEMA, Decided, Decision, Decisions, Stale
from curate.errors import InputError, WriteError

HASHES = {"a.png": "1", "b.png": "2", "c.png": "3"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text("{}")
    return tmp_path


@pytest.fixture
def decisions(folder: Path) -> Decisions:
    return Decisions(folder, HASHES)


def write(folder: Path, **columns: list[object]) -> None:
    pq.write_table(pa.table(columns), folder / "decisions.parquet")


def test_without_a_file_nothing_is_decided(decisions: Decisions):
    assert decisions.all() == {}


def test_a_file_written_by_hand_needs_paths_and_decisions_only(decisions: Decisions, folder: Path):
    write(folder, path=["a.png", "b.png"], decision=["keep", "unsure"])
    assert decisions.all() == {"a.png": Decided(decision=Decision.KEEP), "b.png": Decided(decision=Decision.UNSURE)}
    decisions.decide("a.png", Decision.REJECT, "why", seen=0)
    assert decisions.all() == {
        "a.png": Decided(decision=Decision.REJECT, note="why", revision=1),
        "b.png": Decided(decision=Decision.UNSURE),
    }
    assert pq.read_table(folder / "decisions.parquet").schema.equals(SCHEMA)


def test_the_last_row_of_an_image_counts_and_nulls_are_empty(decisions: Decisions, folder: Path):
    write(folder, path=["a.png", "a.png"], decision=["keep", "reject"], note=["first", None], revision=[4, None])
    assert decisions.all() == {"a.png": Decided(decision=Decision.REJECT)}


def test_a_decision_ends_with_the_file_it_was_made_on_and_its_row_stays(decisions: Decisions, folder: Path):
    write(folder, path=["a.png", "gone.png"], decision=["keep", "keep"], sha256=["another", "1"])
    assert decisions.all() == {}
    decisions.decide("b.png", Decision.KEEP, "", seen=0)
    assert set(decisions.all()) == {"b.png"}
    assert Decisions(folder, {"gone.png": "1"}).all() == {"gone.png": Decided(decision=Decision.KEEP)}


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"path": ["z.png"], "decision": ["keep"]}, "'z.png' is not an image of the audit; remove that row"),
        ({"path": [None], "decision": ["keep"]}, "None is not an image of the audit; remove that row"),
        ({"path": ["a.png"], "decision": ["maybe"]}, "'maybe' for 'a.png' is none of keep, reject, unsure"),
        ({"path": ["a.png"], "decision": [None]}, "None for 'a.png' is none of keep, reject, unsure"),
        ({"path": ["a.png"]}, "cannot be read as decisions .*decision.*; correct it, or move it away"),
        ({"decision": ["keep"]}, "cannot be read as decisions .*path.*; correct it, or move it away"),
        ({"path": ["a.png"], "decision": ["keep"], "revision": ["x"]}, "cannot be read as decisions"),
        ({"path": [["a.png"]], "decision": ["keep"]}, "cannot be read as decisions"),
    ],
)
def test_decisions_that_cannot_be_used_are_one_sentence_and_stay(
    decisions: Decisions, folder: Path, columns: dict[str, list[object]], says: str
):
    write(folder, **columns)
    before = (folder / "decisions.parquet").read_bytes()
    with pytest.raises(InputError, match=says) as raised:
        decisions.all()
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=says):
        decisions.decide("b.png", Decision.KEEP, "", seen=0)
    assert (folder / "decisions.parquet").read_bytes() == before


def test_a_damaged_file_is_one_sentence_and_stays(decisions: Decisions, folder: Path):
    (folder / "decisions.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"decisions\.parquet: cannot be read as decisions"):
        decisions.decide("a.png", Decision.KEEP, "", seen=0)
    assert (folder / "decisions.parquet").read_text() == "no parquet"


def test_a_change_must_start_from_the_latest_revision(decisions: Decisions):
    assert decisions.decide("a.png", Decision.KEEP, "n" * 3000, seen=0).note == "n" * LONGEST_NOTE
    with pytest.raises(Stale) as stale:
        decisions.decide("a.png", Decision.REJECT, "", seen=0)
    assert stale.value.current == decisions.all()["a.png"]
    decisions.decide("a.png", Decision.UNDECIDED, "", seen=1)
    assert decisions.all()["a.png"] == Decided(revision=2)


def test_only_images_of_the_audit_can_be_decided_on(decisions: Decisions, folder: Path):
    with pytest.raises(InputError, match=r"z\.png: not an image of this audit"):
        decisions.decide("z.png", Decision.KEEP, "", seen=0)
    assert not (folder / "decisions.parquet").exists()


def test_changes_at_the_same_time_are_all_kept_and_leave_no_other_file(folder: Path):
    threads = [
        threading.Thread(target=Decisions(folder, HASHES).decide, args=(path, Decision.KEEP, ""), kwargs={"seen": 0})
        for path in HASHES
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(Decisions(folder, HASHES).all()) == set(HASHES)
    assert {file.name for file in folder.iterdir()} == {"run.json", "decisions.parquet"}


def test_a_write_that_fails_leaves_the_decisions_as_they_were(
    decisions: Decisions, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    decisions.decide("a.png", Decision.KEEP, "", seen=0)

    def fail(*names: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(WriteError, match=r"decisions\.parquet: the decision cannot be written \(No space"):
        decisions.decide("a.png", Decision.REJECT, "", seen=1)
    assert decisions.all() == {"a.png": Decided(decision=Decision.KEEP, revision=1)}
    assert {file.name for file in folder.iterdir()} == {"run.json", "decisions.parquet"}
