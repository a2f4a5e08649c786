"""Model-agnostic meta-learning: weights from which a few steps on a support batch lead to a good query loss.

Source: Finn et al. 2017 (MAML), as RAD (arXiv 2508.17789) and Meta-IR (arXiv 2503.01569) use it: inner theta' = theta -
alpha grad L(support, theta), outer theta <- theta - beta grad L(query, theta'). Differs: the outer step is Adam's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import Tensor

Params = dict[str, Tensor]
Batch = TypeVar("Batch")
Loss = Callable[[Params, Batch], Tensor]


def adapt(
    loss: Loss[Batch], params: Params, support: Batch, *, steps: int, rate: float, second_order: bool = False
) -> tuple[Params, Tensor]:
    """Take the inner loop's steps; `params` stay as they are.

    Args:
        loss: of weights and a batch, a scalar.
        params: theta, where the steps begin.
        support: the batch that they descend on.
        steps: how many, 1 at least.
        rate: alpha, of plain gradient descent.
        second_order: let a gradient of the result see how the inner gradients depend on `params`; else they count as
            constants (first-order MAML).

    Returns:
        The fast weights theta', and the loss of `params` on the support batch.
    """
    fast, first = dict(params), None
    for _ in range(steps):
        with nullcontext() if second_order else torch.no_grad():
            gradient, value = torch.func.grad_and_value(loss)(fast, support)
        first = value if first is None else first
        fast = {name: weight - rate * gradient[name] for name, weight in fast.items()}
    if first is None:
        raise ValueError("an inner loop has one step at least")
    return fast, first


def query_loss(
    loss: Loss[Batch],
    params: Params,
    support: Batch,
    query: Batch,
    *,
    steps: int,
    rate: float,
    second_order: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the outer loop's loss, of the query batch under the fast weights, and the support batch's under `params`.

    Args:
        query: the batch that judges what the steps on `support` led to.
        loss, params, support, steps, rate, second_order: see `adapt`.
    """
    fast, before = adapt(loss, params, support, steps=steps, rate=rate, second_order=second_order)
    return loss(fast, query), before
