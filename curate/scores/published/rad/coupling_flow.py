"""A normalizing flow of coupling blocks, and likelihoods under it. The only module that imports FrEIA.

FrEIA draws its permutations from NumPy's global generator, and torch its initial weights from its own. All are replaced
by draws from a generator that is handed in, and the global generators keep their state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn

from curate.scores.position_gaussians import LOG_TWO_PI

Params = dict[str, Tensor]
"""Weights by name: the flow's own, or fast weights in their place."""


class CouplingFlow(nn.Module):
    """A normalizing flow from D features to a standard normal base distribution.

    Each block scales and shifts one half of the features by a small network of the other half and of a condition, then
    multiplies all of them by a fixed orthogonal matrix. It starts as a rotation: the likelihood before the first step
    is that of a standard normal.
    """

    def __init__(
        self, width: int, condition: int = 0, *, blocks: int, hidden: int, clamp: float, rng: np.random.Generator
    ) -> None:
        """Build the flow.

        Args:
            width: D, 2 at least.
            condition: C, features that every coupling sees but that are not modelled.
            blocks: coupling blocks.
            hidden: width of their networks.
            clamp: bound on the log-scale of one block.
            rng: of all weights and rotations.
        """
        super().__init__()

        def subnet(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(_linear(inputs, hidden, rng), nn.ReLU(), _linear(hidden, outputs, None))

        condition_shapes = [(condition,)] if condition else []
        self.width, self.condition = width, condition
        with _global_generator_untouched():
            self.blocks = nn.ModuleList(
                AllInOneBlock([(width,)], condition_shapes, subnet_constructor=subnet, affine_clamping=clamp)
                for _ in range(blocks)
            )
        for block in self.blocks:
            rotation = torch.from_numpy(_orthogonal(width, rng))
            block.w_perm.data, block.w_perm_inv.data = rotation, rotation.T.contiguous()

    def forward(self, x: Tensor, condition: Tensor | None = None, *, rev: bool = False) -> tuple[Tensor, Tensor]:
        """Map features to the base, (N, D) -> (N, D), or back with `rev`; also the log-determinant of that, (N,)."""
        conditions = [] if condition is None else [condition]
        log_det = torch.zeros_like(x[:, 0])
        for block in reversed(self.blocks) if rev else self.blocks:
            (x,), change = block((x,), conditions, rev=rev)
            log_det = log_det + change
        return x, log_det

    def learnt(self) -> Params:
        """Return copies of the weights that are learnt; the rotations are not."""
        return {name: p.detach().clone() for name, p in self.named_parameters() if p.requires_grad}


def nll(flow: CouplingFlow, params: Mapping[str, Tensor], x: Tensor, *, condition: Tensor | None = None) -> Tensor:
    """Return the negative log-likelihood of each row under a normalizing flow.

    Args:
        flow: a chain of coupling blocks from D features to a standard normal base.
        params: the weights to use in place of the flow's own (MAML's fast weights).
        x: features, (N, D).
        condition: (N, C), if the flow takes one.

    Returns:
        (N,) in nats per dimension. Higher is more anomalous.

    Source: RAD (arXiv 2508.17789), its likelihood loss. Differs: it includes the constant of the normal and is divided
    by D; the score, too, includes the log-determinant.
    """
    z, log_det = torch.func.functional_call(flow, dict(params), (x, condition))
    nats: Tensor = (0.5 * z.square().sum(dim=1) - log_det) / flow.width + 0.5 * LOG_TWO_PI
    return nats


def _linear(inputs: int, outputs: int, rng: np.random.Generator | None) -> nn.Linear:
    """Return a layer whose weights were drawn from `rng`, or are 0 without one; its biases are 0."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")  # draws nothing from torch's generator
    weight = np.zeros((outputs, inputs)) if rng is None else rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)
    layer.weight.data = torch.from_numpy(weight.astype(np.float32))
    layer.bias.data = torch.zeros(outputs)
    return layer


def _orthogonal(width: int, rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    q, r = np.linalg.qr(rng.standard_normal((width, width)))
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float32)


@contextmanager
def _global_generator_untouched() -> Iterator[None]:
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)
