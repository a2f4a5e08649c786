"""A report on the files of a pull or merge request: GitHub's workflow commands, GitLab's Code Quality."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from curate.findings import Severity
from curate.rules.results import Report, RuleResult, RuleStatus

GITHUB_EACH = 10
"""GitHub shows ten annotations of each level per step, and silently drops the rest."""
LONGEST_MESSAGE = 2000
GITHUB_LEVELS: Mapping[Severity, str] = {
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.NOTE: "notice",
}
GITLAB_LEVELS: Mapping[Severity, str] = {
    Severity.ERROR: "critical",
    Severity.WARNING: "minor",
    Severity.NOTE: "info",
}


def github(report: Report) -> str:
    """Return workflow commands: at most ten of each level, the tenth of which says how many more there are."""
    lines = []
    for severity, level in GITHUB_LEVELS.items():
        annotations = list(_annotations(report, severity))
        shown = annotations if len(annotations) <= GITHUB_EACH else annotations[: GITHUB_EACH - 1]
        lines += [_command(level, f"{r.rule.code} {r.rule.title}", message, file=file) for r, file, message in shown]
        if left_out := len(annotations) - len(shown):
            message = f"{left_out} more are not shown here; the step's summary and --format json have all"
            lines.append(_command(level, "curate check", message))
    return "".join(f"{line}\n" for line in lines)


def _annotations(report: Report, severity: Severity) -> Iterator[tuple[RuleResult, str, str]]:
    """Yield result, file and message: first one for each broken rule, then the other images."""
    broken = [r for r in report.results if r.status is RuleStatus.BROKEN and r.rule.severity is severity]
    for result in broken:
        first = report.location(result.offenders[0].path) if result.offenders else ""
        yield result, first, f"{result.sentence}. {result.rule.cure}"
    for result in broken:
        for offender in result.offenders[1:]:
            yield result, report.location(offender.path), offender.message or result.rule.why


def _command(level: str, title: str, message: str, *, file: str = "") -> str:
    values = ([f"file={_property(file)}"] if file else []) + [f"title={_property(title)}"]
    return f"::{level} {','.join(values)}::{_data(message[:LONGEST_MESSAGE])}"


def _data(words: str) -> str:
    """Escape the characters that would end a command, as the toolkit of GitHub's actions does."""
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(words: str) -> str:
    return _data(words).replace(":", "%3A").replace(",", "%2C")


def gitlab(report: Report) -> str:
    """Return a Code Quality report: an entry for each image, or one for the set where no image alone breaks a rule."""
    entries = []
    for result in report.results:
        if result.status is not RuleStatus.BROKEN:
            continue
        entries += [
            _entry(result, (o.path, o.content), file=report.location(o.path), message=o.message)
            for o in result.offenders
        ] or [
            _entry(result, ("", group.name), file=report.location(), message=result.sentence)
            for group in result.broken_groups[:1]
        ]
    return json.dumps(entries, indent=2) + "\n"


def _entry(result: RuleResult, identity: tuple[str, str], *, file: str, message: str) -> dict[str, object]:
    return {
        "description": f"{result.rule.title}: {message or result.sentence}",
        "check_name": result.rule.code,
        "fingerprint": fingerprint(result.rule.code, *identity),
        "severity": GITLAB_LEVELS[result.rule.severity],
        "location": {"path": file, "lines": {"begin": 1}},
    }


def fingerprint(code: str, path: str, content: str) -> str:
    """Return a hash that stays the same from run to run: of rule, path and content."""
    return hashlib.sha256("\0".join((code, path, content)).encode()).hexdigest()
