"""The formats of a report, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from curate.rules.choices import ReportFormat
from curate.rules.formats.annotations import github, gitlab
from curate.rules.formats.jsons import document, lines
from curate.rules.formats.junit import junit
from curate.rules.formats.sarif import sarif
from curate.rules.formats.text import markdown, text
from curate.rules.results import Report

RENDERERS: Mapping[ReportFormat, Callable[[Report], str]] = {
    ReportFormat.TEXT: text,
    ReportFormat.JSON: document,
    ReportFormat.JSONL: lines,
    ReportFormat.JUNIT: junit,
    ReportFormat.SARIF: sarif,
    ReportFormat.GITHUB: github,
    ReportFormat.GITLAB: gitlab,
    ReportFormat.MARKDOWN: markdown,
}


def render(report: Report, format_: ReportFormat) -> str:
    """Return a report in a format, ending in a newline."""
    return RENDERERS[format_](report)
