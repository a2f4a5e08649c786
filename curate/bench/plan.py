"""The plan of a bench: which cells it measures, and which of them a folder lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from curate import __version__
from curate.bench.cells import Cell, CellStore, Question
from curate.bench.sets import LabelledSet
from curate.bench.variants import scan_variants
from curate.config import ScanConfig
from curate.embeddings import pyramid
from curate.embeddings.engines.cache import VECTORS_VERSION

RAW, CLEAN, BY = "raw", "clean", "by-"
"""What a detector is trained on: the draw as it is, without its noise, or without what a method flags."""

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
        test_share: of each kind of image, kept for the test, 0-1.
        scorers, ablations, baselines, detectors: names.
        clean_by: methods whose verdicts clean the training sets of the detectors.
        config: the settings of a scan.
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
    redo: tuple[str, ...] = ()
    jobs: int = 1

    def cells(self) -> Iterator[Cell]:
        """Yield the cells of all draws."""
        for source, share, seed in _draws(self):
            yield from self.cells_of_draw(source, share, seed)

    def cells_of_draw(self, source: LabelledSet, share: float, seed: int) -> list[Cell]:
        """Return the cells of one draw; a cell stands after those that it needs."""

        def cell(question: Question, method: str, trained: str = "") -> Cell:
            return Cell(dataset=source.name, share=share, seed=seed, question=question, method=method, trained=trained)

        finders = dict.fromkeys((*self.scorers, *self.ablations, *self.baselines, *self.clean_by))
        trainings = (RAW, CLEAN, *(f"{BY}{name}" for name in self.clean_by))
        detectors = () if source.by_class else self.detectors
        return [
            *(cell(Question.FINDS, name) for name in finders),
            *(cell(Question.CLEANS, name, trained) for name in detectors for trained in trainings),
        ]


@dataclass(frozen=True, kw_only=True)
class DrawCells:
    """The cells of one draw that are to be computed."""

    source: LabelledSet
    share: float
    seed: int
    cells: tuple[Cell, ...]


def cells_to_compute(plan: Plan, store: CellStore) -> tuple[list[DrawCells], int]:
    """Return the cells that a folder lacks, draw by draw, and how many it has."""
    missing_by_draw, done = list[DrawCells](), 0
    for source, share, seed in _draws(plan):
        cells = plan.cells_of_draw(source, share, seed)
        missing = _missing(cells, plan, store)
        done += len(cells) - len(missing)
        if missing:
            missing_by_draw.append(DrawCells(source=source, share=share, seed=seed, cells=missing))
    return missing_by_draw, done


def _draws(plan: Plan) -> Iterator[tuple[LabelledSet, float, int]]:
    for source in plan.sources:
        for share in plan.shares:
            for seed in range(plan.seeds):
                yield source, share, seed


def _missing(cells: Sequence[Cell], plan: Plan, store: CellStore) -> tuple[Cell, ...]:
    """Return the cells of a draw without a result; a training set cleaned by new verdicts counts as new."""
    missing = [c for c in cells if _redone(c, plan.redo) or not store.done(c, scan_settings(c, plan))]
    cleaned_anew = {f"{BY}{c.method}" for c in missing if c.question == Question.FINDS}
    return tuple(c for c in cells if c in missing or c.trained in cleaned_anew)


def _redone(cell: Cell, redo: Sequence[str]) -> bool:
    return cell.method in redo or cell.trained.removeprefix(BY) in redo


def scan_settings(cell: Cell, plan: Plan) -> str:
    """Return version and settings of the scan that a cell measures; "" for another method.

    A cell that was measured with others is computed again.
    """
    variant = scan_variants().get(cell.method)
    if cell.question != Question.FINDS or variant is None:
        return ""
    settings = plan.config.model_copy(update=dict(variant.settings)).model_dump(mode="json")
    measured = {name: value for name, value in settings.items() if name not in NOT_MEASURED}
    return json.dumps({"curate": __version__} | measured, sort_keys=True)


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
        "same_part": config.same_part,
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
