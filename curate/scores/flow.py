"""The scorer `flow`: the negative log-likelihood of each patch, at its position, under a model of other images.

The model is a Gaussian per patch position, in closed form (`position_gaussians`). With `FlowConfig.blocks` a coupling
flow is trained on top of it (`published.rad`), which gained nothing in our benchmarks, so it is off by default.
Images are dealt into folds, and each image is scored by a model that was fitted without it and its leakage group. An
image's score is the mean of the top share of its map.

Positions can be compared only where the images are aligned, or are a texture (`alignment`); otherwise `flow` abstains.

Sources: Defard et al. 2021 (PaDiM), §III; RAD (arXiv 2508.17789).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from operator import add

import numpy as np
import torch
from numpy.typing import NDArray

from curate.choices import FlowKind
from curate.embeddings.pyramid import projection
from curate.embeddings.threads import one_core_each
from curate.progress import Progress, no_progress
from curate.records import (
    MOST_POSITION_COST,
    Alignment,
    BoolArray,
    Embeddings,
    FloatArray,
    IntArray,
    Json,
    PatchesInMemory,
    PatchSource,
    Scores,
    WarmStart,
)
from curate.scores.alignment import known_alignment
from curate.scores.base import NO_GUIDE, Guide, ScorerContext
from curate.scores.cross_fit import CrossFit
from curate.scores.flow_config import ABLATIONS, RAD, FlowConfig, Granularity, Query, Stream
from curate.scores.folds import group_folds
from curate.scores.neighbours import empty_maps, top_mean
from curate.scores.position_gaussians import (
    SHRINKAGES,
    PatchSums,
    PositionGaussians,
    Shrinkage,
    choose_shrinkage,
    fit_gaussians,
    image_nll,
    sum_patches,
)
from curate.scores.positions import patch_blocks, reference_grid
from curate.scores.published.rad.coupling_flow import Params
from curate.scores.published.rad.model import MIN_IMAGES, RadFitter, RadModel, training_facts
from curate.scores.published.rad.patches import draw_pool
from curate.scores.published.rad.training import TrainedFlow
from curate.scores.similar import balanced
from curate.scores.training_progress import TrainingProgress

__all__ = ["ABLATIONS", "RAD", "Flow", "FlowConfig", "FlowModel", "Granularity", "Query"]

MAX_HELD_OUT = 32
"""Images whose likelihood chooses the shrinkage, at most."""

Facts = dict[str, Json]


@dataclass(frozen=True)
class FlowModel(WarmStart):
    """What the next round starts from: the folds, (N,), and the weights of each model's coupling flow, if any."""

    folds: IntArray
    params: tuple[Params | None, ...]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The scorer `flow`. It has no state but its settings."""

    config: FlowConfig = field(default_factory=FlowConfig)
    name: str = "flow"

    def score(
        self, embeddings: Embeddings, groups: IntArray, *, guide: Guide = NO_GUIDE, progress: Progress = no_progress
    ) -> Scores:
        """Score every image by the likelihood of its patches under models of other images; see `Scorer.score`.

        If all images are in one leakage group (one image, say), every score is 0. If a set is too small for a coupling
        flow, the Gaussians alone score it. `facts["note"]` says so.

        Raises:
            CouldNotFinish: a descriptor is not finite, or faiss is not installed.
        """
        by_patch = self.config.granularity is Granularity.PATCH
        samples = narrowed(embeddings, self.config) if by_patch else pooled_as_patches(embeddings)
        uses_position = self.config.position and by_patch
        alignment = known_alignment(guide, embeddings, groups) if uses_position else Alignment()
        run = _Run(samples, groups, self.config, guide=guide, progress=progress)
        facts, model = run.fit_and_score()
        values = np.array([top_mean(m, self.config.top_share) for m in run.maps], dtype=np.float32)
        maps = run.maps
        if not by_patch:
            maps = [np.full(grid, value, np.float32) for grid, value in zip(embeddings.grids, values, strict=True)]
        return Scores(
            scorer=self.name,
            values=values,
            maps=maps,
            neighbours=np.zeros((len(embeddings), 0), dtype=np.int64),
            facts={"settings": asdict(self.config)} | facts | (alignment.as_json() if uses_position else {}),
            abstains=why_abstains(alignment),
            model=model,
        )


def make_flow(context: ScorerContext) -> Flow:
    """Return the scorer of a scan's settings."""
    config = RAD if context.config.flow is FlowKind.RAD else FlowConfig()
    return Flow(config=replace(config, seed=context.config.seed))


@dataclass(frozen=True)
class _NarrowedPatches:
    """The patches of a source, each projected by a matrix, (D, width)."""

    source: PatchSource
    matrix: FloatArray

    def read(self, index: int) -> NDArray[np.float16]:
        return np.asarray(self.source.read(index).astype(np.float32) @ self.matrix, dtype=np.float16)


def narrowed(embeddings: Embeddings, config: FlowConfig) -> Embeddings:
    """Return embeddings whose patches are at most `FlowConfig.width` wide, by a seeded Gaussian projection.

    A Gaussian costs the cube of its width, and needs as many images as it has directions.
    """
    if embeddings.width <= config.width:
        return embeddings
    matrix = projection(embeddings.width, config.width, config.seed).numpy()
    return replace(embeddings, source=_NarrowedPatches(embeddings.source, matrix), width=config.width, parts=())


def pooled_as_patches(embeddings: Embeddings) -> Embeddings:
    """Return each image as one patch: its pooled vectors, stages balanced."""
    vectors = balanced(embeddings)
    return replace(
        embeddings,
        grids=np.ones((len(vectors), 2), dtype=np.int64),
        source=PatchesInMemory([vector[None].astype(np.float16) for vector in vectors]),
        width=vectors.shape[1],
        parts=embeddings.stages,
    )


def why_abstains(alignment: Alignment) -> str:
    """Return why positions cannot be compared in a set, "" where they can."""
    if alignment.aligned or alignment.texture:
        return ""
    return (
        "Position is used only if the images are aligned: searching at the same position alone must not raise a "
        f"patch's nearest distance by more than {100 * MOST_POSITION_COST:.0f} %; "
        f"here it raises it by {100 * alignment.position_cost:.0f} %"
    )


class _Run:
    """One run over a set of N images: folds, their models, and the maps that these fill."""

    def __init__(
        self, embeddings: Embeddings, groups: IntArray, config: FlowConfig, *, guide: Guide, progress: Progress
    ) -> None:
        self.embeddings, self.groups, self.config, self.guide = embeddings, groups, config, guide
        self.maps = empty_maps(embeddings)
        folds = group_folds(groups, config.folds, config.generator(Stream.FOLDS))
        everyone: BoolArray = np.ones(len(embeddings), dtype=np.bool_)
        self.split = CrossFit(folds, everyone, config.out_of_fold).learning_from(guide.learnable(len(embeddings)))
        self.grid = reference_grid(embeddings.grids)
        self.uses_position = config.position and self.grid.cells > 1
        steps = config.steps * self.split.model_count if config.blocks else 0
        self.progress = TrainingProgress(progress, len(embeddings), steps)

    def fit_and_score(self) -> tuple[Facts, FlowModel | None]:
        """Fill the maps; return what run.json records, and what the next round starts from."""
        if self.split.fold_count < 2:
            self.progress.judged(len(self.embeddings))
            return {"note": "all images are in one leakage group: no model can be fitted, every score is 0"}, None
        with one_core_each("flow") as threads:
            sums = self._sums(threads)
            shrinkage, losses = self._shrinkage(sums)
            gaussians = self._gaussians(sums, shrinkage)
            ranked = self._ranked(threads, gaussians)
            if self.config.trim:
                self._trim(ranked)
                gaussians = self._gaussians(self._sums(threads), shrinkage)
            facts: Facts = {
                "folds": self.split.fold_count if self.config.out_of_fold else 0,
                "reference_grid": [self.grid.rows, self.grid.columns],
                "position": asdict(shrinkage) | {"held_out_nats_per_dim": [round(loss, 4) for loss in losses]},
            }
            if not self.config.blocks:
                list(threads.map(self._fill, range(len(gaussians)), gaussians))
                return facts, None
            flow_facts, model = self._fit_flows_and_fill(threads, gaussians, meta_set=self._meta_set(ranked))
            return facts | flow_facts, model

    def _sums(self, threads: ThreadPoolExecutor) -> list[PatchSums]:
        """Sum the patches of the learnable images of each fold."""
        learnable = [
            np.flatnonzero((self.split.folds == k) & self.split.learnable) for k in range(self.split.fold_count)
        ]
        return list(threads.map(lambda images: sum_patches(self.embeddings, images, self.grid), learnable))

    def _shrinkage(self, sums: Sequence[PatchSums]) -> tuple[Shrinkage, list[float]]:
        """Choose one shrinkage for all models, by the likelihood of one fold under the others."""
        fold, held_out = self.split.held_out_fold(self.groups)
        return choose_shrinkage(
            self.embeddings,
            held_out[:: -(-len(held_out) // MAX_HELD_OUT)],
            reduce(add, [*sums[:fold], *sums[fold + 1 :]]),
            grid=self.grid,
            choices=SHRINKAGES if self.uses_position else SHRINKAGES[:1],
            ridge=self.config.ridge,
        )

    def _gaussians(self, sums: Sequence[PatchSums], shrinkage: Shrinkage) -> list[PositionGaussians]:
        """Fit the Gaussians of each model."""
        total = reduce(add, sums)
        learnt = [total - fold_sums for fold_sums in sums] if self.config.out_of_fold else [total]
        return [fit_gaussians(s, self.grid, shrinkage=shrinkage, ridge=self.config.ridge) for s in learnt]

    def _ranked(self, threads: ThreadPoolExecutor, gaussians: Sequence[PositionGaussians]) -> IntArray:
        """Return the learnable images; where their order matters, the most likely under the Gaussians first."""
        learnable = np.flatnonzero(self.split.learnable)
        own_meta_set = self.config.query is Query.META_SET and self.guide.meta_set is None
        if not (self.config.blocks and own_meta_set) and not self.config.trim:
            return learnable

        def score(image: int) -> float:
            nll = image_nll(self.embeddings, image, gaussians[self.split.model_of(image)])
            return top_mean(nll, self.config.top_share)

        scores = list(threads.map(score, learnable.tolist()))
        return np.asarray(learnable[np.argsort(scores, kind="stable")], dtype=np.int64)

    def _trim(self, ranked: IntArray) -> None:
        kept = ranked[: len(ranked) - int(self.config.trim * len(ranked))]
        self.split = self.split.learning_from(self.split.learnable & np.isin(np.arange(len(self.embeddings)), kept))

    def _meta_set(self, ranked: IntArray) -> IntArray:
        """Return the learnable images of the guide's meta-set; if there are none, the most nominal ones."""
        guided = self.guide.meta_set
        if guided is not None and self.split.learnable[guided].any():
            return guided[self.split.learnable[guided]]
        return np.sort(ranked[: max(1, round(self.config.meta_share * len(ranked)))])

    def _fit_flows_and_fill(
        self, threads: ThreadPoolExecutor, gaussians: Sequence[PositionGaussians], *, meta_set: IntArray
    ) -> tuple[Facts, FlowModel]:
        """Train a coupling flow on top of the Gaussians of each model, and fill the maps."""
        fitter = RadFitter(
            config=self.config,
            pool=draw_pool(self.embeddings, self.config.generator(Stream.PATCH_POOL)),
            meta_set=meta_set,
            conditioned=self.uses_position,
            progress=self.progress.trained,
        )

        def fit_and_fill(model: int) -> TrainedFlow | None:
            start = self._warm_start(model)
            rad = fitter.fit(model, self.split.learnt_by(model), gaussians[model], start=start)
            self._fill(model, gaussians[model] if rad is None else rad)
            return None if rad is None else rad.trained

        trained = list(threads.map(fit_and_fill, range(len(gaussians))))
        facts: Facts = {
            "meta_set": {"images": len(meta_set), "given": self.guide.meta_set is not None},
            "flows": [training_facts(flow) for flow in trained],
        }
        if not any(trained):
            facts["note"] = f"fewer than {MIN_IMAGES} images to learn from: scored by the Gaussians alone"
        return facts, FlowModel(self.split.folds, tuple(flow.params if flow else None for flow in trained))

    def _warm_start(self, model: int) -> Params | None:
        before = self.guide.model
        if isinstance(before, FlowModel) and np.array_equal(before.folds, self.split.folds):
            return before.params[model]
        return None

    def _fill(self, model: int, density: PositionGaussians | RadModel) -> None:
        """Fill the maps of the images that a model scores."""
        for block in patch_blocks(self.embeddings, self.split.scored_by(model)):
            nll: FloatArray = density.nll(torch.from_numpy(block.patches), block.positions).numpy()
            ends = np.cumsum(self.embeddings.patch_counts()[block.images])[:-1]
            for image, values in zip(block.images.tolist(), np.split(nll, ends), strict=True):
                self.maps[image][:] = values.reshape(self.maps[image].shape)
            self.progress.judged(len(block.images))
