"""`curate models`: list, pull, export and import backbones."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
Name = Annotated[str, typer.Argument(help="A model of timm or a short name, e.g. resnet18, dinov2-small.")]


@models_app.command("list")
def list_(
    *,
    folder: FolderOption = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure seconds and memory of an image of 384 px; takes minutes.")
    ] = False,
    format_: FormatOption = Format.TEXT,
) -> None:
    """List backbones: what each is good for, where its weights are, licence; others of timm can be pulled too."""
    from curate.embeddings.models import list_models

    models = list_models(_folder(folder))
    costs = _measured(models) if measure else [{} for _ in models]
    if format_ is Format.JSON:
        typer.echo(json.dumps([vars(model) | cost for model, cost in zip(models, costs, strict=True)]))
    else:
        _print_table(models, costs)


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


def _measured(models: tuple[ListedModel, ...]) -> list[dict[str, Any]]:
    """Return the facts of each model's footprint; empty for a model that cannot be measured."""
    from curate.cli.screen import Screen
    from curate.embeddings.footprint import footprint

    costs: list[dict[str, Any]] = []
    with Screen().stage("measure", len(models)) as progress:
        for model in models:
            cost = footprint(model.full_name)
            costs.append(vars(cost) if cost else {})
            progress(1)
    return costs


def _print_table(models: tuple[ListedModel, ...], costs: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from curate.cli.screen import show
    from curate.embeddings.catalogue import licence_note
    from curate.images.names import printable

    table = Table(box=None, header_style="bold")
    measured = ("s/image", "memory") if any(costs) else ()
    for title in ("name", "where", "size", *measured, "licence", "good for"):
        table.add_column(title, justify="right" if title in ("size", *measured) else "left", overflow="fold")
    for model, cost in zip(models, costs, strict=True):
        figures = (_seconds(cost), _size(cost.get("peak_bytes", 0))) if measured else ()
        cells = (model.name, model.origin, _size(model.size_bytes), *figures, licence_note(model.licence))
        table.add_row(*(Text(printable(cell)) for cell in (*cells, model.good_for)))
    show(table)


def _seconds(cost: dict[str, Any]) -> str:
    return f"{cost['seconds_an_image']:.3f}" if cost else "-"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes else "-"
