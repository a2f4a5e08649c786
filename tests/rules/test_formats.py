"""Each format, read by what reads it in the world."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from urllib.parse import unquote

import jsonschema
import pytest
from junitparser import JUnitXml

from curate.rules.choices import FailOn, ReportFormat
from curate.rules.evaluate import evaluate
from curate.rules.formats.annotations import GITHUB_EACH
from curate.rules.formats.render import render
from curate.rules.formats.text import LARGEST_SUMMARY, step_summary
from curate.rules.packs import load_pack
from curate.rules.results import Report
from tests.cli.test_main import curate
from tests.rules.audits import make_audit

SCHEMA = json.loads((Path(__file__).parent / "sarif-2.1.0.json").read_text(encoding="utf-8"))
HOSTILE = "a b%,:#?|`[x](y)\x1b[31m\n::error::\x00<&>]]>\u202e😀.png"
COMMAND = re.compile(
    r"::(error|warning|notice) (?:file=(?P<file>[^,:\n]*),)?title=(?P<title>[^,:\n]*)::(?P<message>.*)"
)


def report(rows: int = 3, *, fail_on: FailOn = FailOn.ERROR, name: str = HOSTILE) -> Report:
    """A report with kept and skipped rules, errors with images, and a warning about the set as a whole."""
    pack = load_pack("default")
    bad = [
        {"path": name if not i else f"d/{i:05d}.png", "verdict": "mislabelled", "reasons": ["LBL001"]}
        for i in range(rows)
    ]
    found = [{"path": row["path"], "code": "LBL001", "message": f"odd\n{HOSTILE}"} for row in bad]
    images = [*bad, *({"path": f"k/{i}.png", "anomaly_score": None} for i in range(4))]
    return evaluate(make_audit("", images=images, findings=found), pack, pack.rules, source="parts", fail_on=fail_on)


@pytest.mark.parametrize("rows", [0, 3])
def test_sarif_validates_against_the_published_schema(rows: int):
    log = json.loads(render(report(rows), ReportFormat.SARIF))
    jsonschema.Draft7Validator(SCHEMA).validate(log)
    run = log["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules)) == 23
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert len(result["partialFingerprints"]["curate/v1"]) == 64
    assert len({r["partialFingerprints"]["curate/v1"] for r in run["results"]}) == len(run["results"])


def test_the_schema_refuses_what_is_wrong():
    log = json.loads(render(report(), ReportFormat.SARIF))
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SCHEMA).validate(log)


def test_sarif_keeps_any_name_and_says_what_it_left_out():
    log = json.loads(render(report(6000), ReportFormat.SARIF))
    results = log["runs"][0]["results"]
    assert len(results) == 5000
    uris = [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in results]
    assert HOSTILE in map(unquote, uris)
    assert all(re.fullmatch(r"[A-Za-z0-9/._~%-]+", uri) for uri in uris)
    assert "left out" in log["runs"][0]["invocations"][0]["toolExecutionNotifications"][-1]["message"]["text"]


@pytest.mark.parametrize("fail_on", list(FailOn))
def test_junit_has_one_case_a_rule_and_fails_where_the_check_does(fail_on: FailOn):
    found = report(fail_on=fail_on)
    suites = JUnitXml.fromroot(JUnitXml.fromstring(render(found, ReportFormat.JUNIT).encode())._elem)
    cases = [case for suite in suites for case in suite]
    assert [case.name.split()[0] for case in cases] == [result.rule.code for result in found.results]
    failures = [case.name[:6] for case in cases if case.result and case.result[0]._tag == "failure"]
    assert (suites.failures, suites.tests) == (len(failures), 23)
    assert bool(failures) == found.failed
    assert ("LBL101" in failures) == (fail_on is not FailOn.NEVER)
    assert ("SET102" in failures) == (fail_on is FailOn.WARNING)


def unescaped(value: str) -> str:
    """As GitHub's runner reads a property."""
    for written, meant in (("%3A", ":"), ("%2C", ","), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        value = value.replace(written, meant)
    return value


def test_github_reads_every_line_as_an_annotation_and_no_name_forges_one():
    lines = render(report(40), ReportFormat.GITHUB).split("\n")[:-1]
    found = [COMMAND.fullmatch(line) for line in lines]
    assert all(found)
    names = {unescaped(match["file"] or "") for match in found}
    assert HOSTILE in names


def test_github_gets_no_more_of_a_level_than_it_shows_and_each_rule_first():
    lines = render(report(40), ReportFormat.GITHUB).splitlines()
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == GITHUB_EACH
    assert re.search(r"\d+ more are not shown", errors[-1])
    broken = {r.rule.code for r in report(40).results if r.status == "broken" and r.rule.severity == "error"}
    assert all(any(f"title={code}" in line for line in errors) for code in broken)
    assert all(len(line) < 4096 for line in lines)


def test_github_writes_the_summary_of_the_step(tmp_path: Path):
    from tests.rules.audits import flagged, save_audit

    save_audit(tmp_path / "audit", images=flagged(3))
    (tmp_path / "summary.md").write_text("before\n")
    done = curate("check", "audit", "--format", "github", cwd=tmp_path, env={"GITHUB_STEP_SUMMARY": "summary.md"})
    assert done.returncode == 1, done.stderr
    written = (tmp_path / "summary.md").read_text()
    assert written.startswith("before\n## curate check failed\n")
    assert "| LBL101 Share of mislabelled images | fail | error |" in written


def test_the_summary_stays_below_what_github_takes():
    assert len(step_summary(report(3, name="x" * 2_000_000)).encode()) <= LARGEST_SUMMARY


def test_gitlab_reads_code_quality():
    entries = json.loads(render(report(), ReportFormat.GITLAB))
    assert len({entry["fingerprint"] for entry in entries}) == len(entries) > 3
    for entry in entries:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert entry["location"]["path"]
        assert entry["location"]["lines"]["begin"] == 1


def test_json_lines_say_what_they_are_and_the_summary_comes_last():
    records = [json.loads(line) for line in StringIO(render(report(), ReportFormat.JSONL))]
    assert {record["type"] for record in records} == {"rule", "image", "summary"}
    assert [r["code"] for r in records if r["type"] == "rule"] == [r.rule.code for r in report().results]
    assert records[-1]["failed"]


def test_json_facts_are_numbers_alone_as_dvc_wants_metrics():
    facts = json.loads(render(report(), ReportFormat.JSON))["facts"]
    assert facts["LBL101"] == pytest.approx(3 / 7)
    assert all(isinstance(value, int | float) for value in facts.values() if value is not None)


def test_markdown_and_text_hold_any_name_in_its_line():
    text, markdown = render(report(), ReportFormat.TEXT), render(report(), ReportFormat.MARKDOWN)
    for written in (text, markdown):
        assert "\x1b" not in written
        assert "\u202e" not in written
        assert "\n::error" not in written
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len(rows) == 25
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
    assert re.search(r"(?<!\\)\[x\]", markdown) is None
