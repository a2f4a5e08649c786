from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from curate.errors import UsageError
from curate.reports import panels, story
from curate.reports.cards import LEAST_BELOW, Pages, cards
from curate.reports.decisions import Decision, Decisions, hashes_of
from curate.reports.html import write_report
from curate.reports.originals import CHANGED, OUTSIDE, Originals, originals
from curate.reports.parquet import read_audit
from curate.reports.place import DECISIONS, foreign, replacing
from tests.plates import ROOT
from tests.reports.drawn_audit import LABELS, draw_audit


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
    program = "import sys, curate.cli, curate.reports.review, curate.reports.html; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    call = [sys.executable, "-m", "curate", "report", str(tmp_path / "audit")]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"Report: {tmp_path / 'audit' / 'report.html'}\n"), done.stderr


def test_a_view_without_a_say_is_named_with_the_reason(tmp_path: Path):
    audit = draw_audit(tmp_path)
    audit.run["scorers"]["flow"] = {label: {"mute": "they <b>lie anywhere"} for label in LABELS}
    page = write_report(tmp_path / "audit", audit).read_text()
    assert "(no say" not in page  # it has a fence, so it judged: no other view could
    audit.run["fences"] = audit.run["fences"] | {LABELS[0]: {"neighbours": {"value": 1.0}}}
    page = write_report(tmp_path / "audit", audit).read_text()
    told = f"flow (no say in 1 of 2 classes; in {LABELS[0]}: they &lt;b&gt;lie anywhere), neighbours, student"
    assert told in page
    assert "they <b>" not in page


def test_the_votes_of_the_views_are_told_unless_there_is_one(tmp_path: Path):
    audit = draw_audit(tmp_path)
    assert (
        "Votes in the hybrid: flow 1.8, student 0.75, neighbours 0.9."
        in write_report(tmp_path / "audit", audit).read_text()
    )
    audit.run["votes"] = {key: {"flow": 1.0} for key in LABELS}
    assert "Votes in the hybrid" not in write_report(tmp_path / "audit", audit).read_text()


def test_the_next_step_says_how_many_more_the_estimate_stands_for_and_else_that_nothing_is_to_be_done(tmp_path: Path):
    audit = draw_audit(tmp_path, images=100, flagged=0, drawn=4)
    readable, copies = audit.tables["images"].slice(0, 100), audit.tables["duplicates"].slice(0, 0)
    clean = replace(audit, tables=audit.tables | {"images": readable, "duplicates": copies})

    def told(estimate: float | None) -> str:
        run = clean.run | {"contamination": {"estimate": estimate, "low": 0.0, "high": 0.5}}
        pages = Pages(replace(clean, run=run))
        assert len(pages.below) == max(pages.more, LEAST_BELOW)
        ((words, command),) = story.next_steps(pages)
        assert ("curate review" in command) == ("more" in words)
        return words

    assert "about 25 images more may be anomalous" in told(0.25)
    assert "about 1 image more may be anomalous" in told(0.0101)
    for estimate in (0.01, 0.0, None):
        assert told(estimate) == "Nothing needs to be done: train on the set as it is."


def test_the_next_steps_name_a_group_apart_and_its_images_are_shown(tmp_path: Path):
    audit = draw_audit(tmp_path)
    paths = audit.tables["images"]["path"].to_pylist()[10:18]
    rows = [{"path": path, "code": "SET004", "severity": "note", "message": "one of 8"} for path in paths]
    findings = audit.tables["findings"]
    findings = pa.concat_tables([findings, pa.Table.from_pylist(rows, schema=findings.schema)])
    pages = Pages(replace(audit, tables=audit.tables | {"findings": findings}))
    assert any(f"8 images such as {paths[0]} lie apart" in words for words, _ in story.next_steps(pages))
    assert set(paths) <= {pages.images[row]["path"] for row in pages.below}
    assert len(pages.below) == len(set(pages.below)) > LEAST_BELOW
    assert not any("lie apart" in words for words, _ in story.next_steps(Pages(audit)))


def test_kinds_within_a_class_have_scores_fences_and_rounds_of_their_own(tmp_path: Path):
    audit = draw_audit(tmp_path)
    names = [f"cast, kind {1 + row % 4 // 2} of 2" if row % 2 == 0 else "forged" for row in range(41)]
    images = audit.tables["images"]
    images = images.set_column(images.column_names.index("nominal_set"), "nominal_set", pa.array(names))
    fences = {name: {"hybrid": {"value": 1.0}, "flow": {"value": 4.0}} for name in names}
    page = Pages(replace(audit, tables=audit.tables | {"images": images}, run=audit.run | {"fences": fences}))
    assert ("judged apart", "2 kinds of images in cast") in story.settings(page)
    assert [panel.label for panel in panels.class_panels(page)] == ["cast, kind 1 of 2", "cast, kind 2 of 2", "forged"]
    assert {view["fence"] for view in cards(page, page.flagged)[0]["views"] if view["name"] == "flow"} == {4.0}


def test_the_kept_images_of_the_highest_scores_are_shown_but_those_of_a_class_that_was_not_judged(tmp_path: Path):
    audit = draw_audit(tmp_path)
    small = {"path": Pages(audit).images[Pages(audit).below[0]]["path"], "code": "SET001", "severity": "info"}
    findings = audit.tables["findings"]
    findings = pa.concat_tables([findings, pa.Table.from_pylist([small | {"message": ""}], schema=findings.schema)])
    pages = Pages(replace(audit, tables=audit.tables | {"findings": findings}))
    judged = [image for image in pages.images if image["path"] != small["path"] and image["verdict"] == "keep"]
    scores = [pages.images[row]["anomaly_score"] for row in pages.below]
    assert scores == sorted((image["anomaly_score"] for image in judged), reverse=True)[:LEAST_BELOW]
