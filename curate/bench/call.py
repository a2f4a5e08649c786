"""From the words of a `curate bench` call to a plan, and from its cells to the files of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curate.audit import Stages, configure
from curate.bench import plots, tables, throughput
from curate.bench.baselines import BASELINES
from curate.bench.cells import Store
from curate.bench.detectors import DETECTORS, check_installed
from curate.bench.draws import check_shares
from curate.bench.run import Plan, run
from curate.bench.search import SEARCH, check_search
from curate.bench.sets import read_sets
from curate.bench.variants import ABLATIONS, SCORERS, find
from curate.errors import CouldNotFinish, UsageError
from curate.offline import network

ALL, NONE = "all", "none"
NEEDED = ("sklearn", "matplotlib")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call as its words stand; see `curate bench --help`. `settings` are those of a scan."""

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
    search: int = 0
    redo: str = ""
    jobs: int = 1
    throughput: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def run_bench(call: Call, output: Path, *, screen: Stages) -> str:
    """Run a bench, write its tables and curves, and return the summary for the screen.

    Raises:
        UsageError: the call is wrong, or the folder holds another bench.
        CouldNotFinish: the extra `bench` is not installed, or a process died.
    """
    for module in NEEDED:
        if find_spec(module) is None:
            raise CouldNotFinish(f"curate bench needs {module}, which is not installed: pip install 'curate[bench]'")
    plan = make_plan(call)
    with network(refused=plan.config.offline):
        store = run(plan, output, screen=screen)
        if call.throughput:
            throughput.measure_into(store, plan.sources[0], plan.config, plan.scorers, screen=screen)
    return write_results(store)


def write_results(store: Store) -> str:
    """Write `figures.parquet`, `tables.md` and the curves of all cells of a folder; return the summary."""
    figures = tables.figures_table(store)
    tables.write_figures(figures, store.folder)
    tables.write_markdown(store, figures)
    drawn = plots.draw(figures, store.folder)
    return tables.summary(figures, store, [file.name for file in drawn])


def make_plan(call: Call) -> Plan:
    """Check a call and return its plan.

    Raises:
        UsageError: a share, scorer, ablation, baseline, detector, search or setting that cannot be.
    """
    if not call.datasets:
        raise UsageError("no set is given: name the folder of a labelled set, with good/ and defect/<type>/ in it")
    scorers, ablations = names(call.scorers), names(call.ablate)
    baselines = tuple(BASELINES) if call.baselines == ALL else names(call.baselines)
    detectors = names(call.detectors)
    clean_by = scorers if call.clean_by is None else names(call.clean_by)
    find("--scorers", scorers, SCORERS)
    find("--ablate", ablations, ABLATIONS)
    find("--baselines", baselines, BASELINES)
    find("--detectors", detectors, DETECTORS)
    methods = {**SCORERS, **ABLATIONS, **BASELINES}
    find("--clean-by", clean_by, methods)
    find("--redo", names(call.redo), {**methods, **DETECTORS, SEARCH: None})
    check_installed(detectors)
    check_search(call.search)
    if not (scorers + ablations + baselines + detectors or call.search):
        raise UsageError(
            "--scorers, --ablate, --baselines, --detectors and --search are all empty: there is nothing to measure"
        )
    plan = Plan(
        sources=read_sets(call.datasets, call.nominal),
        shares=numbers(call.shares),
        seeds=call.seeds,
        images=call.images,
        test_share=call.test_share,
        scorers=scorers,
        ablations=ablations,
        baselines=baselines,
        detectors=detectors,
        clean_by=clean_by if detectors else (),
        config=configure(dict(call.settings)),
        search=call.search,
        redo=names(call.redo),
        jobs=call.jobs,
    )
    for source in plan.sources:
        check_shares(source, plan.shares, images=plan.images, test_share=plan.test_share)
    return plan


def names(text: str) -> tuple[str, ...]:
    """Return the names of a list with commas, each once; nothing for "none"."""
    parts = dict.fromkeys(part.strip() for part in text.split(","))
    return () if text.strip() == NONE else tuple(part for part in parts if part)


def numbers(text: str) -> tuple[float, ...]:
    """Return the shares of a list with commas, in order.

    Raises:
        UsageError: one is no number, or there is none.
    """
    try:
        found = sorted({float(part) for part in names(text)})
    except ValueError as error:
        raise UsageError(f"--shares {text!r}: numbers with commas between them, such as 0,0.1,0.4") from error
    if not found:
        raise UsageError(f"--shares {text!r}: there is no share in it; give some, such as 0,0.1,0.4")
    return tuple(found)


def listed() -> str:
    """Return the names that a call may use, with what they are."""
    parts: Sequence[tuple[str, Mapping[str, str]]] = (
        ("--scorers", {name: found.about for name, found in SCORERS.items()}),
        ("--ablate", {name: found.about for name, found in ABLATIONS.items()}),
        ("--baselines", dict.fromkeys(BASELINES, "")),
        ("--detectors", dict.fromkeys(DETECTORS, "")),
    )
    lines = []
    for option, known in parts:
        lines += [option, *(f"  {name:<16} {about}".rstrip() for name, about in known.items())]
    return "\n".join(lines)
