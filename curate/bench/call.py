"""From the options of a `curate bench` call to a plan, and from its cells to the files of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.bench import plots, tables, throughput
from curate.bench.baselines.registry import BASELINES
from curate.bench.cells import CellStore
from curate.bench.detectors.registry import DETECTORS, check_installed
from curate.bench.draws import check_shares
from curate.bench.plan import Plan
from curate.bench.run import run
from curate.bench.sets import read_sets
from curate.bench.variants import ABLATIONS, check_names, scan_variants, scorer_variants
from curate.errors import CouldNotFinish, UsageError
from curate.offline import network
from curate.pipeline import configure
from curate.progress import Stages

ALL, NONE = "all", "none"


@dataclass(frozen=True, kw_only=True)
class Call:
    """The options of a call as typed; see `curate bench --help`. `settings` are those of a scan."""

    datasets: tuple[Path, ...]
    shares: str = "0,0.05,0.1,0.2,0.4,0.5"
    seeds: int = 3
    scorers: str = "default"
    ablate: str = ""
    baselines: str = ALL
    detectors: str = "neighbours"
    clean_by: str | None = None
    nominal: str | None = None
    images: int = 200
    test_share: float = 0.4
    redo: str = ""
    jobs: int = 1
    throughput: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def run_bench(call: Call, output: Path, *, screen: Stages) -> str:
    """Run a bench, write its tables and curves, and return the summary for the screen.

    Raises:
        UsageError: the call is wrong, or the folder holds another bench.
        CouldNotFinish: every cell failed, or a process died.
    """
    plan = make_plan(call)
    with network(refused=plan.config.offline):
        store = run(plan, output, screen=screen)
        if call.throughput:
            throughput.measure_into(store, plan, screen=screen)
    summary = write_results(store)
    _refuse_failure(plan, store)
    return summary


def _refuse_failure(plan: Plan, store: CellStore) -> None:
    """Refuse a bench of which no cell has figures.

    Raises:
        CouldNotFinish: with the reason of the first cell.
    """
    results = [(cell, store.read(cell)) for cell in plan.cells()]
    failed = [(cell, result.reason) for cell, result in results if result is not None and result.reason]
    if failed and len(failed) == len(results):
        cell, reason = failed[0]
        cells = "the only cell" if len(failed) == 1 else f"all {len(failed)} cells"
        raise CouldNotFinish(
            f"{cells} failed; {cell.method}: {reason}; all reasons are in {store.folder / tables.MARKDOWN}, "
            "and the same command tries again"
        )


def write_results(store: CellStore) -> str:
    """Write `figures.parquet`, `tables.md` and the curves of all cells of a folder; return the summary."""
    figures = tables.figures_table(store)
    tables.write_figures(figures, store.folder)
    tables.write_markdown(store, figures)
    drawn = plots.draw(figures, store.folder)
    return tables.summary(figures, store, [file.name for file in drawn])


def make_plan(call: Call) -> Plan:
    """Check a call and return its plan.

    Raises:
        UsageError: a share, scorer, ablation, baseline, detector or setting that does not exist or is out of range.
    """
    if not call.datasets:
        raise UsageError("no dataset: name the folder of a labelled set, with good/ and defect/<type>/ in it")
    methods = _checked_methods(call)
    clean_by = methods["scorers"] if call.clean_by is None else names(call.clean_by)
    check_names("--clean-by", clean_by, {**scan_variants(), **BASELINES})
    check_names("--redo", names(call.redo), {**scan_variants(), **BASELINES, **DETECTORS})
    plan = Plan(
        sources=read_sets(call.datasets, call.nominal),
        shares=numbers(call.shares),
        seeds=call.seeds,
        images=call.images,
        test_share=call.test_share,
        clean_by=clean_by if methods["detectors"] else (),
        config=configure(dict(call.settings)),
        redo=names(call.redo),
        jobs=call.jobs,
        **methods,
    )
    for source in plan.sources:
        check_shares(source, plan.shares, images=plan.images, test_share=plan.test_share)
    return plan


def _checked_methods(call: Call) -> dict[str, tuple[str, ...]]:
    """Return the names of scorers, ablations, baselines and detectors that a call asks for."""
    baselines = tuple(BASELINES) if call.baselines == ALL else names(call.baselines)
    methods = {
        "scorers": names(call.scorers),
        "ablations": names(call.ablate),
        "baselines": baselines,
        "detectors": names(call.detectors),
    }
    check_names("--scorers", methods["scorers"], scorer_variants())
    check_names("--ablate", methods["ablations"], ABLATIONS)
    check_names("--baselines", methods["baselines"], BASELINES)
    check_names("--detectors", methods["detectors"], DETECTORS)
    check_installed(methods["detectors"])
    if not any(methods.values()):
        raise UsageError("nothing to measure: --scorers, --ablate, --baselines and --detectors are all empty")
    return methods


def names(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list, each once; nothing for "none"."""
    parts = dict.fromkeys(part.strip() for part in text.split(","))
    return () if text.strip() == NONE else tuple(part for part in parts if part)


def numbers(text: str) -> tuple[float, ...]:
    """Return the shares of a comma-separated list, in order.

    Raises:
        UsageError: one is not a number, or the list is empty.
    """
    try:
        shares = sorted({float(part) for part in names(text)})
    except ValueError as error:
        raise UsageError(f"--shares {text!r}: numbers separated by commas are allowed, such as 0,0.1,0.4") from error
    if not shares:
        raise UsageError(f"--shares {text!r}: no share in it; numbers separated by commas are allowed")
    return tuple(shares)


def listed() -> str:
    """Return the names that a call may use, each with what it is."""
    options: Sequence[tuple[str, Mapping[str, Any]]] = (
        ("--scorers", scorer_variants()),
        ("--ablate", ABLATIONS),
        ("--baselines", BASELINES),
        ("--detectors", DETECTORS),
    )
    lines = []
    for option, entries in options:
        lines += [option, *(f"  {name:<16} {entry.about}" for name, entry in entries.items())]
    return "\n".join(lines)
