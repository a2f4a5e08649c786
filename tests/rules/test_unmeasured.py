"""A rule on what nobody looked for is skipped with the reason, and never a pass; what breaks it anyway does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from curate.audit.parquet import Audit
from curate.errors import CouldNotFinish
from curate.rules.cases import SEARCHED
from curate.rules.choices import ReportFormat
from curate.rules.evaluate import evaluate
from curate.rules.formats.render import render
from curate.rules.packs import load_pack
from curate.rules.results import Report, RuleResult, RuleStatus
from tests.rules.audits import make_audit

BOTH = [
    {"split": "train", "label": "a", "group": "1", "times": 90},
    {"split": "test", "label": "b", "group": "2", "times": 10},
]
LEAKS = [{"split": "train", "times": 98}, {"split": "test", "times": 2, "reasons": ["LEAK001"]}]
OFF = "shots of the same part were not looked for (--no-same-part)"
LEAKAGE_RULES = ("DUP102", "LBL104", "LEAK101", "SET101")


def audit_of(images: list[dict[str, Any]], same_part: object = None) -> Audit:
    audit = make_audit(images=images)
    return Audit(tables=audit.tables, run={**audit.run, "same_part": same_part})


def check(audit: Audit, *codes: str) -> Report:
    pack = load_pack("default")
    return evaluate(audit, pack, [rule for rule in pack.rules if rule.code in ("IMG101", *codes)])


def result(audit: Audit, code: str) -> RuleResult:
    return next(one for one in check(audit, code).results if one.rule.code == code)


@pytest.mark.parametrize(
    ("images", "same_part", "skipped"),
    [
        (BOTH, SEARCHED, {}),
        (BOTH, None, {"LBL104": OFF, "LEAK101": OFF}),
        (
            BOTH,
            {"threshold": None, "undecidable": 1.0},
            dict.fromkeys(("LBL104", "LEAK101"), "of 100 % of the images a second shot would not be found"),
        ),
        (
            [{"split": "train", "label": "a", "times": 9}, {"split": ""}],
            SEARCHED,
            dict.fromkeys(("DUP102", "LEAK101", "SET101"), "only one split was listed")
            | {"LBL104": "only one label was listed"},
        ),
        (
            [{"times": 9}],
            SEARCHED,
            dict.fromkeys(("DUP102", "LEAK101", "SET101"), "no split was listed") | {"LBL104": "no label was listed"},
        ),
        (
            [{"split": "train", "label": "a"}, {"split": "test", "label": "b"}],
            SEARCHED,
            {"SET101": "no image has a group"},
        ),
    ],
)
def test_what_was_not_looked_for_is_skipped_with_the_reason(
    images: list[dict[str, Any]], same_part: object, skipped: dict[str, str]
):
    report = check(audit_of(images, same_part), *LEAKAGE_RULES)
    assert {r.rule.code: r.sentence for r in report.results if r.status is RuleStatus.SKIPPED} == skipped
    assert not report.failed
    assert all(report.facts[code] is None for code in skipped)


def test_leaks_that_are_there_break_the_rule_although_parts_were_not_looked_for():
    broken = result(audit_of(LEAKS), "LEAK101")
    assert broken.status is RuleStatus.BROKEN
    assert "2 % (2 of 100); the limit is 1 %" in broken.sentence
    assert len(broken.offenders) == 2


def test_an_offender_is_shown_with_its_finding_of_the_area_of_the_rule():
    rows = [{"path": "a.png", "code": code, "message": code} for code in ("DUP003", "LBL001", "LEAK002")]
    images = [{"path": "a.png", "split": "test", "reasons": ["LEAK002"]}, {"split": "train"}]
    audit = make_audit(images=images, findings=rows)
    assert [one.message for one in result(audit, "LEAK101").offenders] == ["LEAK002"]


def test_a_rule_of_another_table_or_column_is_kept_as_ever():
    assert result(audit_of([{}]), "IMG101").status is RuleStatus.KEPT


def test_a_check_of_nothing_but_skipped_rules_could_not_finish_and_says_why():
    pack = load_pack("default")
    with pytest.raises(CouldNotFinish, match="has a row to judge: no split was listed"):
        evaluate(audit_of([{}]), pack, [pack.rule("LEAK101")])


@pytest.mark.parametrize(
    "format_", [ReportFormat.TEXT, ReportFormat.JSON, ReportFormat.JSONL, ReportFormat.JUNIT, ReportFormat.SARIF]
)
def test_every_format_of_all_rules_shows_why_a_rule_was_skipped(format_: ReportFormat):
    assert OFF in render(check(audit_of(BOTH), "LEAK101"), format_)


def test_the_summary_in_markdown_and_sarif_name_the_rule_that_was_skipped():
    report = check(audit_of([{}]), "LEAK101")
    assert "skipped |" in render(report, ReportFormat.MARKDOWN)
    assert "no split was listed" in render(report, ReportFormat.MARKDOWN)
    run = json.loads(render(report, ReportFormat.SARIF))["runs"][0]
    notes = [note["message"]["text"] for note in run["invocations"][0]["toolExecutionNotifications"]]
    assert "LEAK101 was skipped: no split was listed" in notes
