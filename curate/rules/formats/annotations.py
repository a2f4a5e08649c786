"""A report beside the files of a pull or merge request: GitHub's workflow commands, GitLab's Code Quality."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from curate.rules.packs import Severity
from curate.rules.results import Outcome, Report, Result

GITHUB_EACH = 10
"""GitHub shows ten annotations of each kind a step, and drops the rest without a word."""
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
        found = list(_places(report, severity))
        shown = found if len(found) <= GITHUB_EACH else found[: GITHUB_EACH - 1]
        lines += [_command(level, f"{r.rule.code} {r.rule.title}", file, message) for r, file, message in shown]
        if len(found) > len(shown):
            told = f"{len(found) - len(shown)} more are not shown here; the step's summary and --format json have all"
            lines.append(_command(level, "curate check", "", told))
    return "".join(f"{line}\n" for line in lines)


def _places(report: Report, severity: Severity) -> Iterator[tuple[Result, str, str]]:
    """Yield what is to be said of broken rules: first one of each rule, then the rest of their images."""
    broken = [r for r in report.results if r.outcome is Outcome.BROKEN and r.rule.severity is severity]
    for result in broken:
        first = report.file(result.offenders[0].path) if result.offenders else ""
        yield result, first, f"{result.sentence}. {result.rule.cure}"
    for result in broken:
        for offender in result.offenders[1:]:
            yield result, report.file(offender.path), offender.message or result.rule.why


def _command(level: str, title: str, file: str, message: str) -> str:
    values = ([f"file={_property(file)}"] if file else []) + [f"title={_property(title)}"]
    return f"::{level} {','.join(values)}::{_data(message[:LONGEST_MESSAGE])}"


def _data(words: str) -> str:
    """Escape what would end a command, as the toolkit of GitHub's actions does."""
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(words: str) -> str:
    return _data(words).replace(":", "%3A").replace(",", "%2C")


def gitlab(report: Report) -> str:
    """Return a Code Quality report: an entry an image, one for the set where no image is to blame."""
    entries = []
    for result in report.results:
        if result.outcome is not Outcome.BROKEN:
            continue
        told = [(o.path, report.file(o.path), o.content, o.message) for o in result.offenders]
        told = told or [("", report.source or ".", g.name, result.sentence) for g in result.broken_groups[:1]]
        entries += [_entry(result, *one) for one in told]
    return json.dumps(entries, indent=2) + "\n"


def _entry(result: Result, path: str, file: str, content: str, message: str) -> dict[str, object]:
    return {
        "description": f"{result.rule.title}: {message or result.sentence}",
        "check_name": result.rule.code,
        "fingerprint": fingerprint(result.rule.code, path, content),
        "severity": GITLAB_LEVELS[result.rule.severity],
        "location": {"path": file, "lines": {"begin": 1}},
    }


def fingerprint(code: str, path: str, content: str) -> str:
    """Return what makes a finding the same in the next run: rule, place and content."""
    return hashlib.sha256("\0".join((code, path, content)).encode()).hexdigest()
