"""A bench from its call to its cells: plan, skip what is done, compute draw by draw, gather.

Cells of one draw share its embeddings; draws are spread over processes with `jobs`.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from curate import __version__
from curate.audit import Silent, Stages
from curate.bench import measures
from curate.bench.baselines import run_baseline
from curate.bench.cells import Cell, Result, Store
from curate.bench.detectors import Task, against_masks, run_detector
from curate.bench.draws import draw, pools
from curate.bench.gaps import Gaps
from curate.bench.plots import RELIABILITY
from curate.bench.road import HYBRID, DrawnSet, Embedded, Judged, Road, judge_draw
from curate.bench.search import SEARCH, run_search, start_of
from curate.bench.sets import LabelledSet
from curate.bench.variants import ABLATIONS, SCORERS, variant
from curate.config import ScanConfig
from curate.embeddings import pyramid
from curate.embeddings.engines.cache import VECTORS_VERSION
from curate.errors import CouldNotFinish, CurateError
from curate.records import IntArray, Verdict

log = logging.getLogger(__name__)

FINDS, CLEANS, SEARCHES = "finds", "cleans", "searches"
RAW, CLEAN, BY = "raw", "clean", "by-"
NOT_MEASURED = frozenset(("cache", "offline", "device", "batch_size", "weights"))
"""Settings of a scan that change no figure, or that the whole folder shares."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a bench measures.

    Attributes:
        sources: the labelled sets.
        shares: of noise, 0-0.5.
        seeds: how many draws of each share.
        images: wanted in a training set.
        test_share: of each kind, kept for the test, 0-1.
        scorers, ablations, baselines, detectors: names.
        clean_by: methods whose verdicts clean the training sets of the detectors.
        config: the settings of a scan.
        search: trials of a search over the flow's settings; 0 for none.
        redo: methods whose cells are computed again.
        jobs: processes.
    """

    sources: tuple[LabelledSet, ...]
    shares: tuple[float, ...]
    seeds: int
    images: int
    test_share: float
    scorers: tuple[str, ...]
    ablations: tuple[str, ...]
    baselines: tuple[str, ...]
    detectors: tuple[str, ...]
    clean_by: tuple[str, ...]
    config: ScanConfig
    search: int = 0
    redo: tuple[str, ...] = ()
    jobs: int = 1

    def of_draw(self, source: LabelledSet, share: float, seed: int) -> list[Cell]:
        """Return the cells of one draw; those that others build on come first.

        A search looks at the draw of seed 0 alone: each trial costs a flow a fold, and settings are chosen on one set
        of images, as a user has one; a mean over draws would be of settings that nobody chose.
        """

        def cell(question: str, method: str, trained: str = "") -> Cell:
            return Cell(dataset=source.name, share=share, seed=seed, question=question, method=method, trained=trained)

        finders = dict.fromkeys((*self.scorers, *self.ablations, *self.baselines, *self.clean_by))
        trainings = (RAW, CLEAN, *(f"{BY}{name}" for name in self.clean_by))
        detectors = () if source.by_class else self.detectors
        searches = (SEARCH,) if self.search and seed == 0 else ()
        return [
            *(cell(FINDS, name) for name in finders),
            *(cell(CLEANS, name, trained) for name in detectors for trained in trainings),
            *(cell(SEARCHES, name) for name in searches),
        ]


@dataclass(frozen=True, kw_only=True)
class Work:
    """The cells of one draw that are to be computed."""

    source: LabelledSet
    share: float
    seed: int
    cells: tuple[Cell, ...]


def shared_settings(plan: Plan) -> dict[str, Any]:
    """Return what all cells of a folder must have in common."""
    config = plan.config
    return {
        "backbone": config.backbone,
        "weights": file_hash(config.weights) if config.weights else "",
        "image_size": config.image_size or "auto",
        "descriptor": " ".join(map(str, (VECTORS_VERSION, *pyramid.RECIPE))),
        "seed": config.seed,
        "images": plan.images,
        "test_share": plan.test_share,
        "sets": {source.name: set_hash(source) for source in plan.sources},
    }


def file_hash(file: Path) -> str:
    """Return the sha256 of a file's bytes, hex."""
    return sha256(file.read_bytes()).hexdigest()


def set_hash(source: LabelledSet) -> str:
    """Return the sha256 of a set's paths, truths and bytes, hex."""
    digest = sha256()
    for row in range(len(source)):
        digest.update(repr((source.relative(row), source.nominal[row], file_hash(source.files[row]))).encode())
    return digest.hexdigest()


def run(plan: Plan, folder: Path, *, screen: Stages | None = None) -> Store:
    """Compute the cells of a plan that a folder lacks.

    Raises:
        UsageError: the folder holds another bench.
        CouldNotFinish: a process died.
    """
    screen = screen or Silent()
    store = Store(folder, shared_settings(plan))
    work, done = to_do(plan, store)
    total = sum(len(part.cells) for part in work)
    screen.say(f"{total} cells to compute, {done} are there")
    with screen.stage("cells", total) as progress:
        if plan.jobs > 1 and len(work) > 1:
            for count in _in_processes(plan, folder, work):
                progress(count)
        else:
            bench = _Bench(plan, store)
            for part in work:
                for _ in bench.compute(part):
                    progress(1)
    return store


def to_do(plan: Plan, store: Store) -> tuple[list[Work], int]:
    """Return what is to be computed, set by set, and how many cells are there already."""
    work, done = list[Work](), 0
    for source in plan.sources:
        for share in plan.shares:
            for seed in range(plan.seeds):
                cells = plan.of_draw(source, share, seed)
                missing = _missing(cells, plan, store)
                done += len(cells) - len(missing)
                if missing:
                    work.append(Work(source=source, share=share, seed=seed, cells=missing))
    return work, done


def _missing(cells: Sequence[Cell], plan: Plan, store: Store) -> tuple[Cell, ...]:
    """Return the cells of a draw that are not there; what is cleaned by a new verdict is new too."""
    missing = [c for c in cells if _again(c, plan.redo) or not store.done(c, scan_of(c, plan))]
    anew = {f"{BY}{c.method}" for c in missing if c.question == FINDS}
    return tuple(c for c in cells if c in missing or c.trained in anew)


def scan_of(cell: Cell, plan: Plan) -> str:
    """Return version and settings of a scorer's, ablation's or search's run: a cell of others is not taken for it."""
    made_by = {"curate": __version__}
    if cell.question == SEARCHES:
        return json.dumps(made_by | {"trials": plan.search, **asdict(start_of(plan.config))}, sort_keys=True)
    if cell.question != FINDS or not (cell.method in SCORERS or cell.method in ABLATIONS):
        return ""
    settings = plan.config.model_copy(update=dict(variant(cell.method).settings)).model_dump(mode="json")
    return json.dumps(made_by | {k: v for k, v in settings.items() if k not in NOT_MEASURED}, sort_keys=True)


def _again(cell: Cell, redo: Sequence[str]) -> bool:
    return cell.method in redo or cell.trained.removeprefix(BY) in redo


def _in_processes(plan: Plan, folder: Path, work: Sequence[Work]) -> Iterator[int]:
    """Compute draws in several processes, and yield how many cells each brought."""
    context = multiprocessing.get_context("spawn")  # faiss hangs in a forked child once OpenMP was used
    with ProcessPoolExecutor(plan.jobs, mp_context=context, initializer=_start, initargs=(plan, folder)) as pool:
        try:
            for future in as_completed([pool.submit(_one, part) for part in work]):
                yield future.result()
        except BrokenProcessPool as error:
            raise CouldNotFinish(
                "a process of the bench was killed, for want of memory perhaps: run again with fewer --jobs; "
                "finished cells are kept"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_here: list[_Bench] = []


def _start(plan: Plan, folder: Path) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // plan.jobs))
    _here.append(_Bench(plan, Store(folder, {})))


def _one(part: Work) -> int:
    return sum(1 for _ in _here[0].compute(part))


@dataclass
class _Bench:
    """Computes cells; keeps the road and the distances of the set that it is at."""

    plan: Plan
    store: Store
    _road: Road | None = None
    _gaps: dict[int, Gaps] = field(default_factory=dict)

    def compute(self, work: Work) -> Iterator[Cell]:
        """Compute the cells of one draw, keep each, and yield it."""
        if self._road is None or self._road.source is not work.source:
            self._road, self._gaps = Road(source=work.source, config=self.plan.config), {}
        chosen = draw(work.source, work.share, work.seed, images=self.plan.images, test_share=self.plan.test_share)
        drawn = self._road.drawn(chosen)
        counts = {"images": len(chosen.rows), "defective": int(chosen.wrong.sum()), "realised": chosen.realised}
        for cell in work.cells:
            start = time.perf_counter()
            try:
                result = self._measure(cell, drawn)
            except Exception as error:  # a method that fails is a cell with its reason
                log.info("%s failed", cell.place, exc_info=error)
                result = Result(reason=sentence(error))
            seconds = {"wall_s": round(time.perf_counter() - start, 3)}
            figures = result.figures if result.reason else result.figures | {"": result.figures.get("", {}) | seconds}
            scan = scan_of(cell, self.plan)
            self.store.write(cell, replace(result, figures=figures, counts=counts, made=made(), scan=scan))
            yield cell

    def _measure(self, cell: Cell, drawn: DrawnSet) -> Result:
        if cell.question == CLEANS:
            return Result(figures={"": self._detect(cell, drawn)})
        if cell.question == SEARCHES:
            return Result(figures=run_search(drawn, start_of(self.plan.config), self.plan.search))
        if cell.method in SCORERS or cell.method in ABLATIONS:
            judged = judge_draw(drawn, self.plan.config, variant(cell.method))
            return Result(figures=scorer_figures(drawn, judged, self._source), flagged=_flagged(judged))
        found = run_baseline(cell.method, drawn, self._gaps_of(drawn.whole))
        wrong = drawn.draw.wrong[drawn.readable]
        figures = measures.ranking(wrong, found.scores) | measures.verdicts(wrong, found.flagged)
        return Result(figures={"": figures}, flagged=drawn.readable[found.flagged].tolist())

    @property
    def _source(self) -> LabelledSet:
        if self._road is None:
            raise ValueError("no set is open")
        return self._road.source

    def _gaps_of(self, whole: Embedded) -> Gaps:
        return self._gaps.setdefault(id(whole), Gaps(whole.embeddings))

    def _detect(self, cell: Cell, drawn: DrawnSet) -> measures.Figures:
        held = pools(self._source, self.plan.test_share)
        test = np.array(held.test_good + held.test_bad, dtype=np.int64)
        task = Task(
            source=self._source,
            whole=drawn.whole,
            gaps=self._gaps_of(drawn.whole),
            training=drawn.draw.rows[self._kept(cell, drawn)],
            test=test[drawn.whole.places[test] >= 0],
            seed=drawn.draw.seed,
            device=self.plan.config.device,
            backbone=self.plan.config.backbone,
            weights=self.plan.config.weights,
        )
        return run_detector(cell.method, task)

    def _kept(self, cell: Cell, drawn: DrawnSet) -> IntArray:
        """Return the rows of the draw that a detector is trained on."""
        rows = drawn.readable
        if cell.trained == RAW:
            return rows
        if cell.trained == CLEAN:
            return rows[~drawn.draw.wrong[rows]]
        finder = Cell(
            dataset=cell.dataset,
            share=cell.share,
            seed=cell.seed,
            question=FINDS,
            method=cell.trained.removeprefix(BY),
        )
        known = self.store.read(finder)
        if known is None or known.reason:
            why = known.reason if known else "it was not measured"
            raise CouldNotFinish(f"{finder.method}, which was to clean, gave no verdicts: {why}")
        return rows[~np.isin(rows, known.flagged)]


def scorer_figures(drawn: DrawnSet, judged: Judged, source: LabelledSet) -> dict[str, dict[str, float]]:
    """Return the figures of `curate`'s own judgement of a draw, by score column; "" has those of the verdicts."""
    table, wrong = judged.images, drawn.draw.wrong
    flagged = np.array([verdict != Verdict.KEEP.value for verdict in table["verdict"].to_pylist()])
    figures: dict[str, dict[str, float]] = {
        "": measures.verdicts(wrong, flagged)
        | {
            "contamination": judged.contamination,
            "contamination_error": judged.contamination - drawn.draw.realised,
        }
        | judged.seconds
    }
    for column, maps in judged.maps.items():
        scores = table[column].to_numpy(zero_copy_only=False).astype(np.float64)
        given = np.isfinite(scores)
        if given.any():
            rows = drawn.draw.rows[drawn.readable]
            figures[column] = measures.ranking(wrong[given], scores[given]) | against_masks(source, rows, maps)
    figures[""] |= figures.get(HYBRID, {})
    figures[""] |= _calibration(table, wrong) | _labels(table, drawn, source)
    if told := measures.reliability(*_known(table, "confidence", wrong)):
        figures[RELIABILITY] = told
    return figures


def _calibration(table: Any, wrong: Any) -> measures.Figures:
    """Return what `confidence` and `q_value` are worth, where a version gives them."""
    found: measures.Figures = {}
    noise, confidence = _known(table, "confidence", wrong)
    if len(confidence):
        found["calibration_error"] = measures.calibration_error(noise, confidence)
    noise, q_values = _known(table, "q_value", wrong)
    if len(q_values):
        found |= measures.discovery(noise, q_values)
    return found


def _known(table: Any, column: str, wrong: Any) -> tuple[Any, Any]:
    """Return, of the images that have a value in a column, which are noise, and the values."""
    values = table[column].to_numpy(zero_copy_only=False).astype(np.float64)
    given = np.isfinite(values)
    return wrong[given], values[given]


def _labels(table: Any, drawn: DrawnSet, source: LabelledSet) -> measures.Figures:
    """Return which share of the wrong labels was corrected, where noise is a wrong label."""
    if not source.by_class or not drawn.draw.wrong.any():
        return {}
    suggested = table["suggested_label"].to_pylist()
    right = [suggested[i] == source.labels[row] for i, row in enumerate(drawn.draw.rows) if drawn.draw.wrong[i]]
    return {"label_recall": float(np.mean(right))}


def _flagged(judged: Judged) -> list[int]:
    verdicts = judged.images["verdict"].to_pylist()
    return [row for row, verdict in enumerate(verdicts) if verdict != Verdict.KEEP.value]


def sentence(error: Exception) -> str:
    """Return why something failed, in one line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return first if isinstance(error, CurateError) else f"{type(error).__name__}: {first}"


def made() -> dict[str, str]:
    """Return when and by what a cell is made."""
    import torch

    return {
        "date": time.strftime("%Y-%m-%d"),
        "curate": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
