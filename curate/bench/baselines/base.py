"""What a baseline gets and returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.bench.embedder import DrawnSet
from curate.bench.patch_distances import PatchDistances
from curate.choices import ThresholdMethod
from curate.records import BoolArray, Embeddings, FloatArray, IntArray
from curate.verdicts.threshold import find_threshold

ImageScores = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BaselineInput:
    """The M images of one label.

    Attributes:
        drawn: the draw that they belong to.
        rows: (M,) the images among those of the draw that could be read.
        distances: nearest-patch distances; its images are the rows of the whole set's embeddings.
        seed: of all random choices.
    """

    drawn: DrawnSet
    rows: IntArray
    distances: PatchDistances
    seed: int

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings of the M images."""
        return self.drawn.embeddings.subset(self.rows)

    @property
    def pooled(self) -> FloatArray:
        """(M, D) one vector an image."""
        return np.asarray(self.drawn.embeddings.pooled[self.rows])

    @property
    def embedding_rows(self) -> IntArray:
        """(M,) the rows of these images in the embeddings of the whole set."""
        set_rows = self.drawn.draw.rows[self.drawn.readable[self.rows]]
        return np.asarray(self.drawn.whole.embedding_rows[set_rows])


@dataclass(frozen=True, kw_only=True)
class BaselineOutput:
    """The scores of M images, (M,), higher is more anomalous; and which of them the baseline flags, (M,)."""

    scores: ImageScores
    flagged: BoolArray


Run = Callable[[BaselineInput], BaselineOutput]


def flagged_by_iqr(scores: ImageScores) -> BaselineOutput:
    """Flag scores above Q3 + 1.5 IQR; nothing where that threshold cannot be found."""
    threshold = find_threshold(scores.astype(np.float32), ThresholdMethod.IQR)
    flagged = np.zeros(len(scores), np.bool_) if threshold.note else scores > threshold.value
    return BaselineOutput(scores=scores, flagged=flagged)
