"""How far people have reviewed an audit, and what they decided."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from curate.audit.decisions import Decided, Decision, Decisions
from curate.audit.effective_verdicts import DECISION, EFFECTIVE_VERDICT
from curate.audit.parquet import Audit
from curate.records import CLEAN, FLAGGED, Verdict

SETTLED = (Decision.KEEP, Decision.REJECT)


@dataclass(frozen=True, kw_only=True)
class ReviewCounts:
    """How many decisions agree with the verdicts.

    Attributes:
        confirmed: images that the scan did not keep, and a person rejected.
        overruled: images that the scan did not keep, and a person kept.
        rejected: images that the scan kept, unjudged ones too, and a person rejected.
        unsure: flagged images on which a person could not decide.
        undecided: flagged images that nobody decided on; the unsure ones are not among them.
    """

    confirmed: int = 0
    overruled: int = 0
    rejected: int = 0
    unsure: int = 0
    undecided: int = 0

    @property
    def open(self) -> int:
        """How many images a person must still decide on."""
        return self.unsure + self.undecided

    @property
    def words(self) -> str:
        """Such as "14 confirmed, 2 overruled, 3 undecided"; "" if nobody decided anything."""
        if not (self.confirmed or self.overruled or self.rejected or self.unsure):
            return ""
        others = (
            (self.rejected, f"{self.rejected} kept {'image' if self.rejected == 1 else 'images'} rejected"),
            (self.unsure, f"{self.unsure} unsure"),
            (self.undecided, f"{self.undecided} undecided"),
        )
        shown = (words for count, words in others if count)
        return ", ".join((f"{self.confirmed} confirmed, {self.overruled} overruled", *shown))


def review_counts(audit: Audit) -> ReviewCounts:
    """Count the decisions on an audit's images, as it was read."""
    images = audit.tables["images"]
    names = ("verdict", EFFECTIVE_VERDICT, DECISION)
    if not set(names) <= set(images.column_names):
        return ReviewCounts()
    columns = (images[name].to_pylist() for name in names)
    counts = Counter[str](_outcome(*row) for row in zip(*columns, strict=True))
    return ReviewCounts(**{name: count for name, count in counts.items() if name})


def _outcome(verdict: str, effective: str, decision: str) -> str:
    """Return what an image counts as: the name of an attribute of `ReviewCounts`, "" for none."""
    if decision not in SETTLED:
        return ("unsure" if decision == Decision.UNSURE else "undecided") if verdict in FLAGGED else ""
    if verdict in CLEAN:
        return "rejected" if effective == Verdict.REJECTED else ""
    return {Verdict.REJECTED.value: "confirmed", Verdict.KEEP.value: "overruled"}.get(effective, "")


def decisions_of(audit: Audit) -> dict[str, Decided]:
    """Return the decisions that hold for an audit's images now, by path; withdrawn ones are left out.

    Raises:
        InputError: as for `Decisions.all`.
    """
    if audit.path is None:
        return {}
    decisions = Decisions(audit.path, hashes_of(audit)).all()
    return {path: decided for path, decided in decisions.items() if decided.decision}


def hashes_of(audit: Audit) -> dict[str, str]:
    """Return the sha256 of every image by its path."""
    images = audit.tables["images"]
    return dict(zip(images["path"].to_pylist(), images["sha256"].to_pylist(), strict=True))
