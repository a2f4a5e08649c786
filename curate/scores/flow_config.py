"""The settings of the scorer `flow`, and its named variants for ablation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

import numpy as np

from curate.errors import UsageError


class Granularity(StrEnum):
    """What one sample of the model is."""

    PATCH = "patch"
    IMAGE = "image"


class Query(StrEnum):
    """Which images the query batch of the outer loop shows."""

    CONTAMINATED = "contaminated"
    META_SET = "meta-set"


class Stream(IntEnum):
    """What random numbers are drawn for; each purpose has a stream of its own."""

    FOLDS = 0
    PATCH_POOL = 1
    WEIGHTS = 2
    TRAINING = 3


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """The settings of `Flow`.

    Attributes:
        granularity: a sample is a patch, or the pooled vectors of an image.
        width: of a patch descriptor at most; a wider one is projected.
        folds: K, models that each score the images that they were not fitted on.
        out_of_fold: false: one model is fitted on all images and scores them all.
        position: choose by held-out likelihood how far each position has its own Gaussian; false: one for all.
        ridge: variance added to each direction of a descriptor, as a share of the mean variance.
        trim: share of the images, those least likely under the Gaussians, that are not learnt from.
        top_share: the share of an image's patches, the highest of the map, whose mean is its score.
        seed: of folds, weights and batches.
        blocks: coupling blocks on top of the Gaussians; 0 for none. All settings below are those of the blocks alone.
        hidden, clamp: see `CouplingFlow`.
        steps: of the outer loop.
        task_images: images that a batch is drawn from.
        batch: patches in a support or query batch.
        outer_rate: beta, Adam's.
        inner_steps: of the inner loop, up to 5; 0 trains the flow without meta-learning.
        inner_rate: alpha.
        second_order: see `InnerLoop`.
        query: which images the query batch shows.
        meta_share: share of the images, the most nominal ones, in the meta-set where no other view gives one.
        l2: lambda_0; 0 for no penalty.
        l2_gain: gamma; 0 for a constant penalty.
        l2_window: tasks in the covariance that guides the penalty.

    Raises:
        UsageError: a value is out of range.
    """

    granularity: Granularity = Granularity.PATCH
    width: int = 128
    folds: int = 4
    out_of_fold: bool = True
    position: bool = True
    ridge: float = 0.5
    trim: float = 0.0
    top_share: float = 0.02
    seed: int = 0
    blocks: int = 0
    hidden: int = 64
    clamp: float = 2.0
    steps: int = 100
    task_images: int = 32
    batch: int = 256
    outer_rate: float = 1e-3
    inner_steps: int = 1
    inner_rate: float = 0.05
    second_order: bool = False
    query: Query = Query.META_SET
    meta_share: float = 0.5
    l2: float = 0.005
    l2_gain: float = 0.5
    l2_window: int = 5

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise UsageError(f"flow: folds {self.folds}: at least 2, or out_of_fold=False")
        if not 0 <= self.inner_steps <= 5:
            raise UsageError(f"flow: inner_steps {self.inner_steps}: from 0 to 5")
        if not 0 <= self.trim < 1 or not 0 < self.meta_share <= 1 or not 0 < self.top_share <= 1:
            raise UsageError("flow: trim, meta_share and top_share are shares from 0 to 1")

    def generator(self, stream: Stream, *model: int) -> np.random.Generator:
        """Return the generator of a stream; WEIGHTS and TRAINING have one for each model."""
        return np.random.default_rng(np.random.SeedSequence((self.seed, stream, *model)))


_VANILLA = FlowConfig(blocks=2, inner_steps=0, query=Query.CONTAMINATED, l2=0.0, l2_gain=0.0)
_ADAPTIVE = replace(_VANILLA, l2=0.005, l2_gain=0.5)

RAD = replace(_ADAPTIVE, inner_steps=1, query=Query.META_SET)
"""Every part of RAD: coupling blocks, MAML with the meta-set as query, adaptive L2."""

ABLATIONS: Mapping[str, FlowConfig] = {
    "default": FlowConfig(),
    "vanilla flow": _VANILLA,
    "+ constant L2": replace(_VANILLA, l2=0.005),
    "+ adaptive L2": _ADAPTIVE,
    "+ MAML, contaminated query": replace(_ADAPTIVE, inner_steps=1),
    "+ meta-set query": RAD,
    "RAD, second order": replace(RAD, second_order=True),
    "RAD, no ridge": replace(RAD, ridge=0.01),
    "RAD, image granularity": replace(RAD, granularity=Granularity.IMAGE),
    "RAD, in fold": replace(RAD, out_of_fold=False),
    "default, no position": FlowConfig(position=False),
    "default, no ridge": FlowConfig(ridge=0.01),
    "default, image granularity": FlowConfig(granularity=Granularity.IMAGE),
    "default, in fold": FlowConfig(out_of_fold=False),
    "default, trimmed": FlowConfig(trim=0.3),
}
"""Variants by name: the parts of RAD added in turn, then parts of RAD and of the default removed or changed."""
