"""SoftPatch's weighted bank as a detector; see `curate.bench.softpatch`."""

from __future__ import annotations

import numpy as np

from curate.bench import softpatch
from curate.bench.detectors.base import DetectorOutput, DetectorTask


def detect(task: DetectorTask) -> DetectorOutput:
    """Score each test image by the maximum of its map."""
    embeddings = task.whole.embeddings
    bank = softpatch.fit(embeddings.subset(task.training_embedding_rows), task.seed)
    maps = [
        bank.anomaly_map(embeddings.patches(row)).reshape(embeddings.grids[row])
        for row in task.test_embedding_rows.tolist()
    ]
    return DetectorOutput(scores=np.array([m.max() for m in maps], dtype=np.float64), maps=maps)
