"""The one protocol of all scorers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from curate.records import BoolArray, Embeddings, IntArray, Progress, Scores, no_progress


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What a scorer is told about N images by earlier rounds and other views; nothing in a first pass.

    Attributes:
        nominal: (N,) whether an image may be learnt from: false for those that the round before rejected. They are
            scored all the same. None for all.
        meta_set: indices of the images that another view takes as most nominal; None if none says so.
        model: `Scores.model` of the same scorer in the round before; None in the first round.
        alignment: how the images lie (`alignment.Alignment`); None where nobody measured it yet.
    """

    nominal: BoolArray | None = None
    meta_set: IntArray | None = None
    model: Any = None
    alignment: Any = None

    def teachers(self, count: int) -> BoolArray:
        """Return (count,) whether each image may be learnt from."""
        return np.ones(count, dtype=np.bool_) if self.nominal is None else self.nominal


NO_GUIDE = Guide()


class Scorer(Protocol):
    """Says how anomalous each image of a set is, by models that have not seen the image."""

    @property
    def name(self) -> str:
        """The name of the column `score_<name>` in the audit."""
        ...

    def score(
        self, embeddings: Embeddings, kin: IntArray, *, guide: Guide = NO_GUIDE, progress: Progress = no_progress
    ) -> Scores:
        """Score every image of a set.

        Args:
            embeddings: of N images.
            kin: (N,) images with equal numbers are kin (exact duplicates, one group): none of them may
                speak for another.
            guide: what earlier rounds and other views know.
            progress: called with the number of images just finished; N in all, part of them while it trains, if it
                does (`TrainingProgress`).

        Returns:
            Scores of N images, aligned with `embeddings`.
        """
        ...
