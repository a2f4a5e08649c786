from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from curate.audit.decisions import Decision, Decisions
from curate.audit.folder import DECISIONS, foreign, replacing
from curate.audit.parquet import Audit, read_audit, write_audit
from curate.audit.reviewed import hashes_of
from curate.errors import UsageError
from curate.reports import panels, story
from curate.reports.audit_rows import LEAST_KEPT, AuditRows
from curate.reports.cards import cards
from curate.reports.html import write_report
from curate.reports.originals import CHANGED, OUTSIDE, Originals, originals
from curate.reports.summary import summarise
from tests.audit.drawn_audit import LABELS, WEIGHTS, draw_audit, view_row, with_views
from tests.plates import ROOT


def test_the_same_audit_gives_the_same_bytes(tmp_path: Path):
    audit = draw_audit(tmp_path)
    pages = [write_report(tmp_path / "audit", audit).read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]
    assert foreign(tmp_path / "audit") == ""


def test_a_report_written_anew_from_the_audit_is_the_one_that_the_scan_wrote(tmp_path: Path):
    scanned = write_report(tmp_path / "audit", draw_audit(tmp_path)).read_bytes()
    assert write_report(tmp_path / "audit", read_audit(tmp_path / "audit")).read_bytes() == scanned


def test_an_audit_whose_dataset_is_gone_gives_a_report_that_says_so(tmp_path: Path):
    audit = draw_audit(tmp_path)
    shutil.move(tmp_path / "set", tmp_path / "moved")
    page = write_report(tmp_path / "audit", audit).read_text()
    assert "The dataset is no longer at" in page
    assert "0-card" not in page
    moved = write_report(tmp_path / "audit", audit, dataset=tmp_path / "moved").read_text()
    assert "The dataset is no longer at" not in moved
    assert '"0-card"' in moved


def test_every_figure_has_words(tmp_path: Path):
    page = write_report(tmp_path / "audit", draw_audit(tmp_path)).read_text()
    plots = re.findall(r'<figure class="plot">.*?</figure>', page, re.DOTALL)
    assert len(plots) == 5  # a histogram and the rounds of each class, the map
    for plot in plots:
        assert re.search(r'aria-label="[^"]{40,}"', plot)
        assert "style=" not in plot


def test_ids_of_a_page_are_its_own(tmp_path: Path):
    page = write_report(tmp_path / "audit", draw_audit(tmp_path)).read_text()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_thumbnails_that_a_new_report_does_not_show_are_removed(tmp_path: Path):
    audit = draw_audit(tmp_path)
    write_report(tmp_path / "audit", audit, inline_bytes=0)
    assert (tmp_path / "audit" / "report-thumbnails").is_dir()
    write_report(tmp_path / "audit", audit)
    assert not (tmp_path / "audit" / "report-thumbnails").exists()


def test_a_report_takes_the_place_of_a_report_alone(tmp_path: Path):
    audit = draw_audit(tmp_path)
    page = write_report(tmp_path / "audit", audit, file=tmp_path / "page.html")
    write_report(tmp_path / "audit", audit, file=page)
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(UsageError, match="is no report of curate"):
        write_report(tmp_path / "audit", audit, file=tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "mine"


@pytest.mark.parametrize("path", ["../secret.png", "/etc/secret.png", "a/../../secret.png", ""])
def test_a_path_out_of_the_dataset_is_no_picture(tmp_path: Path, path: str):
    inside = originals(draw_audit(tmp_path))
    images = Originals(root=inside.root, paths=[path], hashes=["0"], decode=inside.decode, levels=inside.levels)
    assert images.picture(0, 100) == OUTSIDE


def test_escapes_of_a_name_never_become_a_path_out_of_the_dataset(tmp_path: Path):
    inside = originals(draw_audit(tmp_path))
    names = [r"\x2e\x2e/secret.png", r"caf\xe9.png"]
    images = Originals(root=inside.root, paths=names, hashes=["0", "0"], decode=inside.decode, levels=inside.levels)
    assert images.file(0) == inside.root / names[0]
    assert os.fsencode(images.file(1)).endswith(b"caf\xe9.png")


def test_a_file_that_changed_since_the_scan_is_not_shown(tmp_path: Path):
    images = originals(draw_audit(tmp_path))
    (tmp_path / "set/cast/00000.png").write_bytes((tmp_path / "set/forged/00001.png").read_bytes())
    assert images.picture(0, 100) == CHANGED


def test_decisions_survive_a_new_scan(tmp_path: Path):
    audit = draw_audit(tmp_path)
    Decisions(audit.path, hashes_of(audit)).decide("cast/00000.png", Decision.REJECT, "", seen=0)
    with replacing(audit.path) as folder:
        shutil.copytree(audit.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(DECISIONS))
    assert Decisions(audit.path, hashes_of(read_audit(audit.path))).all()["cast/00000.png"].decision == "reject"


def test_report_and_review_start_without_torch(tmp_path: Path):
    draw_audit(tmp_path)
    program = "import sys, curate.cli, curate.review.server, curate.reports.html; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    call = [sys.executable, "-m", "curate", "report", str(tmp_path / "audit")]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"Report: {tmp_path / 'audit' / 'report.html'}\n"), done.stderr


def test_a_view_that_abstains_is_named_with_the_reason(tmp_path: Path):
    audit = draw_audit(tmp_path)
    assert "(abstains" not in write_report(tmp_path / "audit", audit).read_text()
    judged = [view_row(label, view, threshold=1.0) for label in LABELS for view in WEIGHTS if view != "flow"]
    flow = (view_row(LABELS[0], "flow", abstains="they <b>lie anywhere"), view_row(LABELS[1], "flow", threshold=1.0))
    page = write_report(tmp_path / "audit", with_views(audit, *judged, *flow)).read_text()
    words = "flow (abstains in 1 of 2 nominal sets, such as cast: they &lt;b&gt;lie anywhere), student, neighbours"
    assert words in page
    assert "they <b>" not in page


def test_the_weights_of_the_views_are_given_unless_there_is_one(tmp_path: Path):
    audit = draw_audit(tmp_path)
    page = write_report(tmp_path / "audit", audit).read_text()
    assert "Weights in the joined score: flow 1, student 0.75, neighbours 0.9." in page
    alone = with_views(audit, *(view_row(label, "flow", threshold=1.0, weight=1.0) for label in LABELS))
    assert "Weights in the joined score" not in write_report(tmp_path / "audit", alone).read_text()


def test_an_older_audit_that_keeps_its_views_in_run_json_gives_the_same_report(tmp_path: Path):
    audit = draw_audit(tmp_path)
    page = write_report(tmp_path / "audit", audit).read_bytes()
    (tmp_path / "audit" / "views.parquet").unlink()
    fences = {view: {"value": 1.0} for view in ("hybrid", *WEIGHTS)}
    run = audit.run | {"fences": dict.fromkeys(LABELS, fences), "votes": dict.fromkeys(LABELS, WEIGHTS)}
    (tmp_path / "audit" / "run.json").write_text(json.dumps(run))
    assert write_report(tmp_path / "audit", read_audit(tmp_path / "audit")).read_bytes() == page


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        ("after 2 of 5: nothing changed", "after 2 of 5: nothing changed"),
        ({"cast": "after 2 of 5: nothing changed", "forged": ""}, "cast: after 2 of 5: nothing changed"),
        ({}, None),
        (None, None),
    ],
)
def test_why_the_rounds_ended_is_said_for_each_nominal_set_or_as_one_sentence_in_older_audits(
    tmp_path: Path, ended: object, words: str | None
):
    audit = draw_audit(tmp_path)
    rows = AuditRows(replace(audit, run=audit.run | {"rounds_ended": ended}))
    assert dict(story.settings(rows)).get("rounds ended") == words


def test_a_scorer_that_somebody_adds_shows_up_by_its_column(tmp_path: Path):
    audit = draw_audit(tmp_path)
    images = audit.tables["images"]
    images = images.append_column("score_added", images["score_flow"])
    views = (*audit.tables["views"].to_pylist(), *(view_row(label, "added", threshold=2.5) for label in LABELS))
    added = with_views(replace(audit, tables=audit.tables | {"images": images}), *views)
    page = write_report(tmp_path / "audit", added).read_text()
    assert "neighbours 1, added 2.5." in page
    assert "added above its threshold" in page


def test_the_next_step_says_how_many_more_the_estimate_stands_for_and_else_that_nothing_is_to_be_done(tmp_path: Path):
    audit = draw_audit(tmp_path, images=100, flagged=0, drawn=4)
    readable, copies = audit.tables["images"].slice(0, 100), audit.tables["duplicates"].slice(0, 0)
    clean = replace(audit, tables=audit.tables | {"images": readable, "duplicates": copies})

    def next_step(estimate: float | None) -> str:
        run = clean.run | {"contamination": {"estimate": estimate, "low": 0.0, "high": 0.5}}
        rows = AuditRows(replace(clean, run=run))
        assert len(rows.kept_to_review) == max(rows.anomalies_not_flagged, LEAST_KEPT)
        ((words, command),) = story.next_steps(rows)
        assert ("curate review" in command) == ("more" in words)
        return words

    assert "about 25 more images may be anomalous" in next_step(0.25)
    assert "about 1 more image may be anomalous" in next_step(0.0101)
    for estimate in (0.01, 0.0, None):
        assert next_step(estimate) == "Nothing to do: train on the set as it is."


def test_the_next_steps_name_a_group_apart_and_its_images_are_shown(tmp_path: Path):
    audit = draw_audit(tmp_path)
    paths = audit.tables["images"]["path"].to_pylist()[10:18]
    rows = [{"path": path, "code": "SET004", "severity": "note", "message": "one of 8"} for path in paths]
    findings = audit.tables["findings"]
    findings = pa.concat_tables([findings, pa.Table.from_pylist(rows, schema=findings.schema)])
    rows = AuditRows(replace(audit, tables=audit.tables | {"findings": findings}))
    assert any(f"8 images, such as {paths[0]}, belong in this set" in words for words, _ in story.next_steps(rows))
    assert set(paths) <= {rows.images[row]["path"] for row in rows.kept_to_review}
    assert len(rows.kept_to_review) == len(set(rows.kept_to_review)) > LEAST_KEPT
    assert not any("belong in this set" in words for words, _ in story.next_steps(AuditRows(audit)))


def test_subpopulations_of_a_class_have_scores_thresholds_and_rounds_of_their_own(tmp_path: Path):
    audit = draw_audit(tmp_path)
    names = [f"cast, {1 + row % 4 // 2} of 2" if row % 2 == 0 else "forged" for row in range(41)]
    images = audit.tables["images"]
    images = images.set_column(images.column_names.index("nominal_set"), "nominal_set", pa.array(names))
    views = [view_row(name, view, threshold=4.0) for name in set(names) for view in ("hybrid", "flow")]
    rows = AuditRows(with_views(replace(audit, tables=audit.tables | {"images": images}), *views))
    assert ("subpopulations", "2 in cast") in story.settings(rows)
    assert [panel.label for panel in panels.class_panels(rows)] == ["cast, 1 of 2", "cast, 2 of 2", "forged"]
    assert {view["threshold"] for view in cards(rows, rows.flagged)[0]["views"] if view["name"] == "flow"} == {4.0}


def test_the_kept_images_of_the_highest_scores_are_shown_but_those_of_a_class_that_was_not_judged(tmp_path: Path):
    audit = draw_audit(tmp_path)
    highest = AuditRows(audit).images[AuditRows(audit).kept_to_review[0]]["path"]
    small = {"path": highest, "code": "SET001", "severity": "info"}
    findings = audit.tables["findings"]
    findings = pa.concat_tables([findings, pa.Table.from_pylist([small | {"message": ""}], schema=findings.schema)])
    rows = AuditRows(replace(audit, tables=audit.tables | {"findings": findings}))
    judged = [image for image in rows.images if image["path"] != highest and image["verdict"] == "keep"]
    scores = [rows.images[row]["anomaly_score"] for row in rows.kept_to_review]
    assert scores == sorted((image["anomaly_score"] for image in judged), reverse=True)[:LEAST_KEPT]


FLAGGED_PATHS = [f"{LABELS[i % 2]}/{i:05d}.png" for i in range(8)]


def reviewed(folder: Path, **decisions: Decision) -> Audit:
    """The drawn audit with decisions, read as every command reads it."""
    audit = draw_audit(folder)
    for path, decision in decisions.items():
        Decisions(audit.path, hashes_of(audit)).decide(path, decision, "seen", seen=0)
    return read_audit(audit.path)


def test_a_report_says_what_people_decided_and_what_is_left(tmp_path: Path):
    kept = "forged/00039.png"
    audit = reviewed(
        tmp_path,
        **{"cast/00000.png": Decision.KEEP, "forged/00001.png": Decision.REJECT, kept: Decision.REJECT},
    )
    rows = AuditRows(audit)
    assert "Review: 1 confirmed, 1 overruled, 1 kept image rejected, 6 undecided." in story.headline(rows)
    counts = story.verdicts(rows)
    assert (counts["mislabelled"] + counts["near_ood"], counts["rejected"]) == (6, 2)
    words, command = story.next_steps(rows)[0]
    assert words.startswith("Finish the review; 6 of 8 flagged images")
    assert command == f"curate review {audit.path}"
    shown = {card["path"]: card["decision"] for card in cards(rows, rows.shown)}
    assert (shown["cast/00000.png"], shown["forged/00001.png"], shown[kept]) == ("keep", "reject", "reject")
    assert "rejected by hand" in write_report(audit.path, audit).read_text()


def test_after_a_complete_review_no_step_asks_for_one(tmp_path: Path):
    audit = reviewed(tmp_path, **dict.fromkeys(FLAGGED_PATHS, Decision.REJECT))
    steps = story.next_steps(AuditRows(audit))
    assert not any(words.startswith(("Review the flagged", "Finish the review")) for words, _ in steps)
    assert summarise(audit).review == "8 confirmed, 0 overruled"


def test_the_screen_of_a_scan_counts_decisions_that_its_audit_already_has(tmp_path: Path):
    summary = summarise(reviewed(tmp_path, **{"cast/00000.png": Decision.KEEP, "forged/00001.png": Decision.REJECT}))
    assert summary.review == "1 confirmed, 1 overruled, 6 undecided"
    assert summary.verdicts["rejected"] == 1
    assert not {"cast/00000.png", "forged/00001.png"} & {row.path for row in summary.worst}


def test_the_review_line_and_the_prune_line_of_screen_and_report_work_as_printed(tmp_path: Path):
    drawn = draw_audit(tmp_path)
    images = drawn.tables["images"]
    readable = drawn.tables | {"images": images.filter(pc.not_equal(images["sha256"], ""))}
    audit = replace(drawn, tables=readable, path=tmp_path / "an audit")
    audit.path.mkdir()
    write_audit(audit, audit.path)
    printed = [line.partition(": ")[2] for line in summarise(audit).next_steps if ": curate " in line]
    offered = [command for _, command in story.next_steps(AuditRows(audit)) if command]
    assert [line.split()[1] for line in printed] == ["review", "prune"]
    assert set(printed) <= set(offered)
    work = tmp_path / "work"
    work.mkdir()
    words = shlex.split(printed[1])[1:]
    call = [sys.executable, "-m", "curate", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(call, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((work / "set-clean/data").rglob("*.png"))) == 32
