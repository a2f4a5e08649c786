"""A report as SARIF 2.1.0, which GitHub code scanning and many viewers read."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from curate.findings import Severity
from curate.rules.formats.annotations import fingerprint
from curate.rules.results import Offender, Report, RuleResult, RuleStatus
from curate.rules.rule import Rule
from curate.version import __version__

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MOST_RESULTS = 5000
"""GitHub shows no more results of one run."""
LEVELS = tuple(severity.value for severity in Severity)
"""The levels of SARIF have the names of our severities."""


def sarif(report: Report) -> str:
    """Return a log of one run: its rules, and a result for each image that breaks one."""
    every = [one for index, result in enumerate(report.results) for one in _results(report, result, index)]
    every.sort(key=lambda one: LEVELS.index(one["level"]))
    shown = every[:MOST_RESULTS]
    invocation: dict[str, Any] = {"executionSuccessful": True, "exitCode": int(report.failed)}
    skipped = (result for result in report.results if result.status is RuleStatus.SKIPPED)
    notes = [*report.notes, *(f"{result.rule.code} was skipped: {result.sentence}" for result in skipped)]
    notes += [f"{len(every) - len(shown)} more results were left out"] if len(every) > len(shown) else []
    invocation["toolExecutionNotifications"] = [{"level": "note", "message": {"text": note}} for note in notes]
    driver = {
        "name": "curate",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_descriptor(result.rule) for result in report.results],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "properties": {"pack": report.pack.name, "images": report.images, "facts": report.facts},
        "results": shown,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _descriptor(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.title.split()),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule}. {rule.why}"},
        "help": {"text": rule.cure, "markdown": f"{rule.why}\n\n**What to do.** {rule.cure}"},
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": {"tags": ["data"], "precision": "high"},
    }


def _results(report: Report, result: RuleResult, index: int) -> list[dict[str, Any]]:
    if result.status is not RuleStatus.BROKEN:
        return []
    if result.offenders:
        return [_of_image(report, result, index, offender=offender) for offender in result.offenders]
    mark = fingerprint(result.rule.code, "", " ".join(group.name for group in result.broken_groups))
    return [_result(result, index, result.sentence, file=report.location(), mark=mark)]


def _of_image(report: Report, result: RuleResult, index: int, *, offender: Offender) -> dict[str, Any]:
    message = f"{result.rule.title}: {offender.message or result.sentence}"
    mark = fingerprint(result.rule.code, offender.path, offender.content)
    return _result(result, index, message, file=report.location(offender.path), mark=mark)


def _result(result: RuleResult, index: int, message: str, *, file: str, mark: str) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": _uri(file)}, "region": {"startLine": 1}}
    return {
        "ruleId": result.rule.code,
        "ruleIndex": index,
        "level": result.rule.severity.value,
        "message": {"text": message},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"curate/v1": mark},
    }


def _uri(file: str) -> str:
    """Return a path below the repository as a URI reference."""
    return quote(file, safe="/")
