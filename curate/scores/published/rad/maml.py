"""Model-agnostic meta-learning: weights from which a few steps on a support batch lead to a good query loss.

The default is first order; second order is kept because MAML, which RAD names, is defined by it.

Source: Finn et al. 2017 (MAML), as RAD (arXiv 2508.17789) and Meta-IR (arXiv 2503.01569) use it: inner theta' = theta -
alpha grad L(support, theta), outer theta <- theta - beta grad L(query, theta'). Differs: the outer step is Adam's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Params = dict[str, Tensor]
Batch = TypeVar("Batch")
Loss = Callable[[Params, Batch], Tensor]


@dataclass(frozen=True, kw_only=True)
class InnerLoop:
    """The settings of the inner loop.

    Attributes:
        steps: how many, 1 at least.
        rate: alpha, of plain gradient descent.
        second_order: differentiate through the inner gradients; else they count as constants (first-order MAML).

    Raises:
        ValueError: there is no step.
    """

    steps: int
    rate: float
    second_order: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("an inner loop has one step at least")


def adapt(loss: Loss[Batch], params: Params, support: Batch, *, inner: InnerLoop) -> tuple[Params, Tensor]:
    """Take the inner loop's steps; `params` stay as they are.

    Args:
        loss: of weights and a batch, a scalar.
        params: theta, where the steps begin.
        support: the batch whose loss they descend.
        inner: the settings.

    Returns:
        The fast weights theta', and the loss of `params` on the support batch.
    """
    fast, before = _step(loss, params, support, inner=inner)
    for _ in range(inner.steps - 1):
        fast, _ = _step(loss, fast, support, inner=inner)
    return fast, before


def _step(loss: Loss[Batch], params: Params, support: Batch, *, inner: InnerLoop) -> tuple[Params, Tensor]:
    """Return the weights after one step, and the loss before it."""
    with nullcontext() if inner.second_order else torch.no_grad():
        gradient, before = torch.func.grad_and_value(loss)(params, support)
    return {name: weight - inner.rate * gradient[name] for name, weight in params.items()}, before


def query_loss(
    loss: Loss[Batch], params: Params, support: Batch, *, query: Batch, inner: InnerLoop
) -> tuple[Tensor, Tensor]:
    """Return the outer loop's loss, of the query batch under the fast weights, and the support batch's under `params`.

    Args:
        query: the batch that the fast weights are evaluated on.
        loss, params, support, inner: see `adapt`.
    """
    fast, before = adapt(loss, params, support, inner=inner)
    return loss(fast, query), before
