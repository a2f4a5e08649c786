"""`curate check`, `diff`, `rule`, `init`: parse, call, print. No torch, unless a dataset must be scanned first."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.cli.models import Format
from curate.images.names import printable
from curate.offline import network
from curate.rules.choices import FailOn, ReportFormat

if TYPE_CHECKING:
    from curate.audit.parquet import Audit
    from curate.cli.settings import Settings
    from curate.rules.results import Report
    from curate.rules.rule import Pack

RULE_BROKEN = 1
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"

Rules = Annotated[str | None, typer.Option("--rules", help="default, strict, smoke, or a pack's .toml file.")]

CHECK_EXAMPLES = """\b
Examples:
  curate check parts/                                  scan, then check against the pack `default`
  curate check parts-audit --rules strict              check an existing audit
  curate check parts/ --rules smoke                    check the files only: no backbone, seconds
  curate check a.png b.png --rules smoke               check some files, as a pre-commit hook does
  curate check parts-audit --format sarif -o curate.sarif
  curate check parts-audit --baseline known.toml --update-baseline --owner ann --reason "old camera"
Exit codes: 0 all rules pass, 1 a rule fails, 2 the call is wrong, 3 could not finish.
"""


def check(
    context: typer.Context,
    datasets: Annotated[
        list[str] | None, typer.Argument(metavar="DATASET|AUDIT|FILE...", help="A dataset, an audit, or image files.")
    ] = None,
    *,
    rules: Rules = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", help="Only rules whose code begins with this: LBL, IMG101; may be repeated."),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Not these rules; may be repeated.")] = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option("--fail-on", help="Least severity of a failed rule that fails the check. Default: error."),
    ] = None,
    format_: Annotated[
        ReportFormat | None, typer.Option("--format", help="Format of the report. Default: text.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File for the report. Default: stdout.")] = None,
    baseline: Annotated[Path | None, typer.Option("--baseline", help="File of accepted violations.")] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Accept everything that fails now, in the file of --baseline.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why --update-baseline accepts it.")] = "not reviewed yet",
    owner: Annotated[str, typer.Option("--owner", help="Who is responsible for it.")] = "nobody",
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="Number of days until it expires.")] = 90,
    audit: Annotated[
        Path | None, typer.Option("--audit", help="Keep the audit of a dataset here; an existing one is replaced.")
    ] = None,
    layout: Annotated[str | None, typer.Option("--layout", help="As in `curate scan`.")] = None,
    root: Annotated[Path | None, typer.Option("--root", help="As in `curate scan`.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="As in `curate scan`.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Refuse every use of the network.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Print every setting and where it comes from, then exit.")
    ] = False,
) -> None:
    """Check a dataset or an audit against rules; the exit code says whether they pass."""
    from curate.cli.settings import chosen, layered
    from curate.errors import UsageError

    codes = {"select": _codes(select), "ignore": _codes(ignore)}
    options = {"rules": rules, "fail_on": fail_on, "format": format_, "baseline": baseline} | codes
    settings = layered(
        chosen({"layout": layout, "root": root, "split": split, "offline": offline}, context),
        {name: value for name, value in options.items() if value},
    )
    if show_settings:
        typer.echo("\n".join(settings.lines()))
        return
    if not datasets:
        raise UsageError("nothing to check; name a dataset, an audit or image files")
    if update_baseline and settings.check.baseline is None:
        raise UsageError("--update-baseline: no file to write; name it with --baseline FILE")
    with network(refused=settings.scan.offline):
        accept = (reason, owner, days) if update_baseline else None
        report = _checked(datasets, settings, audit=audit, quiet=quiet, accept=accept)
    _write(report, settings, output)
    if report.failed:
        raise typer.Exit(RULE_BROKEN)


def _codes(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the codes of an option that may be repeated, each value one code or several with commas."""
    return tuple(code.strip().upper() for value in values or () for code in value.split(",") if code.strip())


def _checked(
    datasets: Sequence[str], settings: Settings, *, audit: Path | None, quiet: bool, accept: tuple[str, str, int] | None
) -> Report:
    from curate.audit.folder import is_audit
    from curate.images.names import unicode_name
    from curate.rules.baseline import accepted_words, read_baseline, write_baseline
    from curate.rules.evaluate import accept_all, evaluate
    from curate.rules.packs import load_pack, select

    chosen = settings.check
    pack = load_pack(chosen.rules)
    rules = select(pack, chosen.select, chosen.ignore)
    baseline = None
    if chosen.baseline is not None:
        baseline = read_baseline(chosen.baseline, datetime.now(UTC).date(), may_lack=accept is not None)
    with _checked_audit(datasets, pack, settings, keep=audit, quiet=quiet) as checked:
        source = unicode_name(datasets[0]) if len(datasets) == 1 else f"{len(datasets)} files"
        if accept is not None and baseline is not None:
            report = evaluate(checked, pack, rules, source=source)
            reason, owner, days = accept
            entries = accept_all(report, checked, baseline, reason=reason, owner=owner, days=days)
            write_baseline(baseline.path, entries)
            _say(accepted_words(baseline.path, entries), quiet=quiet)
            baseline = read_baseline(baseline.path, baseline.today)
        report = evaluate(checked, pack, rules, source=source, baseline=baseline, fail_on=chosen.fail_on)
    kept = datasets[0] if len(datasets) == 1 and is_audit(Path(datasets[0])) else str(audit or "")
    return replace(report, audit=kept)


def _say(sentence: str, *, quiet: bool) -> None:
    if not quiet:
        typer.echo(printable(sentence), err=True)


@contextmanager
def _checked_audit(
    datasets: Sequence[str], pack: Pack, settings: Settings, *, keep: Path | None = None, quiet: bool
) -> Iterator[Audit]:
    """Give the audit to check: an existing one, or that of a scan or of an integrity check, as the pack needs.

    Args:
        datasets: one audit, one dataset, or several files.
        pack: its rules may need a scan.
        settings: of the scan.
        keep: the folder for the audit of a scan; None to remove it afterwards.
        quiet: show no progress.
    """
    from curate.audit.folder import is_audit
    from curate.audit.parquet import read_audit
    from curate.errors import UsageError

    if len(datasets) == 1 and is_audit(Path(datasets[0])):
        yield read_audit(datasets[0])
    elif not pack.judged:
        from curate.rules.integrity import integrity_audit

        yield integrity_audit(datasets, settings.scan)
    elif len(datasets) > 1:
        raise UsageError(
            f"{len(datasets)} files, but the pack {pack.name} needs a whole dataset; name one, or use --rules smoke"
        )
    else:
        from curate.cli.screen import Screen
        from curate.pipeline import scan

        with tempfile.TemporaryDirectory(prefix="curate-") as folder:
            target = keep if keep is not None else Path(folder) / "audit"
            yield scan(datasets[0], target, force=True, screen=Screen(quiet=quiet), **settings.given())


def _write(report: Report, settings: Settings, output: Path | None) -> None:
    from curate.atomic_files import replace_text
    from curate.errors import WriteError
    from curate.rules.formats.render import render
    from curate.rules.formats.text import last_line, step_summary

    format_ = settings.check.format
    text, place = render(report, format_), output
    try:
        if output is not None:
            replace_text(output, text)
            typer.echo(last_line(report), err=True)
        elif format_ is ReportFormat.TEXT:
            typer.echo(text, nl=False)
        else:
            typer.echo(text.encode(), nl=False)  # for machines: UTF-8, as the formats say, whatever the locale is
        if format_ is ReportFormat.GITHUB and os.environ.get(STEP_SUMMARY):
            place = Path(os.environ[STEP_SUMMARY])
            with place.open("a", encoding="utf-8") as file:
                file.write(step_summary(report))
    except OSError as error:
        if place is None:  # stdout: `cli.main` handles that
            raise
        raise WriteError(f"{place}: the report cannot be written ({error.strerror or error})") from error


def diff(
    old: Annotated[Path, typer.Argument(help="An audit.")],
    new: Annotated[Path, typer.Argument(help="A later audit of the set.")],
    *,
    rules: Rules = None,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Compare two audits: images added, removed, moved and changed; changed verdicts; facts of rules."""
    from curate.audit.parquet import read_audit
    from curate.cli.settings import layered
    from curate.rules.diff import compare, diff_text
    from curate.rules.packs import load_pack

    pack = load_pack(layered(check={"rules": rules} if rules else {}).check.rules)
    difference = compare(read_audit(old), read_audit(new), pack)
    typer.echo(difference.as_json() if format_ is Format.JSON else diff_text(difference), nl=False)


def rule(
    code: Annotated[
        str | None, typer.Argument(help="Of a rule (LBL101) or a finding (LBL001). Default: list all.")
    ] = None,
    rules: Rules = None,
    format_: Annotated[Format, typer.Option("--format", help="How the result is printed on stdout.")] = Format.TEXT,
) -> None:
    """Explain a rule or a finding, what it means and what to do; without CODE, list all of them."""
    from curate.cli.settings import layered
    from curate.rules.explain import explain_code, explanation_text, list_codes, list_text
    from curate.rules.packs import load_pack

    pack = load_pack(layered(check={"rules": rules} if rules else {}).check.rules)
    if code is None:
        codes = list_codes(pack)
        typer.echo(json.dumps(codes) + "\n" if format_ is Format.JSON else list_text(codes, pack), nl=False)
        return
    explanation = explain_code(code.upper(), pack)
    text = json.dumps(explanation) + "\n" if format_ is Format.JSON else explanation_text(explanation)
    typer.echo(text, nl=False)


def init(
    trusted: Annotated[str, typer.Argument(metavar="DATASET|AUDIT", help="A set that you trust.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the files. Default: here.")] = Path(),
    rules: Annotated[str, typer.Option("--rules", help="The pack to start from.")] = "default",
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only on stderr.")] = False,
) -> None:
    """Propose a curate.toml and a rule pack that a trusted set passes."""
    from curate.cli.settings import layered
    from curate.rules.packs import load_pack
    from curate.rules.propose import propose, write_proposal

    pack = load_pack(rules)
    with _checked_audit([trusted], pack, layered(), quiet=quiet) as audit:
        files = propose(audit, pack, trusted)
    for path in write_proposal(files, output, force=force):
        typer.echo(str(path))
    typer.echo(f"Review these files, then run: curate check {shlex.quote(trusted)}", err=True)
