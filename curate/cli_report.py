"""`curate report` and `curate review`: look at an audit, and decide. Parse, call, print; no torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

AuditArgument = Annotated[Path, typer.Argument(metavar="AUDIT", help="Folder that `curate scan` wrote.")]
DatasetOption = Annotated[
    Path | None, typer.Option("--dataset", help="Where the dataset lies now, if it was moved since the scan.")
]


def report(
    audit: AuditArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page. Default: report.html in the audit.")
    ] = None,
    dataset: DatasetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
) -> None:
    """Write report.html: the flagged images, where each is odd, and what normal looks like beside it."""
    from curate.reports.html import thumbnail_count, write_report
    from curate.reports.parquet import read_audit
    from curate.screen import Screen

    found = read_audit(audit)
    with Screen(quiet=quiet).stage("report", thumbnail_count(found)) as progress:
        page = write_report(audit, found, file=output, dataset=dataset, progress=progress)
    typer.echo(f"Report: {page}")


def review(
    audit: AuditArgument,
    dataset: DatasetOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1. Default: one that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in the browser.")] = False,
) -> None:
    """Decide on each image of the report in the browser: keep, reject, unsure; the answers go to decisions.parquet."""
    from curate.reports.parquet import read_audit
    from curate.reports.review import desk, listening

    with listening(desk(read_audit(audit), dataset), port) as (address, server):
        typer.echo(f"Review: {address}\nThe address is the key to it; Ctrl-C ends it. Every decision is saved at once.")
        if browser:
            typer.launch(address)
        with suppress(KeyboardInterrupt):
            server()
    typer.echo("Review ended; the decisions are in the audit's decisions.parquet.", err=True)
