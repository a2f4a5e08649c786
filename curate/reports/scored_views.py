"""The views of one image: its score in each, beside how the view judged the image's nominal set.

A view is a `score_*` column of `images.parquet`, so a scorer that somebody adds appears here by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate.audit.parquet import Audit
from curate.audit.views import View
from curate.reports.numbers import finite

COLUMN = "score_"


@dataclass(frozen=True, kw_only=True)
class ScoredView(View):
    """A view of the image's nominal set, with the image's score on the view's own scale."""

    score: float

    @property
    def above_threshold(self) -> bool:
        """Tell whether the view takes the image for anomalous."""
        return self.threshold is not None and self.score > self.threshold


def view_names(images: pa.Table) -> tuple[str, ...]:
    """Return the views that scored any image of `images.parquet`, in the order of the columns."""
    columns = [name for name in images.column_names if name.startswith(COLUMN)]
    return tuple(name.removeprefix(COLUMN) for name in columns if images[name].null_count < images.num_rows)


def scored_views(audit: Audit, image: Mapping[str, Any]) -> tuple[ScoredView, ...]:
    """Return the views that scored an image, a row of `images.parquet`; thresholds and weights are finite or None."""
    views = audit.views.get(str(image["nominal_set"]), {})
    scores = {name.removeprefix(COLUMN): finite(value) for name, value in image.items() if name.startswith(COLUMN)}
    return tuple(_scored(views.get(name), name, score) for name, score in scores.items() if score is not None)


def _scored(view: View | None, name: str, score: float) -> ScoredView:
    if view is None:
        return ScoredView(name=name, threshold=None, weight=None, abstains=False, reason="", score=score)
    return ScoredView(
        name=name,
        threshold=finite(view.threshold),
        weight=finite(view.weight),
        abstains=view.abstains,
        reason=view.reason,
        score=score,
    )
