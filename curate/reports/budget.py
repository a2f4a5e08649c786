"""What a review would find: the uncertain images, and expected precision by budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import pyarrow as pa

from curate.audit.decisions import Decision
from curate.audit.effective_verdicts import DECISION
from curate.records import FloatArray, Verdict
from curate.reports import plots
from curate.reports.numbers import counted, finite, percent

BUDGETS = (0.05, 0.1, 0.2)
"""Shares of the images that the table of a report names."""

MOST_POINTS = 400

DECIDING = (Decision.KEEP, Decision.REJECT)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is expected of reviewing the images of the highest scores.

    Attributes:
        share: of the images, 0-1.
        images: so many.
        precision: expected share of anomalous images among them, 0-1.
    """

    share: float
    images: int
    precision: float

    @property
    def expected(self) -> int:
        """The expected number of anomalous images among them."""
        return round(self.images * self.precision)


@dataclass(frozen=True, kw_only=True)
class BudgetPanel:
    """The figure of a report, and what it shows in words and numbers."""

    svg: str
    words: str
    budgets: Sequence[Budget]


def uncertain_rows(images: pa.Table) -> list[int]:
    """Return the rows of the uncertain images, the least confidence first; copies and decided images are left out."""
    columns = [images[name].to_pylist() for name in ("uncertain", "confidence", "verdict")]
    decided = set[int]()
    if DECISION in images.column_names:
        decided = {row for row, one in enumerate(images[DECISION].to_pylist()) if one in DECIDING}
    rows = [
        (confidence, row)
        for row, (uncertain, value, verdict) in enumerate(zip(*columns, strict=True))
        if uncertain
        and row not in decided
        and (confidence := finite(value)) is not None
        and verdict != Verdict.DUPLICATE
    ]
    return [row for _, row in sorted(rows)]


def look_first_words(images: pa.Table) -> str:
    """Return how many images are uncertain, and how many of them are expected to be defective; "" if none is."""
    rows = uncertain_rows(images)
    if not rows:
        return ""
    confidence = images["confidence"].to_numpy(zero_copy_only=False)[rows].astype(np.float64)
    expected = round(float((1 - confidence).sum()))
    if len(rows) == 1:
        return f"Look at 1 image first: it is defective with a probability of {percent(1 - confidence[0])}."
    verb = "is" if expected == 1 else "are"
    return f"Look at these {len(rows):,} images first: about {expected:,} {verb} expected to be defective."


def budget_panel(images: pa.Table) -> BudgetPanel | None:
    """Return the expected precision over the review budget; None where the audit has none."""
    precision = _by_falling_score(images)
    if len(precision) < 2:
        return None
    rows = np.unique(np.linspace(0, len(precision) - 1, min(len(precision), MOST_POINTS)).round().astype(np.int64))
    budgets = [_budget(precision, share) for share in BUDGETS]
    words = "Expected share of defective images among those of the highest scores: "
    words += "; ".join(
        f"{percent(one.share)} of the images ({counted(one.images, 'image')}): {percent(one.precision)}, about "
        f"{one.expected:,} defective"
        for one in budgets
    )
    return BudgetPanel(
        svg=plots.budget(((rows + 1) / len(precision)).astype(np.float32), precision[rows], "b-"),
        words=f"{words}.",
        budgets=budgets,
    )


def _by_falling_score(images: pa.Table) -> FloatArray:
    """Return the expected precision of the images that were judged, the highest score first."""
    columns = ("anomaly_score", "expected_precision")
    scores, precision = (images[name].to_numpy(zero_copy_only=False).astype(np.float32) for name in columns)
    there = np.isfinite(scores) & np.isfinite(precision)
    ordered: FloatArray = precision[there][np.argsort(-scores[there], kind="stable")]
    return ordered


def _budget(precision: FloatArray, share: float) -> Budget:
    count = max(1, ceil(round(share * len(precision), 6)))
    return Budget(share=share, images=count, precision=float(precision[count - 1]))
