"""An audit's tables row by row, and which of its images a report shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from curate.audit.effective_verdicts import DECISION
from curate.audit.maps import KEPT_MAPS
from curate.audit.parquet import Audit
from curate.audit.reviewed import ReviewCounts, review_counts
from curate.choices import PValues
from curate.findings import Code
from curate.records import FLAGGED, Verdict
from curate.reports.budget import uncertain_rows
from curate.reports.numbers import finite
from curate.reports.scored_views import COLUMN, view_names

NEAREST_SHOWN = 3
LEAST_KEPT = 12
"""Kept images that are shown at least, those of the highest scores; else as many as may be anomalous."""

ESTIMATE_ERROR = 0.01
"""Share of the images, 0-1, by which an estimated contamination may be wrong."""

Row = dict[str, Any]


@dataclass(frozen=True)
class AuditRows:
    """An audit's tables row by row, as the parts of a report need them."""

    audit: Audit
    reviewed: frozenset[str] = frozenset()
    """Paths of images that have a card in any case, beside those that were decided on."""

    @cached_property
    def images(self) -> list[Row]:
        """The rows of `images.parquet`, with the decisions."""
        return self._rows("images")

    @cached_property
    def decided(self) -> frozenset[str]:
        """The paths of images that were decided on, and of `reviewed`."""
        return self.reviewed | {image["path"] for image in self.images if image[DECISION]}

    @cached_property
    def review(self) -> ReviewCounts:
        """How many decisions the verdicts have."""
        return review_counts(self.audit)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each path."""
        return {image["path"]: row for row, image in enumerate(self.images)}

    @cached_property
    def findings(self) -> dict[str, list[Row]]:
        """The findings of each path, those that flag it first."""
        by_path = defaultdict[str, list[Row]](list)
        for finding in self._rows("findings"):
            by_path[finding["path"]].append(finding)
        return {path: sorted(findings, key=lambda f: f["score"] is None) for path, findings in by_path.items()}

    @cached_property
    def duplicates(self) -> list[Row]:
        """The rows of `duplicates.parquet`."""
        return self._rows("duplicates")

    @cached_property
    def rounds(self) -> dict[str, list[Row]]:
        """The rounds of each nominal set, in order."""
        by_set = defaultdict[str, list[Row]](list)
        for row in sorted(self._rows("rounds"), key=lambda r: (nominal_set(r), r["round"])):
            by_set[nominal_set(row)].append(row)
        return by_set

    @cached_property
    def maps(self) -> dict[str, Row]:
        """The anomaly map of each path that has one."""
        return {row["path"]: row for row in self._rows("maps")}

    @cached_property
    def flagged(self) -> list[int]:
        """The rows of the flagged images, most anomalous first."""
        rows = [row for row, image in enumerate(self.images) if image["verdict"] in FLAGGED]
        return sorted(rows, key=lambda row: (-(finite(self.images[row]["anomaly_score"]) or 0.0), row))

    @cached_property
    def kept_to_review(self) -> list[int]:
        """The rows of the kept images with the highest scores, the highest first; of classes that were judged.

        Before them the uncertain ones, `KEPT_MAPS` at most. Behind them those of small groups apart (SET004),
        `KEPT_MAPS` at most, and of `decided`, that have no card yet.
        """
        not_judged = {path for path, codes in self._codes.items() if Code.NOT_JUDGED in codes}
        judged = ((row, image) for row, image in enumerate(self.images) if image["path"] not in not_judged)
        kept = ((row, image) for row, image in judged if image["verdict"] == Verdict.KEEP)
        scored = [(score, row) for row, image in kept if (score := finite(image["anomaly_score"])) is not None]
        count = min(max(self.anomalies_not_flagged, LEAST_KEPT), KEPT_MAPS)
        uncertain = [row for row in self.uncertain if self.images[row]["verdict"] == Verdict.KEEP][:KEPT_MAPS]
        highest = [row for _, row in sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:count]]
        highest = list(dict.fromkeys([*uncertain, *highest]))
        others = [*self.in_small_groups[:KEPT_MAPS], *(path for path in sorted(self.decided) if path in self.row_of)]
        shown = {*highest, *self.flagged}
        return [*highest, *(row for row in dict.fromkeys(self.row_of[path] for path in others) if row not in shown)]

    @cached_property
    def uncertain(self) -> list[int]:
        """The rows of the uncertain images, the least confidence first."""
        return uncertain_rows(self.audit.tables["images"])

    @cached_property
    def look_first(self) -> list[int]:
        """Those of them that have a card."""
        shown = set(self.shown)
        return [row for row in self.uncertain if row in shown]

    @cached_property
    def in_small_groups(self) -> list[str]:
        """The paths of images in small groups apart, in the order of the audit."""
        return [path for path, codes in self._codes.items() if Code.SMALL_GROUP_APART in codes]

    @cached_property
    def anomalies_not_flagged(self) -> int:
        """How many more images than are flagged the estimated contamination stands for; 0 within its error."""
        estimate = finite((self.audit.run.get("contamination") or {}).get("estimate")) or 0.0
        scored = sum(finite(image["anomaly_score"]) is not None for image in self.images)
        acquisition_outliers = sum(
            f["code"] == Code.ACQUISITION_OUTLIER and f["score"] is not None
            for findings in self.findings.values()
            for f in findings
        )
        more = estimate * scored - (len(self.flagged) - acquisition_outliers)  # the estimate does not count those
        return max(1, round(more)) if more > ESTIMATE_ERROR * scored else 0

    @property
    def shown(self) -> list[int]:
        """The rows of the images that have a card, and can be decided on: the flagged ones, then the kept ones."""
        return [*self.flagged, *self.kept_to_review]

    @cached_property
    def views(self) -> tuple[str, ...]:
        """The scorers that gave a score."""
        return view_names(self.audit.tables["images"])

    @cached_property
    def scores(self) -> dict[str, dict[str, list[float]]]:
        """The anomaly scores of each nominal set, by verdict group: "kept" and "flagged"."""
        by_set: dict[str, dict[str, list[float]]] = {}
        for image in self.images:
            score = finite(image["anomaly_score"])
            if score is not None:
                group = "flagged" if image["verdict"] in FLAGGED else "kept"
                by_set.setdefault(nominal_set(image), {"kept": [], "flagged": []})[group].append(score)
        return dict(sorted(by_set.items()))

    @cached_property
    def medians(self) -> dict[tuple[str, str], float]:
        """The median score of each nominal set and view."""
        scores = defaultdict[tuple[str, str], list[float]](list)
        for image in self.images:
            for view in self.views:
                score = finite(image[f"{COLUMN}{view}"])
                if score is not None:
                    scores[nominal_set(image), view].append(score)
        return {key: float(np.median(values)) for key, values in scores.items()}

    def nearest(self, row: int) -> list[int]:
        """Return the rows of the kept images nearest to one, nearest first."""
        paths = self.images[row].get("nearest") or []
        return [self.row_of[path] for path in paths[:NEAREST_SHOWN] if path in self.row_of]

    @cached_property
    def _codes(self) -> dict[str, frozenset[str]]:
        return {path: frozenset(f["code"] for f in findings) for path, findings in self.findings.items()}

    def _rows(self, name: str) -> list[Row]:
        return self.audit.tables[name].to_pylist() if name in self.audit.tables else []


def p_values(audit: Audit, name: str) -> str:
    """Return what p- and q-values of a nominal set rest on, a value of `PValues`; model-based in older audits."""
    by_set = audit.run.get("p_values")
    value = by_set.get(name) if isinstance(by_set, Mapping) else None
    return value if value in tuple(PValues) else PValues.MODEL_BASED.value


def nominal_set(row: Row) -> str:
    """Return the nominal set of an image or a round: a label, or a subpopulation within it."""
    return str(row["nominal_set"])
