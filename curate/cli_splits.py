"""The commands that act on verdicts: prune, restore, explain."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli_models import Format
from curate.errors import UsageError
from curate.splits.modes import Mode

if TYPE_CHECKING:
    from curate.reports.parquet import Audit
    from curate.splits.prune import Pruned

STDIN = "-"

PRUNE_EXAMPLES = """\b
Examples:
  curate prune parts-audit -o parts-clean                  plan and lists; nothing is moved
  curate prune parts-audit -o parts-clean --apply copy     the clean set as a folder, parts-clean/data
  curate prune parts-audit -o parts-clean --apply move     rejected images to parts-clean/quarantine
  curate prune parts/ --rounds 3 -o parts-clean            scan first, in three rounds at most
  curate restore parts-clean                               undo it
"""

EXPLAIN_EXAMPLES = """\b
Examples:
  curate explain parts-audit good/00030.jpg
  curate explain parts-audit 00030.jpg --map why.png       the end of a path is enough
"""


def prune(
    source: Annotated[str, typer.Argument(metavar="DATASET|AUDIT", help="A dataset, scanned first, or an audit.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the split.")],
    apply: Annotated[
        Mode | None,
        typer.Option("--apply", help="Carry it out: the clean set in data/; move: the rest in quarantine/."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="DATASET: refinement rounds at most. AUDIT: as it was made.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and decide, write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Let decisions leave a class below min_keep.")] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="An image may be a link that leads out of the dataset.")
    ] = False,
    dataset: Annotated[Path | None, typer.Option(help="AUDIT: where the dataset lies now.")] = None,
    layout: Annotated[str | None, typer.Option(help="DATASET: as for scan.")] = None,
    split: Annotated[str | None, typer.Option(help="DATASET: the split to judge.")] = None,
    backbone: Annotated[str | None, typer.Option(help="DATASET: as for scan.")] = None,
    weights: Annotated[Path | None, typer.Option(help="DATASET: as for scan.")] = None,
    device: Annotated[str | None, typer.Option(help="DATASET: auto, cpu or cuda.")] = None,
    seed: Annotated[int | None, typer.Option(help="DATASET: seed of every sample that is drawn.")] = None,
    cache: Annotated[Path | None, typer.Option(help="DATASET: folder of the embedding cache.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="DATASET: refuse every use of the network.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Write the cleaned split of a dataset, and carry it out so that it can be undone."""
    from curate.reports.parquet import read_audit
    from curate.reports.place import is_audit
    from curate.screen import Screen
    from curate.splits.prune import Settings, prune_audit, prune_dataset

    given: dict[str, Any] = {
        "layout": layout,
        "split": split,
        "backbone": backbone,
        "weights": weights,
        "device": device,
        "seed": seed,
        "cache": cache,
        "offline": offline or None,
    }
    scan_settings = {name: value for name, value in given.items() if value is not None}
    settings = Settings(mode=apply, dataset=dataset, dry_run=dry_run, force=force, follow_links=follow_links)
    screen = Screen(quiet=quiet)
    if source != STDIN and is_audit(Path(source)):
        audit = read_audit(source)
        _refuse_scan_settings(audit, scan_settings, rounds)
        pruned = prune_audit(audit, output, settings, screen)
    else:

        def scan(folder: Path) -> Audit:
            from curate.audit import scan as run_scan

            return run_scan(source, folder, screen=screen, **scan_settings)

        _refuse_dataset_settings(source, dataset)
        scan_settings |= {} if rounds is None else {"rounds": rounds}
        pruned = prune_dataset(scan, Path(source), output, settings, screen, rounds=rounds)
    _show_pruned(pruned, format_)


def _refuse_scan_settings(audit: Audit, given: dict[str, Any], rounds: int | None) -> None:
    made = (audit.run.get("settings") or {}).get("rounds")
    if rounds is not None and rounds != made:
        raise UsageError(f"--rounds {rounds}: the audit was made with {made}: leave it out, or prune the dataset")
    if given:
        name = next(iter(given))
        raise UsageError(f"--{name}: only a dataset is scanned, and {audit.path} is an audit: leave it out")


def _refuse_dataset_settings(source: str, dataset: Path | None) -> None:
    if source == STDIN:
        raise UsageError("-: a list of files is scanned by `curate scan -`; prune the audit of that")
    if dataset is not None:
        raise UsageError(f"--dataset {dataset}: is for an audit, and {source} is none: leave it out")


def _show_pruned(pruned: Pruned, format_: Format) -> None:
    if format_ is Format.JSON:
        typer.echo(json.dumps(pruned.as_json(), ensure_ascii=True))
        return
    counts = [f"{count:>6}  {action}" for action, count in pruned.images.items()]
    masks = [f"{pruned.masks:>6}  masks of them"] if pruned.masks else []
    _show([*counts, *masks, *pruned.warnings, *pruned.next_steps])


def _show(lines: Iterable[str]) -> None:
    from rich.text import Text

    from curate.images.names import printable
    from curate.screen import show

    for line in lines:
        show(Text(printable(line)), soft_wrap=True)


def explain(
    audit: Annotated[Path, typer.Argument(metavar="AUDIT", help="Folder of an audit, from curate scan.")],
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="Path in the dataset, absolute, or a unique end of it.")
    ],
    map_: Annotated[
        Path | None, typer.Option("--map", help="Draw where it is odd into this PNG, at full size.")
    ] = None,
    dataset: Annotated[Path | None, typer.Option(help="Where the dataset lies now, for --map.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Say why an image was judged as it was: scores, fences, rounds, findings, the nearest kept images, the map."""
    from curate.reports.explain import draw_map
    from curate.reports.explain import explain as explain_image
    from curate.reports.parquet import read_audit

    read = read_audit(audit)
    told = explain_image(read, image)
    if map_ is not None:
        from curate.splits.files import locate_one

        draw_map(read, told.path, locate_one(read, told.path, dataset), map_)
    if format_ is Format.JSON:
        typer.echo(json.dumps(told.as_json(), ensure_ascii=True))
        return
    _show(told.lines())


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a split, from curate prune.")],
    dataset: Annotated[Path | None, typer.Option(help="Where the dataset lies now, if it was moved.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Leave alone what was changed since, undo the rest.")] = False,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Undo what curate prune --apply did, verified by hash; the plan and the lists stay."""
    from curate.splits.folder import read_split
    from curate.splits.undo import restore as undo

    read_split(folder)
    undone = undo(folder, force=force, dataset=dataset)
    if format_ is Format.JSON:
        typer.echo(json.dumps(undone.as_json(), ensure_ascii=True))
        return
    _show(undone.lines())
