"""A report for the terminal, and as a summary in Markdown."""

from __future__ import annotations

from collections import Counter

from curate.findings import with_audit
from curate.images.names import printable
from curate.rules.results import FAILING, OUTCOMES, Offender, Report, RuleResult, RuleStatus

SHOWN = 10
"""Images listed for each broken rule; the machine-readable formats list all of them."""
LARGEST_SUMMARY = 900_000
"""Bytes; GitHub accepts a step summary of 1 MiB."""


def text(report: Report) -> str:
    """Return a line for each rule, below a broken one its images and the cure, and a line of counts at the end.

    An image that breaks several rules is listed under the first of them.
    """
    lines, listed = [], dict[str, str]()
    width = max((len(result.rule.code) for result in report.results), default=0)
    for result in report.results:
        mark = OUTCOMES[result.status].upper() if result.status is RuleStatus.BROKEN else OUTCOMES[result.status]
        lines.append(f"{mark:<7} {result.rule.code:<{width}}  {_head(result)}")
        if result.status is RuleStatus.BROKEN:
            lines += [f"          {printable(line)}" for line in _images(report, result, listed)]
            lines.append(f"          {printable(_cure(report, result))} See `curate rule {result.rule.code}`.")
    return "\n".join([*lines, *(f"note: {printable(note)}" for note in report.notes), "", last_line(report), ""])


def _head(result: RuleResult) -> str:
    severity = f" ({result.rule.severity})" if result.status is RuleStatus.BROKEN else ""
    accepted = f", {result.accepted} accepted by the baseline" if result.accepted else ""
    return printable(f"{result.rule.title}{severity}: {result.sentence}{accepted}")


def _images(report: Report, result: RuleResult, listed: dict[str, str]) -> list[str]:
    """Return a line for each image that breaks a rule, `SHOWN` at most, and where the others are listed.

    Args:
        report: of the rule.
        result: of the rule, broken.
        listed: the rule under which each image is listed, by its path; the new ones are added.
    """
    new = [offender for offender in result.offenders if offender.path not in listed]
    earlier = Counter(listed[offender.path] for offender in result.offenders if offender.path in listed)
    listed.update((offender.path, result.rule.code) for offender in new)
    lines = [_named(report, offender) for offender in new[:SHOWN]]
    lines += [f"and {len(new) - SHOWN} more; --format json lists all of them"] if len(new) > SHOWN else []
    return [*lines, *(f"{_count(count, 'image')} of {code}, see there" for code, count in earlier.items())]


def _cure(report: Report, result: RuleResult) -> str:
    return with_audit(result.rule.cure, report.audit)


def _named(report: Report, offender: Offender) -> str:
    why = f": {offender.message}" if offender.message else ""
    return f"{report.file(offender.path)}{why}"


def last_line(report: Report) -> str:
    """Return the counts in one line."""
    counts = ", ".join(
        f"{report.count(status)} {OUTCOMES[status]}"
        for status in RuleStatus
        if status is RuleStatus.KEPT or report.count(status)
    )
    images, rules = _count(report.images, "image"), _count(len(report.results), "rule")
    review = f"; review: {report.review.words}" if report.review.words else ""
    line = f"{images} checked against {rules} of {printable(report.pack.name)}: {counts}{review}"
    if report.failed or not report.count(RuleStatus.BROKEN):
        return f"{line}."
    severities = " or ".join(sorted(FAILING[report.fail_on])) or "nothing"
    return f"{line}; none is severe enough to fail the check (--fail-on {report.fail_on}: {severities})."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def markdown(report: Report) -> str:
    """Return a table of the rules for a pull request, and the images of broken rules."""
    title = "failed" if report.failed else "passed"
    lines = [f"## curate check {title}", "", _cell(last_line(report)), ""]
    lines += ["| rule | outcome | severity | fact |", "| --- | --- | --- | --- |"]
    for result in report.results:
        rule = result.rule
        outcome = OUTCOMES[result.status]
        cells = (f"{rule.code} {_cell(rule.title)}", outcome, rule.severity, _cell(result.sentence))
        lines.append(f"| {' | '.join(cells)} |")
    listed = dict[str, str]()
    for result in report.results:
        if result.status is RuleStatus.BROKEN:
            lines += ["", f"### {result.rule.code} {_cell(result.rule.title)}", "", _cell(_cure(report, result)), ""]
            lines += [f"- {_cell(line)}" for line in _images(report, result, listed)]
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
