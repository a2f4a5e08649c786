"""`curate models`: list, pull, export and import backbones."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.offline import network

if TYPE_CHECKING:
    from curate.embeddings.models import ListedModel, ModelFacts

models_app = typer.Typer(
    name="models",
    help="Backbones on this machine: list, pull, export, import.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Format(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


FolderOption = Annotated[
    Path | None, typer.Option("--folder", help="The models folder. Default: $CURATE_MODELS, else the user's own.")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Refuse every use of the network.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")]
Name = Annotated[str, typer.Argument(help="A convolutional model of timm, e.g. resnet18.")]


@models_app.command("list")
def list_(*, folder: FolderOption = None, format_: FormatOption = Format.TEXT) -> None:
    """List the packaged, imported and cached backbones, and some others that can be pulled."""
    from curate.embeddings.models import list_models

    models = list_models(_folder(folder))
    if format_ is Format.JSON:
        typer.echo(json.dumps([vars(model) for model in models]))
    else:
        _print_table(models)


@models_app.command()
def pull(
    name: Name, *, folder: FolderOption = None, offline: OfflineOption = False, format_: FormatOption = Format.TEXT
) -> None:
    """Download a timm model's published weights into the models folder."""
    from curate.embeddings.models import pull as run_pull

    with network(refused=offline):
        _print_facts(run_pull(name, _folder(folder), offline=offline), format_)


@models_app.command()
def export(
    name: Name,
    *,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The bundle. Default: NAME.curate.tar.")] = None,
    folder: FolderOption = None,
    offline: OfflineOption = False,
    force: ForceOption = False,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Write a model as one file, for `curate models import` on a machine without a network."""
    from curate.embeddings.models import export as run_export

    target = output or Path(f"{name}.curate.tar")
    with network(refused=offline):
        _print_facts(run_export(name, target, _folder(folder), offline=offline, force=force), format_)


@models_app.command("import")
def import_(
    bundle: Annotated[Path, typer.Argument(help="A file that `curate models export` wrote.")],
    *,
    folder: FolderOption = None,
    force: ForceOption = False,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Copy the model of a bundle into the models folder, after checking its sha256."""
    from curate.embeddings.models import import_bundle

    _print_facts(import_bundle(bundle, _folder(folder), force=force), format_)


def _folder(chosen: Path | None) -> Path:
    from curate.config import default_models

    return chosen or default_models()


def _print_facts(facts: ModelFacts, format_: Format) -> None:
    if format_ is Format.JSON:
        typer.echo(facts.model_dump_json())
    else:
        typer.echo(f"{facts.name}: {_size(facts.size_bytes)}, licence {facts.licence}, sha256 {facts.sha256}")


def _print_table(models: tuple[ListedModel, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    from curate.cli.screen import show
    from curate.images.names import printable

    table = Table(box=None, header_style="bold")
    for title in ("name", "where", "size", "licence", "sha256"):
        table.add_column(title, justify="right" if title == "size" else "left", overflow="fold")
    for model in models:
        cells = (model.name, model.origin, _size(model.size_bytes), model.licence, model.sha256[:12])
        table.add_row(*(Text(printable(cell)) for cell in cells))
    show(table)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes else "-"
