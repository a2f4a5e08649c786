"""RAD as `flow` calls it: coupling flows on top of the Gaussians per position, one for each model of a run.

Source: RAD (arXiv 2508.17789): a normalizing flow, meta-learned by MAML with a meta-set as query, under an L2 penalty
guided by uncertainty. Differs: the flow models whitened patches, given their position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from curate.progress import Progress
from curate.records import FloatArray, IntArray, Json
from curate.scores.flow_config import FlowConfig, Stream
from curate.scores.position_gaussians import PositionGaussians
from curate.scores.published.rad.coupling_flow import CouplingFlow, Params, nll
from curate.scores.published.rad.patches import ENCODING_WIDTH, PatchPool, encode_positions, whiten_pool
from curate.scores.published.rad.training import TrainedFlow, train

MIN_IMAGES = 8
"""Images that a flow is trained on at least; with fewer the Gaussians score alone."""

CHUNK_PATCHES = 4096
"""Patches that pass through a flow at once: they stay in the processor's cache."""

MAX_RECORDED_LAMBDAS = 40


@dataclass(frozen=True)
class RadModel:
    """A trained coupling flow on top of Gaussians."""

    gaussians: PositionGaussians
    flow: CouplingFlow
    trained: TrainedFlow

    @torch.no_grad()
    def nll(self, x: Tensor, positions: FloatArray) -> Tensor:
        """Return the negative log-likelihood of descriptors (P, D) at positions (P, 2), (P,) in nats per dimension."""
        z, log_det = self.gaussians.whiten(x, positions)
        condition = encode_positions(positions) if self.flow.condition else None
        chunks = [slice(start, start + CHUNK_PATCHES) for start in range(0, len(z), CHUNK_PATCHES)]
        nats = [
            nll(self.flow, self.trained.adapted, z[chunk], condition=None if condition is None else condition[chunk])
            for chunk in chunks
        ]
        return torch.cat(nats) - log_det / x.shape[1]


@dataclass(frozen=True, kw_only=True)
class RadFitter:
    """Fits a coupling flow for each model of a run.

    Attributes:
        config: the settings of `flow`.
        pool: patches of all N images.
        meta_set: indices of the images that query batches show (`Query.META_SET`).
        conditioned: whether flows take the position of a patch.
        progress: called with the number of training steps just taken.
    """

    config: FlowConfig
    pool: PatchPool
    meta_set: IntArray
    conditioned: bool
    progress: Progress

    def fit(
        self, model: int, images: IntArray, gaussians: PositionGaussians, *, start: Params | None
    ) -> RadModel | None:
        """Train the flow of a model on `images`, from the weights `start` if given; None if there are too few."""
        if len(images) < MIN_IMAGES:
            return None
        config = self.config
        flow = CouplingFlow(
            self.pool.patches.shape[-1],
            ENCODING_WIDTH if self.conditioned else 0,
            blocks=config.blocks,
            hidden=config.hidden,
            clamp=config.clamp,
            rng=config.generator(Stream.WEIGHTS, model),
        )
        patches = whiten_pool(self.pool, images, gaussians, meta_set=self.meta_set, conditioned=self.conditioned)
        rng = config.generator(Stream.TRAINING, model)
        return RadModel(gaussians, flow, train(flow, patches, config, start=start, rng=rng, progress=self.progress))


def training_facts(trained: TrainedFlow | None) -> dict[str, Json]:
    """Return what run.json records of one flow; nothing for a model without one."""
    if trained is None:
        return {}
    lambdas = trained.l2[:: max(1, len(trained.l2) // MAX_RECORDED_LAMBDAS)]
    return {
        "kept_step": trained.step,
        "held_out_nats_per_dim": [round(value, 4) for value in trained.held_out_nll],
        "lambda": [round(value, 6) for value in lambdas],
    }
