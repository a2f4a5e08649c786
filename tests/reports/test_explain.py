"""What `curate explain` prints about an image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from curate.audit.decisions import Decision, Decisions
from curate.audit.parquet import Audit, read_audit
from curate.audit.reviewed import hashes_of
from curate.audit.schema import TABLES
from curate.audit.views import views_of_older_run
from curate.errors import InputError
from curate.reports.explain import draw_map, explain, find_path
from tests.audit.drawn_audit import draw_audit, view_row, with_views
from tests.cli.test_main import curate


def audit_of(*rows: dict[str, object], **more: list[dict[str, object]]) -> Audit:
    """Return an audit with those images; what is not given is null, texts are empty."""
    empty = {
        "path": "",
        "label": "good",
        "nominal_set": "good",
        "split": "",
        "verdict": "keep",
        "suggested_label": "",
        "skip_reason": "",
    }
    tables = {name: pa.Table.from_pylist(more.get(name, []), schema=schema) for name, schema in TABLES.items()}
    tables["images"] = pa.Table.from_pylist([empty | row for row in rows], schema=TABLES["images"])
    run = {"dataset": "/parts", "map_scale": {"low": 0.0, "high": 1.0}, "levels": {}}
    return with_views(Audit(tables=tables, run=run, path=Path("audit")), *VIEWS)


VIEWS = (view_row("good", "hybrid", threshold=2.0), view_row("good", "neighbours", threshold=0.5))


ANOMALOUS = {"path": "good/03.png", "verdict": "mislabelled", "anomaly_score": 2.5, "score_neighbours": 0.75}
ANOMALOUS |= {"confidence": 0.03, "p_value": 3e-29, "nearest": ["good/01.png"], "round_rejected": 1}
FINDING = {
    "path": "good/03.png",
    "code": "LBL001",
    "severity": "warning",
    "message": "a hole",
    "map": "maps/0000003.png",
}
ROUND = {
    "label": "good",
    "nominal_set": "good",
    "round": 1,
    "images": 8,
    "fence": 2.0,
    "kept": 7,
    "rejected": 1,
    "reinstated": 0,
}
ROUND |= {"contamination": 0.125}


def test_an_image_is_explained_by_views_rounds_findings_and_neighbours():
    explanation = explain(
        audit_of(ANOMALOUS, findings=[FINDING], rounds=[ROUND, ROUND | {"label": "other", "nominal_set": "other"}]),
        "good/03.png",
    )
    text = "\n".join(explanation.lines())
    assert "good/03.png: mislabelled" in text
    assert "anomaly score 2.50 (median of 'good' 0, threshold 1)" in text
    assert "neighbours 0.75, above its threshold 0.5" in text
    assert "nominal among 'good': confidence 0.03, p under 0.001" in text
    assert (
        text.count(
            "round 1: threshold 2, 7 kept, 1 rejected, 0 reinstated, contamination 12.5%; this image was rejected"
        )
        == 1
    )
    assert "LBL001" in text
    assert "nearest kept image 1: good/01.png" in text
    assert json.loads(json.dumps(explanation.as_json()))["views"] == [
        {"name": "neighbours", "score": 0.75, "threshold": 0.5, "weight": None, "abstains": False, "reason": ""}
    ]


def test_the_weights_of_the_views_are_given_where_there_are_several():
    audit = audit_of(ANOMALOUS | {"score_flow": 3.0})
    neighbours = view_row("good", "neighbours", threshold=0.5, weight=0.817)
    several = with_views(audit, neighbours, view_row("good", "flow", threshold=4.0, weight=1.0))
    text = "\n".join(explain(several, "good/03.png").lines())
    assert "neighbours 0.75, above its threshold 0.5, weight 0.82\n" in text
    assert "flow       3, threshold 4, weight 1\n" in text
    assert "weight" not in "\n".join(explain(with_views(audit, neighbours), "good/03.png").lines())


@pytest.mark.parametrize("value", ["many", True, [1], None, float("nan"), 10**400])
def test_votes_of_an_older_audit_that_are_no_numbers_are_passed_over(value: object):
    audit = audit_of(ANOMALOUS | {"score_flow": 3.0})
    fences = {"good": {"hybrid": {"value": 2.0}, "neighbours": {"value": 0.5}, "flow": {"value": 4.0}}}
    for votes in ({"good": {"neighbours": value, "flow": value}}, {"good": value}, value):
        views = views_of_older_run({"fences": fences, "votes": votes})
        text = "\n".join(explain(with_views(audit, *views.to_pylist()), "good/03.png").lines())
        assert "above its threshold 0.5\n" in text


def test_a_view_that_abstains_is_shown_with_the_reason():
    audit = audit_of(ANOMALOUS | {"score_flow": 3.0})
    abstaining = view_row("good", "flow", abstains="the images are not aligned")
    text = "\n".join(explain(with_views(audit, *VIEWS, abstaining), "good/03.png").lines())
    assert "flow       3, abstains: the images are not aligned\n" in text
    assert "neighbours 0.75, above its threshold 0.5\n" in text


def test_a_scorer_that_somebody_adds_is_a_view_by_its_column():
    audit = audit_of(ANOMALOUS)
    scores = pa.array([7.0], pa.float32())
    images = audit.tables["images"].append_column("score_added", scores)
    audit = with_views(
        replace(audit, tables=audit.tables | {"images": images}), view_row("good", "added", threshold=6.0)
    )
    text = "\n".join(explain(audit, "good/03.png").lines())
    assert "added      7, above its threshold 6\n" in text
    assert "neighbours 0.75, no threshold\n" in text


def test_an_image_that_could_not_be_read_says_why():
    explanation = explain(
        audit_of({"path": "cut.png", "verdict": "unreadable", "skip_reason": "it ends too soon"}), "cut.png"
    )
    assert explanation.lines() == ["cut.png: unreadable", "not judged: it ends too soon"]


def test_what_is_wrong_with_a_file_and_what_to_do_is_printed_once():
    row = {"path": "cut.png", "verdict": "unreadable", "skip_reason": "it is cut short: copy it again"}
    finding = FINDING | {"path": "cut.png", "code": "IMG003", "message": row["skip_reason"]}
    lines = explain(audit_of(row, findings=[finding]), "cut.png").lines()
    assert lines == ["cut.png: unreadable", f"not judged: {row['skip_reason']}", "IMG003 Truncated file"]


@pytest.mark.parametrize(
    "asked", ["good/03.png", "/parts/good/03.png", "03.png", "./03.png", "03", "good/03", "od/03.png"]
)
def test_an_image_may_be_named_by_its_path_or_the_end_of_it(asked: str):
    assert find_path(audit_of(ANOMALOUS, {"path": "good/103.png"}), asked) == "good/03.png"


def test_a_unique_tail_is_enough_also_of_a_stem():
    audit = audit_of({"path": "a/SN0042.cast.png"}, {"path": "b/SN0043.cast.png"}, {"path": "c/SN0044.png"})
    assert find_path(audit, "0042.cast") == "a/SN0042.cast.png"
    assert find_path(audit, "44") == "c/SN0044.png"
    with pytest.raises(InputError, match=r"2 images have paths that end so, such as a/SN0042.cast.png and b/SN0043"):
        find_path(audit, "cast.png")
    with pytest.raises(InputError, match="not an image"):
        find_path(audit, "")


def test_an_image_that_is_like_no_other_has_no_suggestion():
    with pytest.raises(InputError, match=r"zebra: not an image of the audit audit$"):
        find_path(audit_of(ANOMALOUS, {"path": "bad/7.png"}), "zebra")


def test_an_image_that_is_not_there_is_answered_with_one_that_is_near():
    with pytest.raises(InputError, match=r"good/30.png: not an image of the audit audit; did you mean good/03.png\?$"):
        find_path(audit_of(ANOMALOUS, {"path": "bad/7.png"}), "good/30.png")
    with pytest.raises(InputError, match=r"2 images have paths that end so, such as good/03.png and bad/03.png"):
        find_path(audit_of(ANOMALOUS, {"path": "bad/03.png"}), "03.png")


@pytest.mark.parametrize("named", ["../../etc/passwd", "maps/../run.json", "/etc/passwd", "maps/a.png"])
def test_a_map_is_no_file_outside_the_audit(named: str):
    assert explain(audit_of(ANOMALOUS, findings=[FINDING | {"map": named}]), "03.png").map == ""


def test_a_map_is_drawn_at_the_size_of_the_image(tmp_path: Path):
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "03.png")
    values = {"path": "good/03.png", "rows": 2, "columns": 3, "values": [0, 0, 0, 0, 0, 1]}
    audit = audit_of(ANOMALOUS, maps=[values])
    draw_map(audit, "good/03.png", tmp_path / "03.png", target=tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as picture:
        drawn = np.asarray(picture)
    assert drawn.shape == (40, 60, 3)
    assert (drawn[0, 0] == 90).all()
    assert (drawn[-1, -1] != 90).any()


def test_the_command_says_which_map_it_wrote_and_of_which_image(tmp_path: Path):
    draw_audit(tmp_path)
    (tmp_path / "set" / "cast" / "broken.png").write_bytes(b"")
    done = curate("explain", "audit", "00004", "--map", "why.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "Anomaly map of cast/00004.png: why.png"
    assert (tmp_path / "why.png").is_file()
    done = curate("explain", "audit", "00004", "--map", "why.png", "--format", "json", cwd=tmp_path)
    assert json.loads(done.stdout)["path"] == "cast/00004.png"
    assert "Anomaly map of cast/00004.png: why.png" in done.stderr


def test_a_map_that_the_audit_does_not_hold_is_one_sentence(tmp_path: Path):
    with pytest.raises(InputError, match="holds no anomaly map"):
        draw_map(audit_of(ANOMALOUS), "good/03.png", tmp_path / "03.png", target=tmp_path / "why.png")


@pytest.mark.parametrize(
    ("decision", "line"),
    [
        ("keep", "overruled by a person, who says keep: worn tool"),
        ("reject", "confirmed by a person, who says reject: worn tool"),
        ("unsure", "a person is unsure: worn tool"),
    ],
)
def test_what_a_person_decided_stands_below_the_verdict(tmp_path: Path, decision: str, line: str):
    audit = draw_audit(tmp_path)
    Decisions(audit.path, hashes_of(audit)).decide("cast/00000.png", Decision(decision), "worn tool", seen=0)
    explained = explain(read_audit(audit.path), "00000.png")
    assert explained.lines()[1] == line
    as_json = explained.as_json()
    assert (as_json["decision"], as_json["note"]) == (decision, "worn tool")
    effective = {"keep": "keep", "reject": "rejected", "unsure": "mislabelled"}[decision]
    assert (as_json["verdict"], as_json["effective_verdict"]) == ("mislabelled", effective)
