"""The scorer `flow`: how unlikely is each patch, at its place, under a normalizing flow of the other images?

RAD (arXiv 2508.17789): a flow trained by MAML, with an L2 penalty guided by uncertainty. The set is dealt into folds,
and each image is scored by a flow that was fitted without it and its kin. A flow is a Gaussian a place, in closed form
(`whitening`), and coupling blocks on top (`coupling`), trained by tasks: the inner loop steps on a batch of the
contaminated set, the outer loop is judged on the meta-set (`flow_training`). A score is the negative log-likelihood in
nats per dimension, exact log-determinants included; an image's is the mean of the top share of its map.

Measured on four labelled sets of real parts, three draws at 10 / 40 % defective, mean AUROC in % (`curate bench
--ablate flow-...`): the Gaussians alone find 93.2 / 92.7. With two coupling blocks of 64 on top, trained for 100 steps,
it is 93.3 / 92.6, with the L2 penalties and MAML too, and 93.2 / 92.7 with the meta-set as query, at four to six times
the cost: so blocks are off by default, and `RAD` turns them and all parts of the paper on. What earns its place: the
place of a patch (without it 76.8 / 72.8), patches rather than pooled vectors (85.2 / 78.5), the ridge (without it
92.7 / 90.5). In fold it ranks as well, 93.3 / 92.6, but its verdicts are worse where much is wrong. Blocks that are
larger, or trained longer, were not measured.

It goes by the place of a patch, so it judges a set only where the images lie alike, or are a texture (`alignment`): on
parts that are turned and moved at random it would hide from the hybrid what the other views see.

Folds are trained in threads, one each: together, by torch.func.vmap, they take as long (examples/bench/vmap_folds.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.embeddings.threads import one_core_each
from curate.records import BoolArray, Embeddings, FloatArray, IntArray, PatchesInMemory, Progress, Scores, no_progress
from curate.scores.alignment import MOST_COST, Alignment, known_alignment
from curate.scores.base import NO_GUIDE, Guide
from curate.scores.coupling import LOG_TWO_PI, CouplingFlow, Params, nll
from curate.scores.flow_config import ABLATIONS, RAD, FlowConfig, Granularity, Query
from curate.scores.flow_training import FEWEST, Pool, Trained, draw_pool, train, whitened
from curate.scores.folds import kin_folds
from curate.scores.neighbours import empty_maps, top_mean
from curate.scores.places import ReferenceGrid, moved, places_of, reference_grid, waves
from curate.scores.similar import balanced
from curate.scores.training_progress import TrainingProgress
from curate.scores.whitening import (
    PRIORS,
    Prior,
    Sums,
    Whitening,
    add_up,
    blocks_of,
    choose_prior,
    fit,
    gaussian_nll,
)

__all__ = ["ABLATIONS", "RAD", "Flow", "FlowConfig", "FlowModel", "Granularity", "Query"]

JUDGES = 32
"""Images whose likelihood decides how much a place counts."""

WAVES = 8
CHUNK = 4096
LAMBDAS_TOLD = 40


@dataclass(frozen=True)
class FlowModel:
    """What the next round starts from: each fold's weights, and the folds, (N,), that they belong to."""

    folds: IntArray
    params: tuple[Params | None, ...]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The scorer `flow`. It has no state but its settings."""

    config: FlowConfig = field(default_factory=FlowConfig)
    name: str = "flow"

    def score(
        self, embeddings: Embeddings, kin: IntArray, *, guide: Guide = NO_GUIDE, progress: Progress = no_progress
    ) -> Scores:
        """Score every image by its patches' likelihood under flows of other images; see `Scorer.score`.

        A set in which all images are kin (one image, say) scores 0 throughout: there is nothing to learn from. A set
        too small for a flow is scored by the Gaussians alone; `facts["note"]` says so.

        Raises:
            CouldNotFinish: a descriptor is not finite, or faiss is not installed.
        """
        seen = embeddings if self.config.granularity is Granularity.PATCH else pooled_as_patches(embeddings)
        by_place = self.config.position and seen is embeddings
        lie = known_alignment(guide, embeddings, kin) if by_place else Alignment()
        maps = empty_maps(seen)
        facts, model = _Run(seen, kin, guide, self.config, maps, progress).run()
        values = np.array([top_mean(m, self.config.top_share) for m in maps], dtype=np.float32)
        if seen is not embeddings:
            maps = [np.full(grid, value, np.float32) for grid, value in zip(embeddings.grids, values, strict=True)]
        mute = not lie.alike and not lie.texture
        facts = {"settings": asdict(self.config)} | facts | (lie.told() if by_place else {})
        if mute:
            facts["mute"] = (
                "it goes by the place, and the images do not lie alike: "
                f"what a patch resembles is {100 * lie.place_cost:.0f} % farther at its own place than anywhere "
                f"({100 * MOST_COST:.0f} % at most)"
            )
        return Scores(
            scorer=self.name,
            values=values,
            maps=maps,
            neighbours=np.zeros((len(embeddings), 0), dtype=np.int64),
            facts=facts,
            mute=np.ones(len(embeddings), dtype=np.bool_) if mute else None,
            model=model,
        )


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


class _Run:
    """One run over a set of N images: folds, Gaussians, flows, and the maps that they fill."""

    def __init__(
        self,
        embeddings: Embeddings,
        kin: IntArray,
        guide: Guide,
        config: FlowConfig,
        maps: Sequence[FloatArray],
        progress: Progress,
    ) -> None:
        self.embeddings, self.guide, self.config, self.maps = embeddings, guide, config, maps
        self.kin, self.folds = kin, kin_folds(kin, config.folds, self.rng(0))
        self.count = int(self.folds.max(initial=-1)) + 1
        self.grid: ReferenceGrid = reference_grid(embeddings.grids)
        self.teachers: BoolArray = np.ones(len(embeddings), dtype=np.bool_)
        self._learn_only_from(guide.teachers(len(embeddings)))
        steps = config.steps * (self.count if config.out_of_fold else 1) if config.blocks else 0
        self._progress = TrainingProgress(progress, len(embeddings), steps)

    def rng(self, *purpose: int) -> np.random.Generator:
        """Return the generator of one purpose: 0 folds, 1 pool, (2, k) weights of flow k, (3, k) its training."""
        return np.random.default_rng(np.random.SeedSequence((self.config.seed, *purpose)))

    def run(self) -> tuple[dict[str, Any], FlowModel | None]:
        """Fill the maps; return what is to be recorded, and what the next round starts from."""
        if self.count < 2:
            self._progress.judged(len(self.folds))
            return {"note": "all images are kin: there is nothing to learn from, every score is 0"}, None
        with one_core_each("flow") as pool:
            sums = list(pool.map(lambda k: self._sums(self.folds == k), range(self.count)))
            prior, likelihoods = self._prior(sums)
            gaussians = self._gaussians(sums, prior)
            ranked = self._ranked(pool, gaussians)
            if self.config.trim:
                best = ranked[: len(ranked) - int(self.config.trim * len(ranked))]
                self._learn_only_from(self.teachers & np.isin(np.arange(len(self.folds)), best))
                sums = list(pool.map(lambda k: self._sums(self.folds == k), range(self.count)))
                gaussians = self._gaussians(sums, prior)
            meta = self._meta_set(ranked)
            patches = draw_pool(self.embeddings, self.rng(1)) if self.config.blocks else None
            trained = list(pool.map(lambda k: self._fold(k, gaussians[k], patches, meta), range(len(gaussians))))
        facts = {
            "folds": self.count if self.config.out_of_fold else 0,
            "reference_grid": [self.grid.rows, self.grid.columns],
            "place": asdict(prior) | {"held_out_nats_per_dim": [round(value, 4) for value in likelihoods]},
        }
        if self.config.blocks:
            facts["meta_set"] = {"images": len(meta), "given": self.guide.meta_set is not None}
            facts["flows"] = [_told(one) for one in trained]
        if self.config.blocks and not any(trained):
            facts["note"] = f"fewer than {FEWEST} images to learn from: scored by the Gaussians alone"
        return facts, FlowModel(self.folds, tuple(one.params if one else None for one in trained))

    def _learn_only_from(self, teachers: BoolArray) -> None:
        """Narrow what may be learnt from, unless a model would be left with nothing."""
        if all((teachers & (self.folds != fold)).any() for fold in range(self.count)):
            self.teachers = teachers.copy()

    def _scored(self, model: int) -> IntArray:
        """Return the images that a model scores."""
        return np.flatnonzero((self.folds == model) | (not self.config.out_of_fold))

    def _learnt(self, model: int) -> IntArray:
        """Return the images that a model learns from."""
        return np.flatnonzero(self.teachers & ((self.folds != model) | (not self.config.out_of_fold)))

    def _sums(self, wanted: BoolArray) -> Sums:
        return add_up(self.embeddings, np.flatnonzero(wanted & self.teachers), self.grid)

    def _prior(self, sums: Sequence[Sums]) -> tuple[Prior, list[float]]:
        """Let one fold, the one of most kin, say how much a place counts for the others: one image of each kin."""
        teachers = np.flatnonzero(self.teachers)
        judges = teachers[np.unique(self.kin[teachers], return_index=True)[1]]
        fold = int(np.bincount(self.folds[judges], minlength=self.count).argmax())
        rows = judges[self.folds[judges] == fold]
        rest = sum((one for at, one in enumerate(sums) if at != fold), _none(sums[0]))
        rows = rows[:: -(-len(rows) // JUDGES)]
        priors = PRIORS if self.config.position and self.grid.cells > 1 else PRIORS[:1]
        return choose_prior(self.embeddings, rows, rest, self.grid, priors, self.config.ridge)

    def _gaussians(self, sums: Sequence[Sums], prior: Prior) -> list[Whitening]:
        total = sum(sums, _none(sums[0]))
        parts = [total - one for one in sums] if self.config.out_of_fold else [total]
        return [fit(part, self.grid, prior, self.config.ridge) for part in parts]

    def _ranked(self, pool: ThreadPoolExecutor, gaussians: Sequence[Whitening]) -> IntArray:
        """Return the images that may be learnt from, the most nominal by the Gaussians first."""
        rows = np.flatnonzero(self.teachers)
        asked = self.config.blocks and self.config.query is Query.META_SET and self.guide.meta_set is None
        if not asked and not self.config.trim:
            return rows

        def value(image: int) -> float:
            whitening = gaussians[self.folds[image] if self.config.out_of_fold else 0]
            return top_mean(gaussian_nll(self.embeddings, image, whitening, self.grid), self.config.top_share)

        return np.asarray(rows[np.argsort(list(pool.map(value, rows.tolist())), kind="stable")], dtype=np.int64)

    def _meta_set(self, ranked: IntArray) -> IntArray:
        given = self.guide.meta_set
        if given is not None and self.teachers[given].any():
            return given[self.teachers[given]]
        return np.sort(ranked[: max(1, round(self.config.meta_share * len(ranked)))])

    def _fold(self, model: int, whitening: Whitening, patches: Pool | None, meta: IntArray) -> Trained | None:
        """Train a flow, where there is enough to learn from, and fill the maps of the images that it scores."""
        learnt, trained, flow = self._learnt(model), None, None
        if patches is not None and len(learnt) >= FEWEST:
            config, place = self.config, self.config.position and self.grid.cells > 1
            flow = CouplingFlow(
                self.embeddings.width,
                WAVES if place else 0,
                blocks=config.blocks,
                hidden=config.hidden,
                clamp=config.clamp,
                rng=self.rng(2, model),
            )
            samples = whitened(patches, learnt, meta, whitening, self.grid, know_place=place)
            start = self._warm_start(model)
            steps = config.steps if start is None else config.steps // 2
            trained = train(flow, samples, config, steps, start, self.rng(3, model), progress=self._progress.trained)
        for images, block in blocks_of(self.embeddings, self._scored(model)):
            self._fill(images, torch.from_numpy(block), whitening, flow, trained)
            self._progress.judged(len(images))
        return trained

    def _warm_start(self, model: int) -> Params | None:
        before = self.guide.model
        if isinstance(before, FlowModel) and np.array_equal(before.folds, self.folds):
            return before.params[model]
        return None

    @torch.no_grad()
    def _fill(
        self, images: IntArray, x: Tensor, whitening: Whitening, flow: CouplingFlow | None, trained: Trained | None
    ) -> None:
        """Score the patches of some images, (P, D), one image below another."""
        places = [moved(places_of(*grid), self.config.moves) for grid in self.embeddings.grids[images].tolist()]
        total = torch.zeros(len(x))
        for way in range(len(places[0])):
            at = np.concatenate([ways[way] for ways in places])
            z, log_det = whitening(x, self.grid.cells_of(at))
            if flow is None or trained is None:
                nats = 0.5 * z.square().sum(dim=1) / x.shape[1] + 0.5 * LOG_TWO_PI
            else:
                waved = torch.from_numpy(waves(at)) if flow.condition else None
                nats = _in_chunks(flow, trained.adapted, z, waved)
            total += nats - log_det / x.shape[1]
        total /= len(places[0])
        edges = np.cumsum(self.embeddings.patch_counts()[images])[:-1].tolist()
        for image, values in zip(images.tolist(), np.split(total.numpy(), edges), strict=True):
            self.maps[image][:] = values.reshape(self.maps[image].shape)


def _none(like: Sums) -> Sums:
    return like - like


def _in_chunks(flow: CouplingFlow, params: Params, x: Tensor, condition: Tensor | None) -> Tensor:
    """Return `nll` of many rows, a few thousand at a time: they stay in the processor's cache."""
    parts = range(0, len(x), CHUNK)
    return torch.cat([nll(flow, params, x[a : a + CHUNK], _part(condition, a)) for a in parts])


def _part(condition: Tensor | None, start: int) -> Tensor | None:
    return None if condition is None else condition[start : start + CHUNK]


def _told(trained: Trained | None) -> dict[str, Any]:
    """Return what is recorded of one flow: the course of lambda and of the held-back likelihood."""
    if trained is None:
        return {}
    return {
        "kept_step": trained.step,
        "held_back_nats_per_dim": [round(value, 4) for value in trained.held_back_nll],
        "lambda": [round(value, 6) for value in trained.l2[:: max(1, len(trained.l2) // LAMBDAS_TOLD)]],
    }
