"""The commands that follow a scan: prune, restore, explain."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.models import Format
from curate.errors import UsageError
from curate.images.names import printable
from curate.splits.modes import KeepShots, Mode

if TYPE_CHECKING:
    from curate.audit.parquet import Audit
    from curate.splits.prune import Pruned, PruneSettings
    from curate.splits.resplit import ResplitSettings

STDIN = "-"

PRUNE_EXAMPLES = """\b
Examples:
  curate prune parts-audit                                 plan and lists only, in parts-clean
  curate prune parts-audit --apply copy                    clean set to parts-clean/data
  curate prune parts-audit -o parts-clean --apply move     rejected images to parts-clean/quarantine
  curate prune parts-audit -o parts-split --resplit        propose splits that do not leak, in the lists
  curate prune parts/ --rounds 3 -o parts-clean            scan first, at most three rounds
  curate prune parts-audit -o parts-clean --keep-shots sharpest   one shot of each part
  curate restore parts-clean                               undo the apply
"""

EXPLAIN_EXAMPLES = """\b
Examples:
  curate explain parts-audit good/00030.jpg
  curate explain parts-audit 00030 --map why.png       a unique end of the path is enough, without the suffix too
"""


def prune(
    source: Annotated[
        str, typer.Argument(metavar="DATASET|AUDIT", help="A dataset, which is scanned first, or an audit.")
    ],
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the split. Default: DATASET-clean here.")
    ] = None,
    apply: Annotated[
        Mode | None,
        typer.Option("--apply", help="Carry the plan out: clean set to data/; move: rejected images to quarantine/."),
    ] = None,
    resplit: Annotated[
        bool, typer.Option("--resplit", help="Propose splits that do not leak: whole leakage groups, by label.")
    ] = False,
    shares: Annotated[
        str | None,
        typer.Option(help="--resplit: such as train=0.7,val=0.15,test=0.15. Default: those that each label has now."),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="DATASET: refinement rounds, at most.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan and check, but write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Allow a class below min_keep.")] = False,
    keep_shots: Annotated[
        KeepShots, typer.Option(help="Which shots of one part stay: all, the first by path, or the sharpest.")
    ] = KeepShots.ALL,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Allow images that are links out of the dataset.")
    ] = False,
    dataset: Annotated[
        Path | None, typer.Option(help="AUDIT: the dataset's present location, if it was moved.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="DATASET: as for scan.")] = None,
    root: Annotated[Path | None, typer.Option(help="DATASET: as for scan.")] = None,
    split: Annotated[str | None, typer.Option(help="DATASET: the split to judge; all of them with --resplit.")] = None,
    backbone: Annotated[str | None, typer.Option(help="DATASET: as for scan.")] = None,
    weights: Annotated[Path | None, typer.Option(help="DATASET: as for scan.")] = None,
    device: Annotated[str | None, typer.Option(help="DATASET: auto, cpu or cuda.")] = None,
    seed: Annotated[int | None, typer.Option(help="DATASET: seed of all random numbers; AUDIT: of --resplit.")] = None,
    cache: Annotated[Path | None, typer.Option(help="DATASET: folder of the embedding cache.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="DATASET: never use the network.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Write the clean split of a dataset, and carry it out on request; `curate restore` undoes it."""
    from curate.splits.prune import PruneSettings

    scan_settings = {
        "rounds": rounds, "layout": layout, "root": root, "split": split, "backbone": backbone, "weights": weights,
        "device": device, "seed": seed, "cache": cache, "offline": offline or None,
    }  # fmt: skip
    settings = PruneSettings(
        mode=apply, dataset=dataset, dry_run=dry_run, force=force, follow_links=follow_links, keep_shots=keep_shots,
        resplit=_resplit(shares, seed or 0) if resplit else None,
    )  # fmt: skip
    if shares is not None and not resplit:
        raise UsageError(f"--shares {shares}: is for --resplit; add it, or leave --shares out")
    chosen = {name: value for name, value in scan_settings.items() if value is not None}
    _show_pruned(_pruned(source, output, settings=settings, scan_settings=chosen, quiet=quiet), format_)


def _resplit(shares: str | None, seed: int) -> ResplitSettings:
    from curate.splits.resplit import ResplitSettings
    from curate.splits.shares import parse_shares

    if seed < 0:
        raise UsageError(f"--seed {seed}: must be 0 or more")
    return ResplitSettings(shares=None if shares is None else parse_shares(shares), seed=seed)


def _pruned(
    source: str, output: Path | None, *, settings: PruneSettings, scan_settings: dict[str, Any], quiet: bool
) -> Pruned:
    """Prune an audit or a dataset.

    Args:
        source: which of both.
        output: the split's folder; None for `<dataset>-clean`.
        settings: of the split.
        scan_settings: of the scan, as chosen by the user; of an audit only `rounds`, and the seed of resplit.
        quiet: show no progress.
    """
    from curate.audit.folder import is_audit
    from curate.audit.parquet import read_audit
    from curate.cli.screen import Screen
    from curate.splits.folder import default_output
    from curate.splits.prune import prune_audit, prune_dataset

    screen = Screen(quiet=quiet)
    if source != STDIN and is_audit(Path(source)):
        audit = read_audit(source)
        own = {"seed"} if settings.resplit is not None else set()
        _refuse_scan_settings(audit, {name: value for name, value in scan_settings.items() if name not in own})
        output = output or default_output(str(audit.run.get("dataset", "")))
        return prune_audit(audit, output, settings=settings, stages=screen)

    def scan(folder: Path) -> Audit:
        from curate.pipeline import scan as run_scan

        if settings.keep_shots is not KeepShots.ALL:
            scan_settings["same_part"] = True
        every_split = {"split": "all"} if settings.resplit is not None else {}
        return run_scan(source, folder, screen=screen, **every_split | scan_settings)

    _refuse_audit_settings(source, settings.dataset)
    if "root" in scan_settings:
        settings = replace(settings, dataset=scan_settings["root"])
    rounds = scan_settings.get("rounds")
    output = output or default_output(source)
    return prune_dataset(scan, Path(source), output, settings=settings, stages=screen, rounds=rounds)


def _refuse_scan_settings(audit: Audit, scan_settings: dict[str, Any]) -> None:
    """Refuse settings of a scan for an audit, but for the rounds that it was made with."""
    from curate.splits.prune import rounds_of

    rounds, made_with = scan_settings.get("rounds"), rounds_of(audit)
    if rounds is not None and rounds != made_with:
        raise UsageError(f"--rounds {rounds}: the audit was made with {made_with}; leave it out, or prune the dataset")
    others = [name for name in scan_settings if name != "rounds"]
    if others:
        raise UsageError(f"--{others[0]}: only a dataset is scanned, and {audit.path} is an audit; leave it out")


def _refuse_audit_settings(source: str, dataset: Path | None) -> None:
    if source == STDIN:
        raise UsageError("-: scan a list of files with `curate scan -`, then prune its audit")
    if dataset is not None:
        raise UsageError(f"--dataset {dataset}: is for an audit, and {source} is not one; leave it out")


def _show_pruned(pruned: Pruned, format_: Format) -> None:
    if format_ is Format.JSON:
        typer.echo(json.dumps(pruned.as_json(), ensure_ascii=True))
        return
    rejected = [f"reject  {one.path}: {one.reason}" for one in pruned.rejected]
    counts = [f"{count:>6}  {action}" for action, count in pruned.images.items()]
    attached = {"mask": pruned.masks, "sidecar file": pruned.sidecars}
    masks = [f"{count:>6}  {what}{'' if count == 1 else 's'} of them" for what, count in attached.items() if count]
    review = [f"Review: {pruned.review}"] if pruned.review else []
    resplit = pruned.resplit.lines() if pruned.resplit is not None else []
    _show([*rejected, *counts, *masks, *review, *resplit, *pruned.warnings, *pruned.next_steps])


def _show(lines: Iterable[str]) -> None:
    from rich.text import Text

    from curate.cli.screen import show

    for line in lines:
        show(Text(printable(line)), soft_wrap=True)


def explain(
    folder: Annotated[Path, typer.Argument(metavar="AUDIT", help="Folder of an audit, from curate scan.")],
    image: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="Path in the dataset, absolute, or a unique end of it; a stem is enough."),
    ],
    *,
    map_: Annotated[
        Path | None, typer.Option("--map", help="Write the image with its anomaly map as a PNG, at full size.")
    ] = None,
    dataset: Annotated[Path | None, typer.Option(help="The dataset's present location, for --map.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Explain an image's verdict: scores, thresholds, rounds, findings, nearest kept images, anomaly map."""
    from curate.audit.parquet import read_audit
    from curate.reports.explain import draw_map
    from curate.reports.explain import explain as explain_image

    audit = read_audit(folder)
    explanation = explain_image(audit, image)
    if map_ is not None:
        from curate.splits.files import locate_one

        draw_map(audit, explanation.path, locate_one(audit, explanation.path, dataset), target=map_)
        typer.echo(f"Anomaly map of {printable(explanation.path)}: {printable(str(map_))}", err=format_ is Format.JSON)
    if format_ is Format.JSON:
        typer.echo(json.dumps(explanation.as_json(), ensure_ascii=True))
        return
    _show(explanation.lines())


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a split, from curate prune.")],
    *,
    dataset: Annotated[Path | None, typer.Option(help="The dataset's present location, if it was moved.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Leave alone files that were changed since, undo the rest.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Undo curate prune --apply, verified by hash; the plan and the lists stay."""
    from curate.splits.folder import read_split
    from curate.splits.undo import restore as undo

    read_split(folder)
    undone = undo(folder, force=force, dataset=dataset)
    if format_ is Format.JSON:
        typer.echo(json.dumps(undone.as_json(), ensure_ascii=True))
        return
    _show(undone.lines())
