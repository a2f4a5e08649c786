"""A report for the terminal, and as a summary in Markdown."""

from __future__ import annotations

from curate.rules.results import FAILING, Outcome, Report, Result

SHOWN = 10
"""Images named a rule; the machine-readable formats name them all."""
MARKS = {Outcome.KEPT: "kept", Outcome.BROKEN: "BROKEN", Outcome.SKIPPED: "skipped"}
LARGEST_SUMMARY = 900_000
"""Characters; GitHub takes a step summary of 1 MiB."""


def printable(text: str) -> str:
    """Return text with control and other invisible characters escaped: no file name forges a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def text(report: Report) -> str:
    """Return a line a rule; below a broken one its images and what to do; the sum at the end."""
    lines = []
    for result in report.results:
        lines += [f"{MARKS[result.outcome]:<7} {result.rule.code}  {_head(result)}", *_details(report, result)]
    return "\n".join([*lines, *(f"note: {printable(note)}" for note in report.notes), "", last_line(report), ""])


def _head(result: Result) -> str:
    severity = f" ({result.rule.severity})" if result.outcome is Outcome.BROKEN else ""
    known = f", {result.accepted} accepted by the baseline" if result.accepted else ""
    told = result.figure if result.outcome is Outcome.KEPT else result.sentence
    return printable(f"{result.rule.title}{severity}: {told}{known}")


def _details(report: Report, result: Result) -> list[str]:
    if result.outcome is not Outcome.BROKEN:
        return []
    lines = [f"          {printable(_named(report, result, i))}" for i in range(min(SHOWN, len(result.offenders)))]
    more = len(result.offenders) - SHOWN
    lines += [f"          and {more} more; --format json names them all"] if more > 0 else []
    return [*lines, f"          {printable(result.rule.cure)} See `curate rule {result.rule.code}`."]


def _named(report: Report, result: Result, index: int) -> str:
    offender = result.offenders[index]
    why = f": {offender.message}" if offender.message else ""
    return f"{report.file(offender.path)}{why}"


def last_line(report: Report) -> str:
    """Return the outcome in one line."""
    counts = ", ".join(
        f"{report.count(outcome)} {outcome}" for outcome in Outcome if outcome is Outcome.KEPT or report.count(outcome)
    )
    what = f"{report.images} images against {len(report.results)} rules of {printable(report.pack.name)}: {counts}"
    if report.failed or not report.count(Outcome.BROKEN):
        return f"{what}."
    severities = " or ".join(sorted(FAILING[report.fail_on])) or "nothing"
    return f"{what}; none that fails the check (--fail-on {report.fail_on}: {severities})."


def markdown(report: Report) -> str:
    """Return a table a rule for a pull request, and the images of broken rules."""
    title = "failed" if report.failed else "passed"
    lines = [f"## curate check {title}", "", _cell(last_line(report)), ""]
    lines += ["| rule | outcome | severity | fact |", "| --- | --- | --- | --- |"]
    for result in report.results:
        rule = result.rule
        cells = (f"{rule.code} {_cell(rule.title)}", MARKS[result.outcome], rule.severity, _cell(result.sentence))
        lines.append(f"| {' | '.join(cells)} |")
    for result in report.results:
        if result.outcome is Outcome.BROKEN:
            lines += ["", f"### {result.rule.code} {_cell(result.rule.title)}", "", _cell(result.rule.cure), ""]
            lines += [f"- {_cell(_named(report, result, i))}" for i in range(min(SHOWN, len(result.offenders)))]
            more = len(result.offenders) - SHOWN
            lines += [f"- and {more} more"] if more > 0 else []
    lines += ["", *(f"- note: {_cell(note)}" for note in report.notes)] if report.notes else []
    return "\n".join([*lines, ""])


def step_summary(report: Report) -> str:
    """Return the Markdown as far as GitHub takes it."""
    whole = markdown(report)
    return whole if len(whole.encode()) <= LARGEST_SUMMARY else whole.encode()[:LARGEST_SUMMARY].decode(errors="ignore")


def _cell(words: str) -> str:
    """Return text that Markdown shows as it is: no table is broken, no link, tag or mention made by a file name."""
    shown = printable(words)
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#@" else c for c in shown)
