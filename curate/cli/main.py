"""The command line: parse, call, print, exit. No arithmetic here, and no torch until a command needs it."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from curate import __version__
from curate.choices import Device, FlowKind, Precision, Runtime, StudentKind, ThresholdMethod
from curate.cli.bench import BENCH_EXAMPLES, bench
from curate.cli.check import CHECK_EXAMPLES, check, diff, init, rule
from curate.cli.export import EXPORT_EXAMPLES, export
from curate.cli.models import Format, models_app
from curate.cli.report import report, review
from curate.cli.splits import EXPLAIN_EXAMPLES, PRUNE_EXAMPLES, explain, prune, restore
from curate.errors import CouldNotFinish, CurateError, Interrupted, UsageError
from curate.records import Layout
from curate.scorers import DEFAULT_SCORERS, SCORERS

INTERRUPTED = "interrupted; what was embedded is in the cache, and the same command goes on from there"
MEMORY = "memory ran out; choose a smaller --image-size or --batch-size"
READER_GONE = ""  # `curate ... | head -1`: nobody is left to tell

FIRST = "scan"
"""The command that a new user needs first."""

HELP_COLUMNS = 120
"""Width of the help at most; a narrower terminal decides."""

_DEFAULT_SCORERS = ", ".join(DEFAULT_SCORERS)

log = logging.getLogger("curate")


class _Commands(TyperGroup):
    """All commands; Ctrl-C and a closed pipe reach `main`, where typer would answer them itself."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List all commands with their whole descriptions, `scan` first."""
        names = sorted(self.list_commands(ctx), key=lambda name: name != FIRST)
        described = [(name, " ".join((self.commands[name].help or "").split())) for name in names]
        with formatter.section("Commands"):
            formatter.write_dl(described)

    def make_context(self, *args: Any, **more: Any) -> Any:
        with _for_main():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        with _for_main():
            return super().invoke(ctx)


@contextmanager
def _for_main() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(INTERRUPTED) from error
    except BrokenPipeError as error:
        raise CouldNotFinish(READER_GONE) from error


app = typer.Typer(
    name="curate",
    cls=_Commands,
    help="Audit image training sets: find the mislabelled and near-out-of-distribution images, and show why.",
    epilog="Exit codes: 0 done, 1 a rule fails (check), 2 the call is wrong, 3 could not finish. "
    "Results on stdout, progress on stderr.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": HELP_COLUMNS},
    rich_markup_mode=None,
)


app.add_typer(models_app, name="models")
app.command(epilog=CHECK_EXAMPLES)(check)
app.command()(diff)
app.command("rule")(rule)
app.command()(init)
app.command()(report)
app.command()(review)
app.command(epilog=BENCH_EXAMPLES)(bench)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"curate {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say on stderr what is done and why.")] = False,
) -> None:
    """Audit image training sets: find the mislabelled and near-out-of-distribution images, and show why."""
    _log(verbose)


SCAN_EXAMPLES = """\b
Examples:
  curate scan parts/                       a folder, in any layout, to parts-audit/
  curate scan parts/ -o audit --force      replace an earlier audit
  curate scan images.csv                   a manifest: path, and label, split, group where there are
  curate scan mvtec/bottle --split all     MVTec AD, the test images too
  find parts -name '*.png' | curate scan - a list of files
  curate scan parts/ --group-from '(SN[0-9]+)_'   shots of one serial number are one group
  curate scan parts/ --trusted golden/     judge by images that are known to be nominal
  curate scan parts/ --expected 1%-5%      what you know of the share of defects
  curate scan parts/ --backbone resnet18 --weights resnet18.safetensors --offline
"""


@app.command(epilog=SCAN_EXAMPLES)
def scan(
    context: typer.Context,
    dataset: Annotated[
        str | None, typer.Argument(help="Folder, manifest (csv, jsonl, parquet), or - for files on stdin.")
    ] = None,
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the audit. Default: DATASET-audit here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the audit that is there.")] = False,
    layout: Annotated[Layout | None, typer.Option(help="How the dataset lies on disk. Default: recognised.")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Manifest: the folder that its paths begin at. Default: the manifest's own.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split to judge. MVTec AD: train; others: all.")] = None,
    group_from: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="What it captures of an image's path is the image's group: its part, its lot."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="A timm model, its short name, or A+B. Default: curate_s+efficientnet-lite0."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of --backbone: .safetensors or a plain state dict.")
    ] = None,
    image_size: Annotated[
        str, typer.Option(help="Longest side in px that the network sees, or auto: from the native size.")
    ] = "auto",
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.AUTO,
    runtime: Annotated[
        Runtime, typer.Option(help="openvino is faster on some CPUs; the extra curate-vision[openvino].")
    ] = Runtime.TORCH,
    precision: Annotated[
        Precision, typer.Option(help="bf16 is faster where the processor has instructions for it, and rounds.")
    ] = Precision.FP32,
    batch_size: Annotated[int | None, typer.Option(help="Images a forward pass. Default: found.")] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(
            help="How many other images must show a patch too. Default: 10 where the images are aligned, else 5."
        ),
    ] = None,
    scorers: Annotated[
        str | None, typer.Option(help=f"Views that are joined, of {', '.join(SCORERS)}. Default: {_DEFAULT_SCORERS}.")
    ] = None,
    flow: Annotated[FlowKind | None, typer.Option(help="rad: meta-learned coupling blocks, as in RAD.")] = None,
    student: Annotated[StudentKind | None, typer.Option(help="stpm: as published, slow on a CPU.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Refinement rounds at most.")] = None,
    threshold: Annotated[
        ThresholdMethod | None,
        typer.Option(help="How the threshold is found. iqr: Q3 + 1.5 IQR, as published; median: from the median."),
    ] = None,
    fdr: Annotated[
        float | None,
        typer.Option(
            help="Flag by q-value, with this share of false alarms; it is model-based without --trusted images."
        ),
    ] = None,
    trusted: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT", help="Images known to be nominal: a split of the dataset, a folder, or a manifest."
        ),
    ] = None,
    expected: Annotated[
        str | None,
        typer.Option(metavar="LOW-HIGH", help="The share of anomalous images that you expect, such as 1%-5%."),
    ] = None,
    max_share: Annotated[float | None, typer.Option(help="Share of a class that is rejected at most.")] = None,
    min_keep: Annotated[int | None, typer.Option(help="Images that a class keeps at least.")] = None,
    subpopulations: Annotated[
        bool,
        typer.Option(
            "--subpopulations/--no-subpopulations",
            help="Judge subpopulations of a class by themselves, such as two products in one folder.",
        ),
    ] = True,
    same_part: Annotated[
        bool,
        typer.Option(
            "--same-part/--no-same-part", help="Find shots of the same part: they do not speak for each other."
        ),
    ] = False,
    optics: Annotated[
        bool, typer.Option("--optics/--no-optics", help="Flag images in different lighting or focus.")
    ] = True,
    planted: Annotated[
        bool,
        typer.Option("--planted/--no-planted", help="Plant defects in copies of images, to measure what is found."),
    ] = True,
    max_pixels: Annotated[int | None, typer.Option(help="Larger images are reported, not decoded.")] = None,
    white_level: Annotated[
        float | None, typer.Option(help="White in files of more than 8 bits, e.g. 4095. Default: from the set.")
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="Bands of a TIFF of many, from 1: one, or three as in 4,3,2. Default: the first.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every sample that is drawn; 0 is a seed.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder of the embedding cache.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Refuse every use of the network.")] = False,
    fence: Annotated[ThresholdMethod | None, typer.Option(hidden=True, help="Now --threshold.")] = None,
    kinds: Annotated[bool | None, typer.Option("--kinds/--no-kinds", hidden=True, help="Now --subpopulations.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say on stderr what is done and why.")] = False,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Print every setting and where it comes from, then exit.")
    ] = False,
) -> None:
    """Audit a dataset: find what does not belong, show why, write an audit folder."""
    if verbose:
        _log(verbose)
    from curate.cli.settings import layered

    settings = layered(_scan_options(context))
    if show_settings:
        typer.echo("\n".join(settings.lines()))
        return
    if dataset is None:
        raise UsageError("nothing to scan; name a dataset")
    from curate.cli.screen import Screen, show_summary
    from curate.pipeline import scan as run_scan
    from curate.reports.summary import summarise

    summary = summarise(run_scan(dataset, output, force=force, screen=Screen(quiet=quiet), **settings.given()))
    if format_ is Format.JSON:
        typer.echo(json.dumps(summary.as_json(), ensure_ascii=True))
    else:
        show_summary(summary)


def _say_renamed(old: str, new: str, *, negated: bool, quiet: bool) -> None:
    prefix = "--no-" if negated else "--"
    if not quiet:
        typer.echo(f"warning: {prefix}{old} is deprecated; write {prefix}{new}", err=True)


def _scan_options(context: typer.Context) -> dict[str, Any]:
    """Return the settings of a scan that were given as options; renamed ones are read, with a warning."""
    from curate.cli.settings import chosen
    from curate.config import RENAMED_SETTINGS, ScanConfig

    options = chosen(
        {name: value for name, value in context.params.items() if name in ScanConfig.model_fields}, context
    )
    for old, new in RENAMED_SETTINGS.items():
        value = context.params[old]
        if value is not None:
            _say_renamed(old, new, negated=value is False, quiet=context.params["quiet"])
            options.setdefault(new, value)
    return options


app.command(epilog=PRUNE_EXAMPLES)(prune)
app.command()(restore)
app.command(epilog=EXPLAIN_EXAMPLES)(explain)
app.command(epilog=EXPORT_EXAMPLES)(export)


@app.command()
def doctor(
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Say what this machine offers: versions, devices, cache, backbones, and whether the network is needed."""
    from curate.cli.doctor import examine
    from curate.cli.screen import show_facts

    facts = examine()
    if format_ is Format.JSON:
        typer.echo(json.dumps(facts, ensure_ascii=True))
    else:
        show_facts(facts)


class _Lines(logging.Handler):
    """Writes each record as one line to stderr, wherever that leads at the moment: a bar may be drawn there."""

    def emit(self, record: logging.LogRecord) -> None:
        from curate.images.names import printable

        sys.stderr.write(f"curate: {printable(record.getMessage())}\n")


def _log(verbose: bool) -> None:
    """Let `curate` say what it does; other libraries stay as they are."""
    log.handlers = [_Lines()]
    log.setLevel(logging.INFO if verbose else logging.WARNING)


def main() -> NoReturn:
    """Run the command line; every error is one sentence on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no name stops a result on a terminal that lacks its letters
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a full disk can still be answered
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the last place: nobody else will answer it
        code, sentence = _answer(error)
        if isinstance(error, OSError) or sentence == READER_GONE:
            _discard_stdout()
        if sentence:
            _say(sentence)
        sys.exit(code)
    sys.exit(0)


def _answer(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the sentence for what stopped a command."""
    match error:
        case CurateError():
            return error.exit_code, str(error)
        case KeyboardInterrupt():
            return Interrupted.exit_code, INTERRUPTED
        case BrokenPipeError():
            return CouldNotFinish.exit_code, READER_GONE
        case OSError():
            place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            return CouldNotFinish.exit_code, f"{place}{error.strerror or error}; check the path, permissions and room"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error) or "out of memory" in str(error):
        return CouldNotFinish.exit_code, MEMORY
    return CouldNotFinish.exit_code, _internal(error)


def _internal(error: BaseException) -> str:
    """Return the sentence for a fault of ours; with --verbose, show the traceback before it."""
    if log.isEnabledFor(logging.INFO):
        for line in "".join(traceback.format_exception(error)).splitlines():
            log.info("%s", line)
    first = (str(error).strip().splitlines() or [""])[0]
    return (
        f"internal error ({type(error).__name__}: {first}); run again with --verbose (curate --verbose ...) for the "
        "traceback, and report it"
    )


def _discard_stdout() -> None:
    """Lead stdout to nowhere: what could not be written would be tried again, and fail again, at exit."""
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _say(message: str) -> None:
    from curate.cli.screen import show_error

    with suppress(OSError):  # stderr may be full or closed as well
        show_error(message)
