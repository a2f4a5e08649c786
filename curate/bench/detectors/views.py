"""A view as a detector: it trains on the training images alone, each of its models on its folds of them."""

from __future__ import annotations

import numpy as np

from curate.bench.detectors.base import Detect, DetectorOutput, DetectorTask
from curate.bench.variants import Maker
from curate.config import ScanConfig
from curate.scores.alignment import measure_alignment
from curate.scores.base import Guide, ScorerContext


def view_detector(make: Maker) -> Detect:
    """Return the one scorer that `make` makes as a detector."""

    def detect(task: DetectorTask) -> DetectorOutput:
        rows = np.concatenate([task.training_embedding_rows, task.test_embedding_rows])
        training = np.arange(len(rows)) < len(task.training)
        (scorer,) = make(ScorerContext(config=ScanConfig(seed=task.seed)))
        embeddings = task.whole.embeddings.subset(rows)
        alignment = measure_alignment(embeddings.subset(np.flatnonzero(training)), np.arange(len(task.training)))
        guide = Guide(nominal=training, alignment=alignment)
        scores = scorer.score(embeddings, np.arange(len(rows)), guide=guide)
        return DetectorOutput(
            scores=scores.values[~training].astype(np.float64), maps=scores.maps[len(task.training) :]
        )

    return detect
