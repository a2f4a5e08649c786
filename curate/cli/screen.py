"""What the terminal shows: results on stdout, progress on stderr and only on a terminal.

File names may be hostile: they are shown without control characters and never read as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from curate.findings import Code, catalogue, with_audit
from curate.images.names import printable
from curate.progress import Progress as ProgressCall
from curate.progress import no_progress
from curate.records import Verdict
from curate.reports.summary import Summary

VERDICT_STYLE = {
    Verdict.NOT_JUDGED: "yellow",
    Verdict.MISLABELLED: "red",
    Verdict.NEAR_OOD: "magenta",
    Verdict.DUPLICATE: "yellow",
    Verdict.UNREADABLE: "yellow",
    Verdict.REJECTED: "red",
}


UNWRAPPED_COLUMNS = 100_000
"""Width of output to a file or another program, so that no line is broken there."""


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:5.1f}/s", style="cyan")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would exit with 1; `cli.main` handles it


class Screen:
    """Shows the stages of a run as bars on stderr; silent with `quiet` or without a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.errors = _Console(stderr=True, highlight=False)
        self._bars = self.errors.is_terminal and not quiet
        self._quiet = quiet

    def say(self, message: str) -> None:
        """Print one line on stderr, unless quiet."""
        if not self._quiet:
            self.errors.print(Text(printable(message)), soft_wrap=True)

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[ProgressCall]:
        """Show a bar with rate and remaining time while a stage runs; without a total, one that only moves."""
        if not self._bars or total == 0:
            yield no_progress
            return
        columns = (TextColumn("{task.description:<12}"), BarColumn())
        measured = (MofNCompleteColumn(), _Rate(), TimeRemainingColumn(compact=True)) if total else ()
        with Progress(*columns, *measured, console=self.errors, transient=total is None) as bars:
            task = bars.add_task(title, total=total)
            yield lambda images: bars.advance(task, images)


def show(*results: RenderableType, soft_wrap: bool = False) -> None:
    """Print results on stdout: tables keep within a terminal's width, lines elsewhere are never broken."""
    console = _Console(file=sys.stdout, highlight=False)
    if console.is_terminal:
        console.print(*results, sep="\n", soft_wrap=soft_wrap)
        return
    console.width = UNWRAPPED_COLUMNS
    with console.capture() as printed:
        console.print(*results, sep="\n", soft_wrap=soft_wrap)
    sys.stdout.write("\n".join(line.rstrip() for line in printed.get().split("\n")))  # tables pad their lines


def show_error(message: str) -> None:
    """Print why the command failed, on stderr."""
    _Console(stderr=True, highlight=False).print(Text(f"curate: {printable(message)}", style="red"), soft_wrap=True)


def show_summary(summary: Summary) -> None:
    """Print the result of a scan on stdout."""
    first = [Text(f"{summary.look_first}\n", style="bold yellow")] if summary.look_first else []
    show(*first, _counts(summary), *_worst(summary), *_power(summary), *_codes(summary))
    for line in ("", *summary.next_steps):
        show(Text(printable(line)), soft_wrap=True)  # a path stays whole on a terminal, too


def _counts(summary: Summary) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column()
    noun = "image" if summary.images == 1 else "images"
    table.add_row(str(summary.images), Text(f"{noun}, layout {printable(summary.layout)}", style="bold"))
    for verdict, count in summary.verdicts.items():
        table.add_row(str(count), Text(verdict, style=VERDICT_STYLE.get(Verdict(verdict), "green")))
    if summary.review:
        table.add_row("", Text(f"review: {summary.review}", style="bold"))
    return table


def _worst(summary: Summary) -> list[RenderableType]:
    if not summary.worst:
        not_judged, capped = summary.codes.get(Code.NOT_JUDGED, 0), summary.codes.get(Code.REJECTION_CAPPED, 0)
        noun = "image" if not_judged == 1 else "images"
        but = f" {not_judged} {noun} could not be judged (see {Code.NOT_JUDGED})." if not_judged else ""
        but += f" The rejection cap kept images above the threshold (see {Code.REJECTION_CAPPED})." if capped else ""
        none = "Every flagged image is decided on." if summary.review else "No image is flagged."
        return [Text(f"\n{none}{but}", style="yellow" if but else "green")]
    table = Table(title="\nMost anomalous images (threshold 1.00)", title_justify="left", title_style="bold", box=None)
    for name in ("score", "verdict", "image", "reason"):
        table.add_column(name, justify="right" if name == "score" else "left", overflow="fold", vertical="top")
    for row in summary.worst:
        style = VERDICT_STYLE.get(Verdict(row.verdict), "")
        cells = (row.verdict, printable(row.path), printable(row.reason))
        table.add_row(f"{row.score:.2f}", Text(cells[0], style=style), Text(cells[1]), Text(cells[2]))
    return [table]


def _power(summary: Summary) -> list[RenderableType]:
    return [Text("\n" * (not number) + printable(line)) for number, line in enumerate(summary.power)]


def _codes(summary: Summary) -> list[RenderableType]:
    """List all findings, a line a code."""
    if not summary.codes:
        return []
    table = Table(title="\nFindings", title_justify="left", title_style="bold", box=None, show_header=False)
    for code, count in summary.codes.items():
        text = catalogue().get(code)
        cure = with_audit(text.cure, printable(summary.audit)) if text else ""
        table.add_row(code, str(count), Text(text.title if text else ""), Text(cure, style="dim"))
    return [table]


def show_facts(facts: dict[str, dict[str, Any]]) -> None:
    """Print sections of named values on stdout."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for section, values in facts.items():
        for index, (name, value) in enumerate(values.items()):
            table.add_row(Text(section if not index else "", style="bold"), Text(name), Text(printable(str(value))))
    show(table)
