"""Detectors of pyod on the pooled vectors, with pyod's defaults and labels (10 % of the images are flagged)."""

from __future__ import annotations

import importlib
import warnings

import numpy as np

from curate.bench.baselines.base import BaselineInput, BaselineOutput, Run


def runs(module: str, name: str, *, seeded: bool = False) -> Run:
    """Return a detector of pyod as a baseline.

    Args:
        module: below `pyod.models`.
        name: of the class in it.
        seeded: whether the class takes a `random_state`.
    """

    def run(images: BaselineInput) -> BaselineOutput:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make = getattr(importlib.import_module(f"pyod.models.{module}"), name)
            detector = make(random_state=images.seed) if seeded else make()
            detector.fit(images.pooled)
        return BaselineOutput(
            scores=np.asarray(detector.decision_scores_, dtype=np.float64), flagged=np.asarray(detector.labels_) == 1
        )

    return run
