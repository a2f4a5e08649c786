"""The registry of scorers: one entry a scorer, read by settings, audit, reports, bench and docs. Imports no torch.

To add a scorer, write its module in `curate/scores/` and add its entry to `SCORERS`; see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HYBRID = "hybrid"
"""The joined score, where views are named."""


@dataclass(frozen=True, kw_only=True)
class ScorerEntry:
    """One scorer.

    Attributes:
        name: of the scorer, in settings, options and reports; its column in `images.parquet` is `score_<name>`.
        about: what it measures, one phrase.
        make: "module:function" that makes the scorer from a `curate.scores.base.ScorerContext`.
        after: scorers that run before it, if they run at all: it uses their meta-set.
        weight: in the joined score, beside 1 of the best view; chosen by leave-one-set-out, see docs/experiments.
    """

    name: str
    about: str
    make: str
    after: tuple[str, ...] = ()
    weight: float = 1.0

    @property
    def column(self) -> str:
        """Its column in `images.parquet`."""
        return f"score_{self.name}"

    @property
    def comment(self) -> str:
        """What its column holds."""
        return f"{self.about}; higher is more anomalous; null if not scored"


SCORERS: dict[str, ScorerEntry] = {
    entry.name: entry
    for entry in (
        ScorerEntry(
            name="flow",
            about="negative log-likelihood under the flow",
            make="curate.scores.flow:make_flow",
            after=("student",),
            weight=0.25,
        ),
        ScorerEntry(
            name="student",
            about="disagreement with the student",
            make="curate.scores.student:make_student",
            weight=0.5,
        ),
        ScorerEntry(
            name="neighbours",
            about="patch distance to other images",
            make="curate.scores.neighbours:make_neighbours",
        ),
    )
}
"""All scorers by name, in the order of their columns."""

DEFAULT_SCORERS = ("flow", "student", "neighbours")
"""The views that a scan joins by default."""


def in_running_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return scorers so that each runs after those that it uses (`ScorerEntry.after`), else in the registry's order."""
    waiting = [name for name in SCORERS if name in set(names)]
    ordered: list[str] = []
    while waiting:
        ready = next(name for name in waiting if not set(SCORERS[name].after) & set(waiting))
        waiting.remove(ready)
        ordered.append(ready)
    return tuple(ordered)
