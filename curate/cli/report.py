"""`curate report` and `curate review`: show an audit as a page, and decide on its images. No torch."""

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
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write. Default: report.html in the audit.")
    ] = None,
    dataset: DatasetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
) -> None:
    """Write report.html: the flagged images with heat maps, and nominal images beside them."""
    from curate.audit.parquet import read_audit
    from curate.cli.screen import Screen
    from curate.reports.html import thumbnail_count, write_report

    read = read_audit(audit)
    with Screen(quiet=quiet).stage("report", thumbnail_count(read)) as progress:
        page = write_report(audit, read, file=output, dataset=dataset, progress=progress)
    typer.echo(f"Report: {page}")


def review(
    audit: AuditArgument,
    *,
    dataset: DatasetOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1. Default: one that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in the browser.")] = False,
) -> None:
    """Decide on each image in the browser: keep, reject or unsure. Decisions are saved in decisions.parquet."""
    from curate.audit.parquet import read_audit
    from curate.audit.reviewed import review_counts
    from curate.review.server import listening
    from curate.review.session import review_session

    with listening(review_session(read_audit(audit), dataset), port) as (address, server):
        typer.echo(f"Review: {address}\nThe address gives access: keep it private. Press Ctrl-C to end.")
        if browser:
            typer.launch(address)
        with suppress(KeyboardInterrupt):
            server()
    words = review_counts(read_audit(audit)).words or "nothing was decided"
    typer.echo(f"Review ended: {words}. The decisions are in decisions.parquet of the audit.", err=True)
