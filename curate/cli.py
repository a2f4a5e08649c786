"""The command line: parse, call, print, exit. No arithmetic here, and no torch until a command needs it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from curate import __version__
from curate.cli_models import Format, models_app
from curate.errors import CurateError, Interrupted

app = typer.Typer(
    name="curate",
    help="Audit image training sets: find the mislabelled and near-out-of-distribution images, and show why.",
    epilog="Exit codes: 0 done, 2 the call is wrong, 3 could not finish. Results on stdout, progress on stderr.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


app.add_typer(models_app, name="models")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"curate {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Audit image training sets: find the mislabelled and near-out-of-distribution images, and show why."""


SCAN_EXAMPLES = """\b
Examples:
  curate scan parts/                       a folder, in any layout, to parts-audit/
  curate scan parts/ -o audit --force      replace an earlier audit
  curate scan images.csv                   a manifest: path, and label, split, group where there are
  curate scan mvtec/bottle --split all     MVTec AD, the test images too
  find parts -name '*.png' | curate scan - a list of files
  curate scan parts/ --backbone resnet18 --weights resnet18.safetensors --offline
"""


@app.command(epilog=SCAN_EXAMPLES)
def scan(
    dataset: Annotated[str, typer.Argument(help="Folder, manifest (csv, jsonl, parquet), or - for files on stdin.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the audit. Default: DATASET-audit here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the audit that is there.")] = False,
    layout: Annotated[
        str | None,
        typer.Option(help="flat, classes, mvtec, manifest, huggingface or file-list. Default: recognised."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split to judge. MVTec AD: train; others: all.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Imported or timm model. Default: the packaged curate_s.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of --backbone: .safetensors or a plain state dict.")
    ] = None,
    image_size: Annotated[
        str, typer.Option(help="Longest side in px that the network sees, or auto: from the native size.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    runtime: Annotated[
        str, typer.Option(help="torch, or openvino: faster on a CPU, the extra curate[openvino].")
    ] = "torch",
    precision: Annotated[
        str, typer.Option(help="fp32, or bf16: faster on CPUs with AMX or AVX512-BF16, and rounds.")
    ] = "fp32",
    batch_size: Annotated[int | None, typer.Option(help="Images a forward pass. Default: found.")] = None,
    neighbours: Annotated[int | None, typer.Option(help="How many other images must agree.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Larger images are reported, not decoded.")] = None,
    white_level: Annotated[
        float | None, typer.Option(help="White in files of more than 8 bits, e.g. 4095. Default: from the set.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every sample that is drawn; 0 is a seed.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder of the embedding cache.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Refuse every use of the network.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say on stderr what is done and why.")] = False,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Audit a dataset: find what does not belong, show why, write an audit folder."""
    _log(verbose)
    given: dict[str, Any] = {
        "layout": layout,
        "split": split,
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "device": device,
        "runtime": runtime,
        "precision": precision,
        "batch_size": batch_size,
        "neighbours": neighbours,
        "max_pixels": max_pixels,
        "white_level": white_level,
        "seed": seed,
        "cache": cache,
        "offline": offline,
    }
    from curate.audit import scan as run_scan
    from curate.reports.summary import summarise
    from curate.screen import Screen, show_summary

    screen = Screen(quiet=quiet)
    with _interruptible():
        audit = run_scan(
            dataset, output, force=force, screen=screen, **{k: v for k, v in given.items() if v is not None}
        )
    summary = summarise(audit)
    if format_ is Format.JSON:
        typer.echo(json.dumps(summary.as_json(), ensure_ascii=True))
    else:
        show_summary(summary)


@app.command()
def doctor(
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Say what this machine offers: versions, devices, cache, backbones, and whether the network is needed."""
    from curate.doctor import examine
    from curate.screen import show_facts

    facts = examine()
    if format_ is Format.JSON:
        typer.echo(json.dumps(facts, ensure_ascii=True))
    else:
        show_facts(facts)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn Ctrl-C into an error of ours, before typer makes an unexplained abort of it."""
    try:
        yield
    except KeyboardInterrupt as error:
        message = "interrupted; what was embedded is in the cache, so the same command goes on from there"
        raise Interrupted(message) from error


def _log(verbose: bool) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="curate: %(message)s", force=True)
    logging.getLogger("curate").setLevel(level)


def _say(message: str) -> None:
    from curate.screen import show_error

    show_error(message)


def main() -> Literal[0]:
    """Run the command line; every error of ours is one sentence on stderr and an exit code."""
    try:
        app()
    except CurateError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except MemoryError:
        _say("memory ran out; choose a smaller --image-size or --batch-size")
        sys.exit(3)
    return 0
