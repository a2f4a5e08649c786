"""Training of one flow: tasks of a support and a query batch, an outer step on each, and the best of its states.

A flow that learns long from contaminated images learns their defects. So it starts as the Gaussians of the whitening,
takes few steps, and keeps the state under which training images held back from it are likeliest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from curate.records import Embeddings, FloatArray, IntArray, Progress, no_progress
from curate.scores.coupling import CouplingFlow, Params, nll
from curate.scores.flow_config import FlowConfig, Query
from curate.scores.maml import adapt, query_loss
from curate.scores.places import ReferenceGrid, places_of, waves
from curate.scores.regularization import AdaptiveL2, mean_square
from curate.scores.whitening import Whitening

POOL_PATCHES = 65_536
"""Patches that batches are drawn from."""

FEWEST = 8
"""Images that a flow is trained on at least; with fewer the Gaussians stand alone."""

HELD_BACK = 10
"""One in so many training images is held back to choose a state."""

CHECKS = 6
CHECKED_PATCHES = 2048

Batch = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Pool:
    """The same number m of patches from each of R images.

    Attributes:
        patches: (R, m, D) descriptors, fp16.
        places: (R, m, 2) row and column, 0-1.
        noise: (R, m, D) standard normal, fp16.
    """

    patches: Tensor
    places: FloatArray
    noise: Tensor


def draw_pool(embeddings: Embeddings, rng: np.random.Generator) -> Pool:
    """Draw patches from every image; an image with fewer than m shows some twice."""
    count = len(embeddings)
    each = max(1, min(int(embeddings.patch_counts().max()), POOL_PATCHES // count))
    patches = np.empty((count, each, embeddings.width), dtype=np.float16)
    places = np.empty((count, each, 2), dtype=np.float32)
    for image, (rows, columns) in enumerate(embeddings.grids.tolist()):
        chosen = (
            rng.permutation(rows * columns)[:each]
            if rows * columns >= each
            else rng.integers(rows * columns, size=each)
        )
        patches[image] = embeddings.source.read(image)[chosen]
        places[image] = places_of(rows, columns)[chosen]
    noise = rng.standard_normal(patches.shape, dtype=np.float32).astype(np.float16)
    return Pool(torch.from_numpy(patches), places, torch.from_numpy(noise))


@dataclass(frozen=True)
class Samples:
    """What one flow learns from: whitened patches of R training images, with the noise that the ridge stands for.

    Attributes:
        x: (R, m, D).
        condition: (R, m, C), None for a flow that does not know places.
        meta: indices, 0 to R - 1, of those that belong to the meta-set.
    """

    x: Tensor
    condition: Tensor | None
    meta: IntArray

    def batch(self, images: IntArray, size: int, rng: np.random.Generator) -> Batch:
        """Draw patches of some images."""
        rows = torch.from_numpy(np.resize(images, size))
        columns = torch.from_numpy(rng.integers(self.x.shape[1], size=size))
        return self.x[rows, columns], None if self.condition is None else self.condition[rows, columns]


def whitened(
    pool: Pool, images: IntArray, meta: IntArray, whitening: Whitening, grid: ReferenceGrid, *, know_place: bool
) -> Samples:
    """Return the patches of some images as the flow sees them; `meta` are indices of images, too."""
    places = pool.places[images].reshape(-1, 2)
    shape = pool.patches[images].shape
    raw = pool.patches[images].float() + whitening.noise * pool.noise[images].float()
    x, _ = whitening(raw.reshape(-1, shape[-1]), grid.cells_of(places))
    condition = torch.from_numpy(waves(places)).reshape(*shape[:2], -1) if know_place else None
    return Samples(x.reshape(shape), condition, np.flatnonzero(np.isin(images, meta)))


@dataclass(frozen=True)
class Trained:
    """What training led to.

    Attributes:
        params: the state that was kept, before it is adapted.
        adapted: the fast weights to score with.
        step: after how many steps it was kept; 0 for the start.
        held_back_nll: at each check, nats per dimension.
        l2: lambda at each step.
    """

    params: Params
    adapted: Params
    step: int
    held_back_nll: list[float]
    l2: list[float]


def train(
    flow: CouplingFlow,
    samples: Samples,
    config: FlowConfig,
    steps: int,
    start: Params | None,
    rng: np.random.Generator,
    *,
    progress: Progress = no_progress,
) -> Trained:
    """Train a flow on its samples.

    Args:
        flow: whose own weights stay as they are.
        samples: see there.
        config: see there.
        steps: of the outer loop.
        start: weights to start from; None for the flow's own.
        rng: of all batches.
        progress: called with the number of steps just taken.
    """
    order = rng.permutation(len(samples.x))
    held, learn = order[: len(order) // HELD_BACK], np.sort(order[len(order) // HELD_BACK :])
    meta = np.intersect1d(samples.meta, learn) if config.query is Query.META_SET else learn
    course = _Course(flow, samples, learn, meta if len(meta) else learn, config, rng, progress)
    support = samples.batch(learn, 2 * config.batch, rng)
    check = samples.batch(held if len(held) else learn, CHECKED_PATCHES, rng)
    penalty = AdaptiveL2(config.l2, config.l2_gain, config.l2_window)
    params = flow.learnt() if start is None else {name: p.clone() for name, p in start.items()}
    best = Trained(params, course.adapted(params, support), 0, [], penalty.trajectory)
    told: list[float] = []
    for step, now in course.descend(params, steps, penalty):
        adapted = course.adapted(now, support)
        with torch.no_grad():
            told.append(float(course.loss(adapted, check)))
        if told[-1] <= min(told):
            best = Trained(now, adapted, step, told, penalty.trajectory)
    return replace(best, held_back_nll=told)


@dataclass(frozen=True)
class _Course:
    """The outer loop over tasks of one flow; `learn` and `meta` are the images of support and query batches."""

    flow: CouplingFlow
    samples: Samples
    learn: IntArray
    meta: IntArray
    config: FlowConfig
    rng: np.random.Generator
    progress: Progress

    def loss(self, params: Params, batch: Batch) -> Tensor:
        return nll(self.flow, params, *batch).mean()

    def adapted(self, params: Params, support: Batch) -> Params:
        """Take the inner loop's steps, if there are any."""
        if not self.config.inner_steps:
            return params
        return adapt(self.loss, params, support, steps=self.config.inner_steps, rate=self.config.inner_rate)[0]

    def descend(self, params: Params, steps: int, penalty: AdaptiveL2) -> Iterator[tuple[int, Params]]:
        """Yield (steps taken, weights) at the start and at each check."""
        weights = {name: p.clone().requires_grad_() for name, p in params.items()}
        adam = torch.optim.Adam(list(weights.values()), lr=self.config.outer_rate)
        fade = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / max(1, steps))
        yield 0, {name: p.detach().clone() for name, p in weights.items()}
        for step in range(1, steps + 1):
            gradient, seen = torch.func.grad_and_value(self._objective, has_aux=True)(
                {name: p.detach() for name, p in weights.items()}, *self._task(), penalty.weight()
            )
            for name, weight in weights.items():
                weight.grad = gradient[name]
            adam.step()
            fade.step()
            self.progress(1)
            penalty.saw(*(float(value) for value in seen[1]))
            if step % max(1, steps // CHECKS) == 0:
                yield step, {name: p.detach().clone() for name, p in weights.items()}

    def _task(self) -> tuple[Batch, Batch]:
        """Draw a support batch from images as they come, and a query batch from those that judge."""
        size, count = self.config.batch, self.config.task_images
        support = self.samples.batch(self.rng.choice(self.learn, size=count), size, self.rng)
        return support, self.samples.batch(self.rng.choice(self.meta, size=count), size, self.rng)

    def _objective(
        self, params: Params, support: Batch, query: Batch, l2: float
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the outer loop's loss; also the losses of the support and the query batch."""
        config = self.config
        if config.inner_steps:
            judged, before = query_loss(
                self.loss,
                params,
                support,
                query,
                steps=config.inner_steps,
                rate=config.inner_rate,
                second_order=config.second_order,
            )
        else:
            judged = self.loss(params, query)
            with torch.no_grad():
                before = self.loss(params, support) if config.l2_gain and config.l2 else judged.detach()
        total = judged + l2 * mean_square(params) if l2 else judged
        return total, (before, judged)
