"""The one protocol of all scorers, and what they are made from and guided by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from curate.config import ScanConfig
from curate.embeddings.backbones import Backbone
from curate.progress import Progress, no_progress
from curate.records import Alignment, BoolArray, Embeddings, IntArray, Scores, WarmStart
from curate.scorers import SCORERS, in_running_order

Images = Callable[[int], NDArray[Any]]
"""Gives the pixels of a row of the listing as they are embedded: (H, W, 3) RGB in 0-255, sides whole patches."""


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What earlier rounds and other views know about N images; nothing in a first pass.

    Attributes:
        nominal: (N,) whether an image may be learnt from: false for those that the round before rejected. They are
            scored all the same. None for all.
        meta_set: indices of the images that another view takes as most nominal; None if no view does.
        model: `Scores.model` of the same scorer in the round before; None in the first round.
        alignment: how the images lie; None where it was not measured yet.
    """

    nominal: BoolArray | None = None
    meta_set: IntArray | None = None
    model: WarmStart | None = None
    alignment: Alignment | None = None

    def learnable(self, count: int) -> BoolArray:
        """Return (count,) whether each image may be learnt from."""
        return np.ones(count, dtype=np.bool_) if self.nominal is None else self.nominal


NO_GUIDE = Guide()


class Scorer(Protocol):
    """Says how anomalous each image of a nominal set is, by models that have not seen the image."""

    @property
    def name(self) -> str:
        """The name of the column `score_<name>` in the audit."""
        ...

    def score(
        self, embeddings: Embeddings, groups: IntArray, *, guide: Guide = NO_GUIDE, progress: Progress = no_progress
    ) -> Scores:
        """Score every image of a nominal set.

        Args:
            embeddings: of N images.
            groups: (N,) leakage groups: images with equal numbers (exact duplicates, shots of one part) may not speak
                for each other.
            guide: what earlier rounds and other views know.
            progress: called with the number of images just finished; N in all, part of them while it trains, if it
                does (`TrainingProgress`).

        Returns:
            Scores of N images, aligned with `embeddings`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ScorerContext:
    """What a scorer is made from.

    Attributes:
        config: the settings of the scan.
        images: gives the pixels of a row of the listing; None where there are none at hand.
        teacher: the frozen backbone; likewise.
    """

    config: ScanConfig
    images: Images | None = None
    teacher: Backbone | None = None


def make_scorers(context: ScorerContext) -> list[Scorer]:
    """Return the scorers that a scan asks for, each after those that it uses.

    Raises:
        UsageError: a scorer needs images or a backbone, and there is none.
    """
    return [_make(name, context) for name in in_running_order(context.config.scorers)]


def _make(name: str, context: ScorerContext) -> Scorer:
    module, _, function = SCORERS[name].make.partition(":")
    scorer: Scorer = getattr(import_module(module), function)(context)
    return scorer
