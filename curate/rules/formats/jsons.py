"""A report as JSON: one document, or one record per line. The keys are stable; new ones may be added."""

from __future__ import annotations

import json
from typing import Any

from curate.rules.results import Report, RuleResult, summary


def document(report: Report) -> str:
    """Return one object: summary, facts (numbers alone, as dvc wants metrics), rules, notes."""
    whole = {
        "summary": summary(report),
        "facts": report.facts,
        "rules": [_rule(report, result) for result in report.results],
        "notes": list(report.notes),
    }
    return json.dumps(whole, indent=2) + "\n"


def lines(report: Report) -> str:
    """Return a line for each rule and each image that breaks one, and the summary last; `type` says which it is."""
    records: list[dict[str, Any]] = []
    for result in report.results:
        rule = _rule(report, result)
        images = rule.pop("images")
        records.append({"type": "rule"} | rule)
        records += [{"type": "image", "code": result.rule.code} | image for image in images]
    records += [{"type": "note", "message": note} for note in report.notes]
    records.append({"type": "summary"} | summary(report))
    return "".join(json.dumps(record) + "\n" for record in records)


def _rule(report: Report, result: RuleResult) -> dict[str, Any]:
    rule = result.rule
    return {
        "code": rule.code,
        "title": rule.title,
        "severity": rule.severity.value,
        "outcome": result.status.value,
        "fact": rule.fact_text,
        "keep": str(rule.comparison),
        "message": result.sentence,
        "cure": rule.cure,
        "accepted": result.accepted,
        "groups": [
            {"name": g.name, "value": g.value, "rows": g.rows, "outcome": g.status.value, "accepted": g.accepted}
            for g in result.groups
        ],
        "images": [
            {"path": o.path, "file": report.file(o.path), "content": o.content, "group": o.group, "message": o.message}
            for o in result.offenders
        ],
    }
