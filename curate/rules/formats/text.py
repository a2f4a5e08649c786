"""A report for the terminal, and as a summary in Markdown."""

from __future__ import annotations

from curate.images.names import printable
from curate.rules.results import FAILING, Report, RuleResult, RuleStatus

SHOWN = 10
"""Images listed for each broken rule; the machine-readable formats list all of them."""
MARKS = {RuleStatus.KEPT: "kept", RuleStatus.BROKEN: "BROKEN", RuleStatus.SKIPPED: "skipped"}
LARGEST_SUMMARY = 900_000
"""Bytes; GitHub accepts a step summary of 1 MiB."""


def text(report: Report) -> str:
    """Return a line for each rule, below a broken one its images and the cure, and a line of counts at the end."""
    lines = []
    width = max((len(result.rule.code) for result in report.results), default=0)
    for result in report.results:
        lines += [f"{MARKS[result.status]:<7} {result.rule.code:<{width}}  {_head(result)}", *_details(report, result)]
    return "\n".join([*lines, *(f"note: {printable(note)}" for note in report.notes), "", last_line(report), ""])


def _head(result: RuleResult) -> str:
    severity = f" ({result.rule.severity})" if result.status is RuleStatus.BROKEN else ""
    accepted = f", {result.accepted} accepted by the baseline" if result.accepted else ""
    return printable(f"{result.rule.title}{severity}: {result.sentence}{accepted}")


def _details(report: Report, result: RuleResult) -> list[str]:
    if result.status is not RuleStatus.BROKEN:
        return []
    lines = [f"          {printable(_named(report, result, i))}" for i in range(min(SHOWN, len(result.offenders)))]
    more = len(result.offenders) - SHOWN
    lines += [f"          and {more} more; --format json lists all of them"] if more > 0 else []
    return [*lines, f"          {printable(result.rule.cure)} See `curate rule {result.rule.code}`."]


def _named(report: Report, result: RuleResult, index: int) -> str:
    offender = result.offenders[index]
    why = f": {offender.message}" if offender.message else ""
    return f"{report.file(offender.path)}{why}"


def last_line(report: Report) -> str:
    """Return the counts in one line."""
    counts = ", ".join(
        f"{report.count(status)} {status}" for status in RuleStatus if status is RuleStatus.KEPT or report.count(status)
    )
    images, rules = _count(report.images, "image"), _count(len(report.results), "rule")
    review = f"; review: {report.review.words}" if report.review.words else ""
    line = f"{images} checked against {rules} of {printable(report.pack.name)}: {counts}{review}"
    if report.failed or not report.count(RuleStatus.BROKEN):
        return f"{line}."
    severities = " or ".join(sorted(FAILING[report.fail_on])) or "nothing"
    return f"{line}; no broken rule fails the check (--fail-on {report.fail_on}: {severities})."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def markdown(report: Report) -> str:
    """Return a table of the rules for a pull request, and the images of broken rules."""
    title = "failed" if report.failed else "passed"
    lines = [f"## curate check {title}", "", _cell(last_line(report)), ""]
    lines += ["| rule | outcome | severity | fact |", "| --- | --- | --- | --- |"]
    for result in report.results:
        rule = result.rule
        cells = (f"{rule.code} {_cell(rule.title)}", MARKS[result.status], rule.severity, _cell(result.sentence))
        lines.append(f"| {' | '.join(cells)} |")
    for result in report.results:
        if result.status is RuleStatus.BROKEN:
            lines += ["", f"### {result.rule.code} {_cell(result.rule.title)}", "", _cell(result.rule.cure), ""]
            lines += [f"- {_cell(_named(report, result, i))}" for i in range(min(SHOWN, len(result.offenders)))]
            more = len(result.offenders) - SHOWN
            lines += [f"- and {more} more"] if more > 0 else []
    lines += ["", *(f"- note: {_cell(note)}" for note in report.notes)] if report.notes else []
    return "\n".join([*lines, ""])


def step_summary(report: Report) -> str:
    """Return the Markdown, cut to the length that GitHub accepts."""
    whole = markdown(report)
    return whole if len(whole.encode()) <= LARGEST_SUMMARY else whole.encode()[:LARGEST_SUMMARY].decode(errors="ignore")


def _cell(words: str) -> str:
    """Return text escaped for Markdown: no file name breaks a table or makes a link, tag or mention."""
    shown = printable(words)
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#@" else c for c in shown)
