"""What people decided is in every audit that is read, and in no file but `decisions.parquet`."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.audit.decisions import Decision, Decisions, settle_decisions
from curate.audit.effective_verdicts import DECIDED_COLUMNS
from curate.audit.parquet import Audit, read_audit, write_audit
from curate.audit.reviewed import ReviewCounts, hashes_of, review_counts
from curate.errors import InputError
from curate.records import Verdict
from tests.audit.drawn_audit import draw_audit
from tests.rules.audits import make_audit

UNREADABLE = "cast/broken.png"


def decide(audit: Audit, **decisions: str) -> Audit:
    """Decide on images, and read the audit again."""
    table = pa.table({"path": list(decisions), "decision": list(decisions.values())})
    pq.write_table(table, audit.path / "decisions.parquet")
    return read_audit(audit.path)


def effective(audit: Audit) -> dict[str, tuple[str, str]]:
    rows = audit.tables["images"].select(["path", *DECIDED_COLUMNS]).to_pylist()
    return {row["path"]: (row["decision"], row["effective_verdict"]) for row in rows}


def test_a_decision_stands_above_the_verdict_in_every_audit_that_is_read(tmp_path: Path):
    audit = draw_audit(tmp_path)
    first, second, third, *_, kept = [path for path in hashes_of(audit) if path != UNREADABLE]
    read = effective(decide(audit, **{first: "keep", second: "reject", third: "unsure", kept: "reject"}))
    assert read.pop(first) == ("keep", "keep")
    assert read.pop(second) == ("reject", "rejected")
    assert read.pop(third) == ("unsure", "mislabelled")
    assert read.pop(kept) == ("reject", "rejected")
    verdicts = dict(zip(*(audit.tables["images"][name].to_pylist() for name in ("path", "verdict")), strict=True))
    assert read == {path: ("", verdicts[path]) for path in read}


def test_the_table_for_people_has_the_same_columns(tmp_path: Path):
    images = decide(draw_audit(tmp_path), **{"cast/00000.png": "keep"}).images
    assert images.query("decision == 'keep'")["effective_verdict"].tolist() == ["keep"]


def test_a_file_that_cannot_be_read_stays_so_whatever_was_decided(tmp_path: Path):
    assert effective(decide(draw_audit(tmp_path), **{UNREADABLE: "keep"}))[UNREADABLE] == ("keep", "unreadable")


def test_no_file_of_an_audit_holds_what_may_change_later(tmp_path: Path):
    audit = decide(draw_audit(tmp_path), **{"cast/00000.png": "keep"})
    write_audit(audit, audit.path)
    assert not set(DECIDED_COLUMNS) & set(pq.read_schema(audit.path / "images.parquet").names)
    Decisions(audit.path, hashes_of(audit)).decide("cast/00000.png", Decision.REJECT, "", seen=0)
    assert effective(read_audit(audit.path))["cast/00000.png"] == ("reject", "rejected")


def test_a_table_that_carries_old_decisions_is_not_believed(tmp_path: Path):
    audit = draw_audit(tmp_path)
    images = decide(audit, **{"cast/00000.png": "keep"}).tables["images"]
    pq.write_table(images, audit.path / "images.parquet")
    (audit.path / "decisions.parquet").unlink()
    assert effective(read_audit(audit.path))["cast/00000.png"] == ("", "mislabelled")


def test_decisions_that_cannot_be_used_are_one_sentence_to_every_reader(tmp_path: Path):
    with pytest.raises(InputError, match=r"^[^\n]*'maybe' for 'cast/00000.png' is none of keep, reject, unsure"):
        decide(draw_audit(tmp_path), **{"cast/00000.png": "maybe"})


def test_decisions_made_by_hand_hold_for_the_files_of_the_audit_that_they_lie_in(tmp_path: Path):
    audit = decide(draw_audit(tmp_path), **{"cast/00000.png": "keep", "forged/00001.png": "keep"})
    settle_decisions(audit.path)
    later = {path: "another file" if path == "cast/00000.png" else one for path, one in hashes_of(audit).items()}
    del later["forged/00003.png"]
    assert set(Decisions(audit.path, later).all()) == {"forged/00001.png"}
    settle_decisions(tmp_path / "no audit yet")
    (audit.path / "images.parquet").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"^[^\n]*a damaged audit .*; move its decisions.parquet away"):
        settle_decisions(audit.path)


FOUR = [{"verdict": "mislabelled"}, {"verdict": "near_ood"}, {"verdict": "duplicate"}, {}]


@pytest.mark.parametrize(
    ("decisions", "words"),
    [
        ("", ""),
        ("reject keep . .", "1 confirmed, 1 overruled"),
        ("reject reject keep keep", "2 confirmed, 1 overruled"),
        ("reject . . reject", "1 confirmed, 0 overruled, 1 kept image rejected, 1 undecided"),
        ("unsure . . .", "0 confirmed, 0 overruled, 1 unsure, 1 undecided"),
        (". . . keep", ""),
    ],
)
def test_a_review_is_counted_against_the_verdicts(decisions: str, words: str):
    given = [{} if word == "." else {"decision": word} for word in decisions.split() or "...."]
    audit = make_audit(images=[row | decision for row, decision in zip(FOUR, given, strict=True)])
    assert review_counts(audit).words == words


@pytest.mark.parametrize(
    ("decision", "effective", "words"),
    [
        ("", "not_judged", ""),
        ("unsure", "not_judged", ""),
        ("keep", "keep", ""),
        ("reject", "rejected", "0 confirmed, 0 overruled, 1 kept image rejected"),
    ],
)
def test_an_image_that_was_not_judged_stays_so_until_somebody_decides(decision: str, effective: str, words: str):
    audit = make_audit(images=[{"verdict": "not_judged", "reasons": ["SET001"], "decision": decision}])
    assert audit.tables["images"]["effective_verdict"].to_pylist() == [effective]
    assert review_counts(audit).words == words


def test_a_table_with_the_verdict_that_only_people_give_is_refused(tmp_path: Path):
    write_audit(make_audit(images=[{"verdict": "rejected"}]), tmp_path)
    with pytest.raises(InputError, match="the verdict 'rejected' is none of keep, not_judged, "):
        read_audit(tmp_path)


def test_an_audit_without_verdicts_has_no_review():
    audit = make_audit(images=[{}])
    files_only = audit.tables["images"].drop_columns(["verdict"])
    read = Audit(tables={"images": files_only})
    assert "effective_verdict" not in read.tables["images"].column_names
    assert review_counts(read) == ReviewCounts()


def test_no_scan_gives_the_verdict_that_only_people_give(tmp_path: Path):
    assert Verdict.REJECTED not in draw_audit(tmp_path).tables["images"]["verdict"].to_pylist()
