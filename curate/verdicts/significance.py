"""How sure a verdict is: p-values, q-values and the confidence that an image is nominal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curate.records import FloatArray
from curate.scores.by_label import label_rows

if TYPE_CHECKING:
    from curate.verdicts.fence import Fence
    from curate.verdicts.mixture import Doubles


@dataclass(frozen=True, kw_only=True)
class Significance:
    """What stands behind N verdicts, each image within its own nominal set.

    Attributes:
        p_value: (N,) how often a nominal image scores as high, 0-1.
        q_value: (N,) the expected share of nominal images among all that score as high, 0-1.
        confidence: (N,) the probability that the image is nominal, 0-1.
    """

    p_value: FloatArray
    q_value: FloatArray
    confidence: FloatArray


def q_values(p: Doubles) -> Doubles:
    """Return the smallest false discovery rate at which each test is rejected, (N,), 0-1.

    Source: Benjamini and Hochberg 1995, §3.1, in the form of adjusted p-values.
    """
    order = np.argsort(p, kind="stable")
    raw = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return adjusted


def significance(values: FloatArray, labels: Sequence[str], fences: dict[str, Fence]) -> Significance:
    """Weigh every image against the mixture of its class.

    Args:
        values: (N,) the scores that were fenced.
        labels: N class names.
        fences: of each class. Where nothing could be judged, all three are 1: nothing speaks against an image.
    """
    p, q, confidence = (np.ones(len(values)) for _ in range(3))
    for label, rows in label_rows(labels).items():
        mixture = fences[label].mixture
        if mixture is None:
            continue
        own = values[rows].astype(np.float64)
        p[rows] = mixture.p_value(own)
        q[rows] = q_values(p[rows])
        confidence[rows] = mixture.confidence(own)
    return Significance(
        p_value=p.astype(np.float32), q_value=q.astype(np.float32), confidence=confidence.astype(np.float32)
    )
