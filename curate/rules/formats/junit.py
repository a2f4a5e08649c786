"""A report as JUnit XML, which CI servers show as tests: one test case for each rule."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from curate.rules.results import FAILING, Report, RuleResult, RuleStatus

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


def junit(report: Report) -> str:
    """Return one suite, a case for each rule. A broken rule that does not fail the check passes with output."""
    cases = [_case(report, result) for result in report.results]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": "0",
    }
    suites = ET.Element("testsuites", {"name": "curate check"} | counts)
    suite = ET.SubElement(suites, "testsuite", {"name": _clean(f"curate check {report.pack.name}")} | counts)
    suite.extend(cases)
    ET.indent(suites)
    return "<?xml version='1.0' encoding='utf-8'?>\n" + ET.tostring(suites, encoding="unicode") + "\n"


def _case(report: Report, result: RuleResult) -> ET.Element:
    rule = result.rule
    names = {"name": f"{rule.code} {rule.title}", "classname": f"curate.{report.pack.path.stem}", "time": "0"}
    case = ET.Element("testcase", {key: _clean(value) for key, value in names.items()})
    details = _clean("\n".join([rule.why, rule.cure, *_images(report, result)]))
    if result.status is RuleStatus.SKIPPED:
        ET.SubElement(case, "skipped", {"message": _clean(result.sentence)})
    elif result.status is RuleStatus.BROKEN and rule.severity in FAILING[report.fail_on]:
        failure = ET.SubElement(case, "failure", {"type": rule.severity.value, "message": _clean(result.sentence)})
        failure.text = details
    elif result.status is RuleStatus.BROKEN:
        ET.SubElement(case, "system-out").text = _clean(f"{rule.severity}: {result.sentence}\n") + details
    return case


def _images(report: Report, result: RuleResult) -> list[str]:
    return [f"{report.location(o.path)}: {o.message}" for o in result.offenders]


def _clean(words: str) -> str:
    return NO_XML.sub("�", words)
