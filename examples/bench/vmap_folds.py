"""Train the flows of the folds together, by torch.func.vmap, or in threads, one fold each: which is faster?

    python examples/bench/vmap_folds.py [--steps 100]

Both take the same steps of gradient descent through the same coupling blocks on the same drawn batches, with the inner
loop of MAML, and must end with the same weights. Prints seconds a step of all folds, the best of three turns each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from curate.embeddings.threads import one_core_each
from curate.scores.flow import RAD
from curate.scores.published.rad.coupling_flow import CouplingFlow, Params, nll
from curate.scores.published.rad.maml import InnerLoop, query_loss

WIDTH, RATE, TURNS = 128, 1e-3, 3


def drawn(folds: int) -> tuple[CouplingFlow, Params, Tensor]:
    """Return a flow, the weights of every fold, stacked, and (folds, 2, batch, WIDTH) support and query batches."""
    torch.manual_seed(0)
    flow = CouplingFlow(WIDTH, blocks=RAD.blocks, hidden=RAD.hidden, clamp=RAD.clamp, rng=np.random.default_rng(0))
    batches = torch.randn(folds, 2, RAD.batch, WIDTH)
    return flow, {name: torch.stack([p] * folds) for name, p in flow.learnt().items()}, batches


def gradient_of(flow: CouplingFlow) -> Callable[[Params, Tensor], Params]:
    """Return what gives the outer loop's gradient of one fold."""

    def loss(params: Params, batch: Tensor) -> Tensor:
        return nll(flow, params, batch).mean()

    inner = InnerLoop(steps=RAD.inner_steps, rate=RAD.inner_rate)

    def outer_loss(params: Params, batches: Tensor) -> Tensor:
        return query_loss(loss, params, batches[0], query=batches[1], inner=inner)[0]

    return torch.func.grad(outer_loss)


def descended(params: Params, gradient: Params) -> Params:
    return {name: p - RATE * gradient[name] for name, p in params.items()}


def together(flow: CouplingFlow, params: Params, batches: Tensor, *, steps: int) -> Params:
    step = torch.func.vmap(gradient_of(flow))
    for _ in range(steps):
        params = descended(params, step(params, batches))
    return params


def in_threads(flow: CouplingFlow, params: Params, batches: Tensor, *, steps: int) -> Params:
    gradients = [gradient_of(deepcopy(flow)) for _ in batches]  # functional_call swaps the weights of its module

    def one(fold: int) -> Params:
        gradient, own = gradients[fold], {name: p[fold] for name, p in params.items()}
        for _ in range(steps):
            own = descended(own, gradient(own, batches[fold]))
        return own

    with one_core_each("folds") as pool:
        folds = list(pool.map(one, range(len(batches))))
    return {name: torch.stack([own[name] for own in folds]) for name in params}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    steps = parser.parse_args().steps
    flow, params, batches = drawn(RAD.folds)
    best, ends = {}, {}
    for way in (together, in_threads) * TURNS:
        start = time.perf_counter()
        ends[way.__name__] = way(flow, params, batches, steps=steps)
        best[way.__name__] = min(best.get(way.__name__, np.inf), (time.perf_counter() - start) / steps)
    gap = max(float((ends["together"][name] - ends["in_threads"][name]).abs().max()) for name in params)
    for name, seconds in best.items():
        print(f"{name}: {1000 * seconds:.1f} ms a step of {RAD.folds} folds")
    print(f"vmap takes {best['together'] / best['in_threads']:.2f} times as long; weights differ by {gap:.1g} at most")


if __name__ == "__main__":
    main()
