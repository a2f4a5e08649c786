"""Training of one coupling flow: an outer step on each task (a support and a query batch); the best state is kept.

A flow that is trained long on contaminated images learns their defects. So training starts at the likelihood of the
Gaussians and takes few steps, and the state that is kept is the one under which held-out training images are likeliest.

Source: RAD (arXiv 2508.17789). Differs: it starts from whitened patches, and early stopping is by held-out likelihood.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.progress import Progress
from curate.scores.flow_config import FlowConfig, Query
from curate.scores.published.rad.adaptive_l2 import AdaptiveL2, mean_square
from curate.scores.published.rad.coupling_flow import CouplingFlow, Params, nll
from curate.scores.published.rad.maml import InnerLoop, adapt, query_loss
from curate.scores.published.rad.patches import Batch, WhitenedPatches

HELD_OUT_EVERY = 10
"""One training image in so many is held out to choose a state."""

CHECKS = 6
"""Times that the held-out likelihood is measured, the start not counted."""

CHECK_PATCHES = 2048


@dataclass(frozen=True)
class TrainedFlow:
    """The state that training kept.

    Attributes:
        params: the weights, before they are adapted.
        adapted: the fast weights to score with.
        step: after how many steps it was kept; 0 for the start.
        held_out_nll: at each check of the training, nats per dimension.
        l2: lambda at each step of the training.
    """

    params: Params
    adapted: Params
    step: int
    held_out_nll: list[float]
    l2: list[float]


def train(
    flow: CouplingFlow,
    patches: WhitenedPatches,
    config: FlowConfig,
    *,
    start: Params | None,
    rng: np.random.Generator,
    progress: Progress,
) -> TrainedFlow:
    """Train a flow.

    Args:
        flow: whose own weights stay as they are.
        patches: of R training images.
        config: its `steps` are halved where training starts from given weights.
        start: weights to start from; None for the flow's own.
        rng: of all batches.
        progress: called with the number of steps just taken.
    """
    params = flow.learnt() if start is None else {name: p.clone() for name, p in start.items()}
    steps = config.steps if start is None else config.steps // 2
    trainer = _Trainer(flow, patches, config, rng=rng, progress=progress)
    best, held_out_nll = (params, params, 0), list[float]()
    for step, state in trainer.descend(params, steps):
        adapted = trainer.adapted(state)
        held_out_nll.append(trainer.held_out_nll(adapted))
        if step == 0 or held_out_nll[-1] <= min(held_out_nll):
            best = state, adapted, step
    return TrainedFlow(*best, held_out_nll, trainer.penalty.trajectory)


class _Trainer:
    """The outer loop over the tasks of one flow."""

    def __init__(
        self,
        flow: CouplingFlow,
        patches: WhitenedPatches,
        config: FlowConfig,
        *,
        rng: np.random.Generator,
        progress: Progress,
    ) -> None:
        self.flow, self.patches, self.config, self.rng, self.progress = flow, patches, config, rng, progress
        order = rng.permutation(len(patches.x))
        held_out, learn = np.split(order, [len(order) // HELD_OUT_EVERY])
        self.support_images = self.query_images = np.sort(learn)
        if config.query is Query.META_SET:
            meta_set = np.intersect1d(patches.meta_set, learn)
            self.query_images = meta_set if len(meta_set) else self.query_images
        self.adaptation_batch = patches.batch(self.support_images, 2 * config.batch, rng)
        self.check_batch = patches.batch(held_out if len(held_out) else self.support_images, CHECK_PATCHES, rng)
        self.penalty = AdaptiveL2(config.l2, config.l2_gain, config.l2_window)
        self.inner = (
            InnerLoop(steps=config.inner_steps, rate=config.inner_rate, second_order=config.second_order)
            if config.inner_steps
            else None
        )

    def loss(self, params: Params, batch: Batch) -> Tensor:
        x, condition = batch
        return nll(self.flow, params, x, condition=condition).mean()

    def adapted(self, params: Params) -> Params:
        """Return the fast weights after the inner loop's steps on training images, if it takes any."""
        return params if self.inner is None else adapt(self.loss, params, self.adaptation_batch, inner=self.inner)[0]

    @torch.no_grad()
    def held_out_nll(self, params: Params) -> float:
        return float(self.loss(params, self.check_batch))

    def descend(self, params: Params, steps: int) -> Iterator[tuple[int, Params]]:
        """Yield (steps taken, weights) at the start and at each check."""
        weights = {name: p.clone().requires_grad_() for name, p in params.items()}
        adam = torch.optim.Adam(list(weights.values()), lr=self.config.outer_rate)
        decay = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / max(1, steps))
        yield 0, _copied(weights)
        for step in range(1, steps + 1):
            support, query = self._task()
            gradient, (_, losses) = torch.func.grad_and_value(self._objective, has_aux=True)(
                {name: p.detach() for name, p in weights.items()}, support, query, l2=self.penalty.next_weight()
            )
            for name, weight in weights.items():
                weight.grad = gradient[name]
            adam.step()
            decay.step()
            self.progress(1)
            self.penalty.observe(*(float(value) for value in losses))
            if step % max(1, steps // CHECKS) == 0:
                yield step, _copied(weights)

    def _task(self) -> tuple[Batch, Batch]:
        """Draw a support batch from any training images, and a query batch from those of the query set."""
        size, count = self.config.batch, self.config.task_images
        support = self.patches.batch(self.rng.choice(self.support_images, size=count), size, self.rng)
        return support, self.patches.batch(self.rng.choice(self.query_images, size=count), size, self.rng)

    def _objective(
        self, params: Params, support: Batch, query: Batch, *, l2: float
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the outer loop's loss; also the losses of the support and the query batch."""
        if self.inner is not None:
            of_query, of_support = query_loss(self.loss, params, support, query=query, inner=self.inner)
        else:
            of_query = self.loss(params, query)
            with torch.no_grad():
                adaptive = self.config.l2_gain and self.config.l2
                of_support = self.loss(params, support) if adaptive else of_query.detach()
        total = of_query + l2 * mean_square(params) if l2 else of_query
        return total, (of_support, of_query)


def _copied(weights: Params) -> Params:
    return {name: p.detach().clone() for name, p in weights.items()}
