"""`curate export`: parse, call, print. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from curate.cli.models import Format
from curate.cli.report import AuditArgument, DatasetOption
from curate.export.formats import ExportFormat
from curate.images.names import printable

EXPORT_EXAMPLES = """\b
Examples:
  curate export parts-audit --to anomalib       parts-anomalib/anomalib.csv, for anomalib's Tabular
  curate export parts-audit --to huggingface    parts-huggingface/, for load_dataset("imagefolder", ...)
  curate export parts-audit --to csv            parts-clean.csv beside parts/, a manifest for curate scan
  curate export parts-audit --to coco -o boxes  every judged image, the findings as boxes
Each prints the lines of Python that load it.
"""


def export(
    audit: AuditArgument,
    *,
    to: Annotated[ExportFormat, typer.Option("--to", help="What will read it.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="New folder; csv: file. Default: DATASET-FORMAT here; csv: beside the dataset."
        ),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="huggingface: copy the images instead of linking them.")] = False,
    dataset: DatasetOption = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Allow images that are links out of the dataset.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Write the clean set, or all findings, for another library, and print the lines that load it."""
    from curate.audit.parquet import read_audit
    from curate.cli.screen import Screen
    from curate.export.source import read_source
    from curate.export.write import export as run_export

    source = read_source(read_audit(audit), dataset, follow_links=follow_links, stages=Screen(quiet=quiet))
    exported = run_export(source, to, output, copy=copy)
    if format_ is Format.JSON:
        typer.echo(json.dumps(exported.as_json(), ensure_ascii=True))
        return
    noun = "image" if exported.images == 1 else "images"
    typer.echo(f"{exported.images} {noun}: {printable(exported.place)}\n")
    typer.echo("\n".join(exported.lines))
