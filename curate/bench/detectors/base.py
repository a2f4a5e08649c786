"""What a detector gets and returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.bench.embedder import EmbeddedSet
from curate.bench.patch_distances import PatchDistances
from curate.bench.sets import LabelledSet
from curate.records import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class DetectorTask:
    """Images to train on, and T images to score. Rows are those of the labelled set; all of them could be read.

    Attributes:
        source: the labelled set.
        whole: its embeddings.
        distances: nearest-patch distances; its images are the rows of the embeddings.
        training: rows to train on.
        test: (T,) rows to score.
        seed: of all random choices.
        device: "auto", "cpu" or "cuda".
        backbone, weights: for a detector that brings its own network; None for its default.
    """

    source: LabelledSet
    whole: EmbeddedSet
    distances: PatchDistances
    training: IntArray
    test: IntArray
    seed: int
    device: str = "auto"
    backbone: str | None = None
    weights: Path | None = None

    @property
    def training_embedding_rows(self) -> IntArray:
        """The training images' rows in the embeddings."""
        return np.asarray(self.whole.embedding_rows[self.training])

    @property
    def test_embedding_rows(self) -> IntArray:
        """(T,) the test images' rows in the embeddings."""
        return np.asarray(self.whole.embedding_rows[self.test])


@dataclass(frozen=True, kw_only=True)
class DetectorOutput:
    """Scores of T test images, (T,), higher is more anomalous; and an anomaly map of any size for each."""

    scores: NDArray[np.float64]
    maps: Sequence[FloatArray]


Detect = Callable[[DetectorTask], DetectorOutput]
