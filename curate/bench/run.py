"""Run a plan: compute the cells that a folder lacks, draw by draw.

Cells of one draw share its embeddings; draws are spread over processes with `jobs`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from curate.bench import measures
from curate.bench.baselines.registry import run_baseline
from curate.bench.cells import Cell, CellResult, CellStore, Question, provenance
from curate.bench.detectors.base import DetectorTask
from curate.bench.detectors.registry import run_detector
from curate.bench.draws import check_shares, draw, pools
from curate.bench.embedder import DrawnSet, EmbeddedSet, LabelledSetEmbedder
from curate.bench.groups import with_groups
from curate.bench.judge_draw import judge_draw
from curate.bench.patch_distances import PatchDistances
from curate.bench.plan import BY, CLEAN, RAW, DrawCells, Plan, cells_to_compute, scan_settings, shared_settings
from curate.bench.scan_figures import flagged, scan_figures
from curate.bench.sets import LabelledSet
from curate.bench.variants import scan_variants
from curate.errors import CouldNotFinish, CurateError
from curate.progress import Silent, Stages
from curate.records import IntArray

log = logging.getLogger(__name__)


def run(plan: Plan, folder: Path, *, screen: Stages | None = None) -> CellStore:
    """Compute the cells of a plan that a folder lacks.

    Raises:
        UsageError: the folder holds another bench, or a share is not possible with whole leakage groups.
        CouldNotFinish: a process died.
    """
    screen = screen or Silent()
    store = CellStore(folder, shared_settings(plan))
    draws, done = cells_to_compute(plan, store)
    draws = _in_groups(draws, plan, store, screen=screen)
    total = sum(len(part.cells) for part in draws)
    screen.say(f"{total} cells to compute, {done} are done")
    with screen.stage("cells", total) as progress:
        if plan.jobs > 1 and len(draws) > 1:
            for count in _in_processes(plan, folder, draws):
                progress(count)
        else:
            bench = _Bench(plan, store)
            for part in draws:
                for _ in bench.compute(part):
                    progress(1)
    return store


def _in_groups(draws: Sequence[DrawCells], plan: Plan, store: CellStore, *, screen: Stages) -> list[DrawCells]:
    """Return the draws with the leakage groups of their sets.

    Raises:
        UsageError: a share is not possible with whole groups, or the folder was drawn by others.
    """
    grouped: dict[str, LabelledSet] = {}
    for source in {part.source.name: part.source for part in draws}.values():
        found = grouped[source.name] = with_groups(source, plan.config, store, screen=screen)
        check_shares(found, plan.shares, images=plan.images, test_share=plan.test_share, seeds=plan.seeds)
    return [replace(part, source=grouped[part.source.name]) for part in draws]


def _in_processes(plan: Plan, folder: Path, draws: Sequence[DrawCells]) -> Iterator[int]:
    """Compute draws in several processes, and yield the number of cells of each."""
    context = multiprocessing.get_context("spawn")  # faiss hangs in a forked child once OpenMP was used
    with ProcessPoolExecutor(plan.jobs, mp_context=context, initializer=_start, initargs=(plan, folder)) as pool:
        try:
            for future in as_completed([pool.submit(_compute_one, part) for part in draws]):
                yield future.result()
        except BrokenProcessPool as error:
            raise CouldNotFinish(
                "a process of the bench was killed, possibly because memory ran out: run again with fewer --jobs; "
                "finished cells are kept"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_bench_of_process: list[_Bench] = []


def _start(plan: Plan, folder: Path) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // plan.jobs))
    _bench_of_process.append(_Bench(plan, CellStore(folder, {})))


def _compute_one(part: DrawCells) -> int:
    return sum(1 for _ in _bench_of_process[0].compute(part))


@dataclass
class _Bench:
    """Computes cells; keeps the embeddings and the distances of the set that it works on."""

    plan: Plan
    store: CellStore
    _embedder: LabelledSetEmbedder | None = None
    _distances: dict[int, PatchDistances] = field(default_factory=dict)

    def compute(self, part: DrawCells) -> Iterator[Cell]:
        """Compute the cells of one draw, keep each, and yield it."""
        chosen = draw(part.source, part.share, part.seed, images=self.plan.images, test_share=self.plan.test_share)
        drawn = self._embedder_of(part.source).embed_draw(chosen)
        counts = {
            "images": len(chosen.rows),
            "parts": len(part.source.parts(chosen.rows.tolist())),
            "defective": int(chosen.wrong.sum()),
            "realised": chosen.realised,
        }
        for cell in part.cells:
            start = time.perf_counter()
            try:
                result = self._measure(cell, drawn, part.source)
            except Exception as error:  # a method that fails is a cell with its reason
                log.info("%s failed", cell.path, exc_info=error)
                result = CellResult(reason=sentence(error))
            seconds = {"wall_s": round(time.perf_counter() - start, 3)}
            figures = result.figures if result.reason else result.figures | {"": result.figures.get("", {}) | seconds}
            scan = scan_settings(cell, self.plan)
            self.store.write(cell, replace(result, figures=figures, counts=counts, made=provenance(), scan=scan))
            yield cell

    def _embedder_of(self, source: LabelledSet) -> LabelledSetEmbedder:
        if self._embedder is None or self._embedder.source is not source:
            self._embedder, self._distances = LabelledSetEmbedder(source=source, config=self.plan.config), {}
        return self._embedder

    def _distances_of(self, whole: EmbeddedSet) -> PatchDistances:
        return self._distances.setdefault(id(whole), PatchDistances(whole.embeddings))

    def _measure(self, cell: Cell, drawn: DrawnSet, source: LabelledSet) -> CellResult:
        if cell.question == Question.CLEANS:
            return CellResult(figures={"": self._detect(cell, drawn, source)})
        variant = scan_variants().get(cell.method)
        if variant is not None:
            judged = judge_draw(drawn, self.plan.config, variant)
            rows = np.flatnonzero(flagged(judged.images)).tolist()
            return CellResult(figures=scan_figures(drawn, judged, source), flagged=rows)
        output = run_baseline(cell.method, drawn, self._distances_of(drawn.whole))
        wrong = drawn.draw.wrong[drawn.readable]
        figures = measures.ranking(wrong, output.scores) | measures.verdicts(wrong, output.flagged)
        return CellResult(figures={"": figures}, flagged=drawn.readable[output.flagged].tolist())

    def _detect(self, cell: Cell, drawn: DrawnSet, source: LabelledSet) -> measures.Figures:
        test_rows = pools(source, self.plan.test_share)
        test = np.array(test_rows.test_good + test_rows.test_bad, dtype=np.int64)
        task = DetectorTask(
            source=source,
            whole=drawn.whole,
            distances=self._distances_of(drawn.whole),
            training=drawn.draw.rows[self._training_rows(cell, drawn)],
            test=test[drawn.whole.embedding_rows[test] >= 0],
            seed=drawn.draw.seed,
            device=self.plan.config.device,
            backbone=self.plan.config.backbone,
            weights=self.plan.config.weights,
        )
        return run_detector(cell.method, task)

    def _training_rows(self, cell: Cell, drawn: DrawnSet) -> IntArray:
        """Return the rows of the draw that a detector is trained on."""
        rows = drawn.readable
        if cell.trained == RAW:
            return rows
        if cell.trained == CLEAN:
            return rows[~drawn.draw.wrong[rows]]
        finder = replace(cell, question=Question.FINDS, method=cell.trained.removeprefix(BY), trained="")
        result = self.store.read(finder)
        if result is None or result.reason:
            why = result.reason if result else "it was not measured"
            raise CouldNotFinish(f"no verdicts of {finder.method} to clean by: {why}")
        return rows[~np.isin(rows, result.flagged)]


def sentence(error: Exception) -> str:
    """Return why something failed, in one line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return first if isinstance(error, CurateError) else f"{type(error).__name__}: {first}"
