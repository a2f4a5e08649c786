"""The results of a check: of each rule the groups of rows that it was evaluated on, and the images that break it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from curate.audit.reviewed import ReviewCounts
from curate.findings import Severity
from curate.rules.choices import FailOn
from curate.rules.locations import joined
from curate.rules.rule import Fact, Pack, Rule


class RuleStatus(StrEnum):
    """Whether a rule is kept. `skipped`: there was nothing to judge, which is reported and is not a pass."""

    KEPT = "kept"
    BROKEN = "broken"
    SKIPPED = "skipped"


OUTCOMES: Mapping[RuleStatus, str] = {
    RuleStatus.KEPT: "pass",
    RuleStatus.BROKEN: "fail",
    RuleStatus.SKIPPED: "skipped",
}
"""What a person reads of a rule: images are kept, rules pass."""

SHARE_COLUMNS = frozenset(
    ("share", "contamination", "contamination_low", "contamination_high", "contamination_undecided")
)
"""Columns of the tables of rules that hold shares, 0-1."""

FAILING: Mapping[FailOn, frozenset[Severity]] = {
    FailOn.ERROR: frozenset((Severity.ERROR,)),
    FailOn.WARNING: frozenset((Severity.ERROR, Severity.WARNING)),
    FailOn.NEVER: frozenset(),
}
LIMIT_WORDS: Mapping[str, str] = {
    "<=": "the limit is",
    ">=": "the minimum is",
    "<": "must be less than",
    ">": "must be more than",
    "==": "must be",
}


@dataclass(frozen=True, kw_only=True)
class Group:
    """The fact of one group of rows: all of them, or those of a class, a split, ...

    Attributes:
        name: such as "label=good"; "" for all rows.
        value: of the fact; None if there is no row to judge.
        rows: how many were evaluated.
        status: whether the value keeps the rule.
        accepted: whether the baseline accepts that it does not.
        unjudged: how many of the rows are of images that were not judged, if the rule reads what judging fills.
    """

    name: str
    value: float | None
    rows: int
    status: RuleStatus
    accepted: bool = False
    unjudged: int = 0


@dataclass(frozen=True, kw_only=True)
class Offender:
    """An image that breaks a rule.

    Attributes:
        path: in the dataset.
        content: what identifies it in the baseline.
        group: as in `Group.name`.
        message: of its finding; "" if it has none.
    """

    path: str
    content: str
    group: str
    message: str


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """The result of one rule.

    Attributes:
        rule: what was checked.
        status: whether it is kept.
        groups: of rows.
        offenders: images that break it.
        accepted: how many images the baseline takes out of the fact.
        reason: why it is skipped although there are rows; "" otherwise.
        estimate: of a rule on the contamination, the estimate with its interval; "" otherwise.
    """

    rule: Rule
    status: RuleStatus
    groups: tuple[Group, ...]
    offenders: tuple[Offender, ...] = ()
    accepted: int = 0
    reason: str = ""
    estimate: str = ""

    def skipped(self, reason: str) -> RuleResult:
        """Return the result of a rule that cannot be said to be kept."""
        groups = tuple(replace(group, value=None, status=RuleStatus.SKIPPED) for group in self.groups)
        return replace(self, status=RuleStatus.SKIPPED, groups=groups, reason=reason)

    @property
    def broken_groups(self) -> tuple[Group, ...]:
        """The groups that break the rule."""
        return tuple(group for group in self.groups if group.status is RuleStatus.BROKEN and not group.accepted)

    @property
    def sentence(self) -> str:
        """The worst value and the limit in words, to be read after the rule's title."""
        if self.reason:
            return self.reason
        shown = self.broken_groups if self.status is RuleStatus.BROKEN else self.groups
        worst = self._worst(shown)
        if worst is None:
            return "no row to judge"
        where = f" for {worst.name}" if worst.name and len(self.groups) > 1 else ""
        more = f" and {len(shown) - 1} more" if len(shown) > 1 and self.status is RuleStatus.BROKEN else ""
        estimate = f" ({self.estimate})" if self.estimate else ""
        return f"{self._measured(worst)}{estimate}{where}{more}; {self._limit}"

    def _worst(self, groups: tuple[Group, ...]) -> Group | None:
        measured = [group for group in groups if group.value is not None]
        sign = -1 if self.rule.comparison.is_floor else 1
        return max(measured, key=lambda group: sign * (group.value or 0.0), default=None)

    def _measured(self, group: Group) -> str:
        value = group.value or 0.0
        if self.rule.fact is Fact.SHARE:
            return f"{percent(value)} ({round(value * group.rows)} of {group.rows})"
        return self._shown(value)

    def _shown(self, value: float) -> str:
        of_shares = self.rule.of.strip() in SHARE_COLUMNS and self.rule.fact in (Fact.MIN, Fact.MAX, Fact.MEAN)
        return percent(value) if self.rule.fact is Fact.SHARE or of_shares else number(value)

    @property
    def _limit(self) -> str:
        comparison = self.rule.comparison
        return f"{LIMIT_WORDS[comparison.sign]} {self._shown(comparison.limit)}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The results of a check.

    Attributes:
        pack: the pack that was checked.
        below_here: path of the dataset below the working folder, as the user named it; None if it lies elsewhere.
        below_checkout: the same below the repository's root.
        source: what was checked, as the user named it.
        images: files in the audit.
        results: one for each rule, in the order of the codes.
        fail_on: from which severity on a broken rule fails the check.
        notes: sentences about entries of the baseline.
        review: how many decisions of people the verdicts have.
        audit: the folder of the audit, as the user named it; "" if it was not kept.
    """

    pack: Pack
    below_here: str | None
    below_checkout: str | None
    source: str
    images: int
    results: tuple[RuleResult, ...]
    fail_on: FailOn
    notes: tuple[str, ...] = ()
    review: ReviewCounts = field(default_factory=ReviewCounts)
    audit: str = ""

    @property
    def failed(self) -> bool:
        """Whether a rule is broken that is severe enough."""
        return any(r.status is RuleStatus.BROKEN and r.rule.severity in FAILING[self.fail_on] for r in self.results)

    def count(self, status: RuleStatus) -> int:
        """Return how many rules have a status."""
        return sum(result.status is status for result in self.results)

    def file(self, path: str) -> str:
        """Return the path of an image, from the working folder if it lies below that, otherwise from its dataset."""
        return joined(self.below_here, path)

    def location(self, path: str = "") -> str:
        """Return where an image lies in the repository, for CI; without a path the place of the whole dataset."""
        return joined(self.below_checkout, path) if path else self.below_checkout or "."

    @property
    def facts(self) -> dict[str, float | None]:
        """The values by code, and by `CODE.group` where a rule is evaluated per group."""
        facts: dict[str, float | None] = {}
        for result in self.results:
            for group in result.groups:
                facts[".".join(filter(None, (result.rule.code, group.name)))] = group.value
        return facts


def number(value: float) -> str:
    """Return a number for a person to read: whole numbers whole, others with four significant digits."""
    return f"{value:.0f}" if value == int(value) else f"{value:.4g}"


def percent(share: float) -> str:
    """Return a share, 0-1, in per cent for a person to read."""
    return f"{number(100 * share)} %"


def summary(report: Report) -> dict[str, Any]:
    """Return the counts that every machine-readable format ends with."""
    return {
        "pack": report.pack.name,
        "source": report.source,
        "images": report.images,
        "kept": report.count(RuleStatus.KEPT),
        "broken": report.count(RuleStatus.BROKEN),
        "skipped": report.count(RuleStatus.SKIPPED),
        "failed": report.failed,
        "review": asdict(report.review),
    }
