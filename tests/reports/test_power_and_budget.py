"""What the report and the screen say of planted defects, of uncertain images, and of the review budget."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.audit.parquet import Audit, write_audit
from curate.cli.screen import show_summary
from curate.reports import story
from curate.reports.audit_rows import LEAST_KEPT, AuditRows
from curate.reports.budget import budget_panel, look_first_words, uncertain_rows
from curate.reports.html import prepare, write_report
from curate.reports.power import EASIER, found_words, planted_defects, power_panel
from curate.reports.summary import summarise
from tests.audit.drawn_audit import draw_audit


def cell(size: tuple[float, float], contrast: tuple[float, float], found: int, planted: int) -> dict[str, float]:
    ends = {"size_low": size[0], "size_high": size[1], "contrast_low": contrast[0], "contrast_high": contrast[1]}
    return ends | {"planted": planted, "found": found, "low": 0.1, "high": 0.9}


POWER: dict[str, Any] = {
    "planted": 40,
    "found": 31,
    "table": [
        cell((0, 0.07), (0, 0.65), 1, 8),
        cell((0.07, 0.15), (0, 0.65), 21, 22),
        cell((0.15, 1), (0, 0.65), 4, 5),
        cell((0.15, 1), (0.65, 1), 5, 5),
    ],
    "like_nominal": {"cast": ["blur", "stain"]},
    "cannot_tell": [],
}


def changed(audit: Audit, **columns: dict[int, object]) -> Audit:
    """Return the audit with other values in columns of its images, by row; null where a column had none."""
    images = audit.tables["images"]
    for name, values in columns.items():
        column = images[name].to_pylist()
        for row, value in values.items():
            column[row] = value
        at = images.column_names.index(name)
        images = images.set_column(at, images.schema.field(name), pa.array(column, images.schema.field(name).type))
    return replace(audit, tables=audit.tables | {"images": images})


@pytest.fixture
def unsure(tmp_path: Path) -> Audit:
    """An audit with three uncertain images: two kept ones, and a flagged one; and the power of planted defects."""
    audit = draw_audit(tmp_path)
    scores = audit.tables["images"]["anomaly_score"].to_pylist()
    audit = changed(
        audit,
        uncertain={20: True, 30: True, 2: True, 5: False},
        confidence={20: 0.3, 30: 0.1, 2: 0.8},
        expected_precision={row: 0.5 for row, score in enumerate(scores) if score is not None},
    )
    audit = replace(audit, run=audit.run | {"power": POWER})
    write_audit(audit, tmp_path / "audit")
    return audit


def test_the_uncertain_images_come_first_the_least_confidence_ahead(unsure: Audit):
    rows = AuditRows(unsure)
    assert rows.uncertain == rows.look_first == [30, 20, 2]
    assert rows.kept_to_review[:2] == [30, 20]
    assert len(rows.kept_to_review) >= LEAST_KEPT
    assert len(rows.kept_to_review) == len(set(rows.kept_to_review))
    words, command = story.next_steps(rows)[0]
    assert words == "Look at these 3 images first: about 2 are expected to be defective. The review begins with them:"
    assert command.startswith("curate review ")
    assert sum("curate review" in other for _, other in story.next_steps(rows)) == 1


def test_a_copy_of_an_uncertain_image_is_looked_at_once(unsure: Audit):
    assert uncertain_rows(changed(unsure, verdict={20: "duplicate"}).tables["images"]) == [30, 2]


@pytest.mark.parametrize(
    ("confidence", "words"),
    [
        ({}, ""),
        ({1: 0.4}, "Look at 1 image first: it is defective with a probability of 60 %."),
        ({1: 0.4, 2: 0.9}, "Look at these 2 images first: about 1 is expected to be defective."),
        ({1: float("nan"), 2: None}, ""),
    ],
)
def test_the_lead_says_how_many_of_the_uncertain_images_are_expected_to_be_defective(
    tmp_path: Path, confidence: dict[int, object], words: str
):
    audit = changed(draw_audit(tmp_path), uncertain=dict.fromkeys(confidence, True), confidence=confidence)
    assert look_first_words(audit.tables["images"]) == words


def test_the_report_leads_with_them_and_has_both_figures_with_words_and_numbers(unsure: Audit):
    page = write_report(unsure.path, unsure).read_text(encoding="utf-8")
    assert page.index("Look at these 3 images first: about 2 are") < page.index('class="tiles"')
    assert page.index('id="look-first"') < page.index('id="flagged"')
    assert '"look_first":[30,20,2]' in page
    for section in ("power", "budget"):
        (text,) = re.findall(rf'<section id="{section}".*?</section>', page, re.DOTALL)
        assert re.search(r'aria-label="[^"]{40,}"', text)
        assert "style=" not in text
        assert "<svg" in text
    assert EASIER in page
    assert "<td>21 of 22</td>" in page
    assert "Kinds of defects not told from nominal images: blur, stain (cast)." in page


def test_an_audit_without_planted_defects_or_uncertain_images_says_nothing_of_them(tmp_path: Path):
    page = write_report(tmp_path / "audit", draw_audit(tmp_path)).read_text(encoding="utf-8")
    for words in ("What would be missed", "Look at these", "What a review would find"):
        assert words not in page


def test_power_is_said_by_size_and_contrast(unsure: Audit):
    panel = power_panel(unsure.run)
    assert panel.words.startswith("Planted defects found: 31 of 40; of those above 15 % of the image 9 of 10.")
    assert "7 to 15 % of the image's longest side at a contrast of up to 65 %: 21 of 22 found" in panel.words
    assert panel.sentences[-1] == EASIER
    assert [one.size_words for one in panel.cells] == ["up to 7 %", "7 to 15 %", "above 15 %", "above 15 %"]


@pytest.mark.parametrize(
    ("sets", "where"), [([""], ":"), (["cast"], " in cast:"), (list("abcdefg"), " in a, b, c, d, e, and more:")]
)
def test_a_set_in_which_nobody_can_tell_is_said_on_the_screen_and_in_the_report(
    unsure: Audit, sets: list[str], where: str, capsys: pytest.CaptureFixture[str]
):
    audit = replace(unsure, run=unsure.run | {"power": POWER | {"cannot_tell": sets}})
    words = f"vary{where} real defects may be there, unseen (SET005)."
    assert any(words in sentence for sentence in prepare(audit).power.sentences)
    show_summary(summarise(audit))
    assert words in capsys.readouterr().out


def test_the_screen_leads_with_the_uncertain_images_and_has_one_line_of_planted_defects(
    unsure: Audit, capsys: pytest.CaptureFixture[str]
):
    summary = summarise(unsure)
    show_summary(summary)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Look at these 3 images first: about 2 are expected to be defective."
    assert lines.count("Planted defects found: 31 of 40; of those above 15 % of the image 9 of 10.") == 1
    assert summary.as_json()["look_first"] == lines[0]


def test_the_budget_says_how_many_defective_images_a_review_is_expected_to_find(tmp_path: Path):
    audit = draw_audit(tmp_path)
    images = audit.tables["images"].slice(0, 40)
    order = sorted(range(40), key=lambda row: -images["anomaly_score"][row].as_py())
    falling = {row: 1 - place / 80 for place, row in enumerate(order)}
    audit = changed(replace(audit, tables=audit.tables | {"images": images}), expected_precision=falling)
    panel = budget_panel(audit.tables["images"])
    assert [(one.images, one.precision, one.expected) for one in panel.budgets] == [
        (2, pytest.approx(1 - 1 / 80), 2),
        (4, pytest.approx(1 - 3 / 80), 4),
        (8, pytest.approx(1 - 7 / 80), 7),
    ]
    assert "20 % of the images (8 images): 91 %, about 7 defective" in panel.words


@pytest.mark.parametrize(
    "power",
    [
        None,
        3,
        [],
        {},
        {"planted": "many", "found": 1, "table": []},
        {"planted": 3, "found": 4, "table": []},
        {"planted": 0, "found": 0, "table": []},
        {"planted": 10**400, "found": 1, "table": []},
        {"planted": 3, "found": 1, "table": {"a": 1}},
        {
            "planted": 3,
            "found": 1,
            "table": [None, {}, cell((0, float("nan")), (0, 1), 1, 2), cell((0, 1), (0, 1), 3, 2)],
        },
    ],
)
def test_a_power_that_cannot_be_read_is_left_out(power: object):
    assert power_panel({"power": power}) is None
    defects = planted_defects({"power": power})
    assert defects is None or found_words(defects) == "Planted defects found: 1 of 3."


def test_names_of_nominal_sets_and_families_are_escaped(unsure: Audit):
    hostile = "</script><b>\x1b[1m"
    power = POWER | {"cannot_tell": [hostile], "like_nominal": {hostile: [hostile], "b": hostile}}
    page = write_report(unsure.path, replace(unsure, run=unsure.run | {"power": power})).read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "\x1b" not in page
