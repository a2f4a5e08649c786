"""What a check found: a result a rule, each with the groups it looked at and the images that break it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from curate.rules.choices import FailOn
from curate.rules.packs import Pack, Rule, Severity


class Outcome(StrEnum):
    """How a rule came out. `skipped`: not one row to judge, which is said and is no pass."""

    KEPT = "kept"
    BROKEN = "broken"
    SKIPPED = "skipped"


FAILING: Mapping[FailOn, frozenset[Severity]] = {
    FailOn.ERROR: frozenset((Severity.ERROR,)),
    FailOn.WARNING: frozenset((Severity.ERROR, Severity.WARNING)),
    FailOn.NEVER: frozenset(),
}


@dataclass(frozen=True, kw_only=True)
class Group:
    """A fact of one group of rows: all of them, or those of a class, split, ...

    Attributes:
        name: such as "label=good"; "" for all rows.
        value: of the fact; None if there is no row to judge.
        rows: how many were judged.
        outcome: whether the value keeps to the rule.
        accepted: whether the baseline accepts that it does not.
    """

    name: str
    value: float | None
    rows: int
    outcome: Outcome
    accepted: bool = False


@dataclass(frozen=True, kw_only=True)
class Offender:
    """An image that a broken rule points at.

    Attributes:
        path: in the dataset.
        content: what the baseline knows it by.
        group: as in `Group.name`.
        message: what was found about it, one sentence; "" if the rule alone says it.
    """

    path: str
    content: str
    group: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one rule came out. `accepted` counts the images that the baseline takes out of the fact."""

    rule: Rule
    outcome: Outcome
    groups: tuple[Group, ...]
    offenders: tuple[Offender, ...] = ()
    accepted: int = 0

    @property
    def broken_groups(self) -> tuple[Group, ...]:
        """The groups that break the rule."""
        return tuple(group for group in self.groups if group.outcome is Outcome.BROKEN and not group.accepted)

    @property
    def sentence(self) -> str:
        """Say how it came out, with the figures."""
        rule = self.rule
        if self.outcome is Outcome.SKIPPED:
            return f"{rule.fact_text}: no row to judge"
        return f"{rule.fact_text} is {self.figure}"

    @property
    def figure(self) -> str:
        """Say the worst figure and what it must be."""
        shown = self.broken_groups if self.outcome is Outcome.BROKEN else self.groups
        worst = self._worst(shown)
        if worst is None or worst.value is None:
            return f"must be {self.rule.comparison}"
        where = f" for {worst.name}" if worst.name and len(self.groups) > 1 else ""
        more = f" and {len(shown) - 1} more" if len(shown) > 1 and self.outcome is Outcome.BROKEN else ""
        return f"{number(worst.value)}{where}{more}, must be {self.rule.comparison}"

    def _worst(self, groups: tuple[Group, ...]) -> Group | None:
        known = [group for group in groups if group.value is not None]
        sign = -1 if self.rule.comparison.is_floor else 1
        return max(known, key=lambda group: sign * (group.value or 0.0), default=None)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found.

    Attributes:
        pack: what was asked.
        dataset: the root of the images, as the audit tells; "" if unknown.
        source: what was checked, as the user named it.
        images: files in the audit.
        results: one a rule, in the order of the codes.
        fail_on: from which severity on a broken rule fails the check.
        notes: what is to be said of the baseline.
    """

    pack: Pack
    dataset: str
    source: str
    images: int
    results: tuple[Result, ...]
    fail_on: FailOn
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a rule is broken that is severe enough."""
        return any(r.outcome is Outcome.BROKEN and r.rule.severity in FAILING[self.fail_on] for r in self.results)

    def count(self, outcome: Outcome) -> int:
        """Return how many rules came out like that."""
        return sum(result.outcome is outcome for result in self.results)

    def file(self, path: str) -> str:
        """Return where an image lies, as seen from the working folder if it lies below, else below its dataset."""
        if not self.dataset:
            return path
        place, here = PurePosixPath(self.dataset) / path, PurePosixPath(_here())
        return str(place.relative_to(here)) if place.is_relative_to(here) else path

    @property
    def facts(self) -> dict[str, float | None]:
        """The figures by code, of each rule's worst group, and by `CODE.group` where there are several."""
        facts: dict[str, float | None] = {}
        for result in self.results:
            for group in result.groups:
                facts[".".join(filter(None, (result.rule.code, group.name)))] = group.value
        return facts


def number(value: float) -> str:
    """Return a figure as a person reads it: whole numbers whole, others with four digits that count."""
    return f"{value:.0f}" if value == int(value) else f"{value:.4g}"


def _here() -> str:
    from pathlib import Path

    return Path.cwd().as_posix()


def summary(report: Report) -> dict[str, Any]:
    """Return the figures that close every format."""
    return {
        "pack": report.pack.name,
        "source": report.source,
        "images": report.images,
        "kept": report.count(Outcome.KEPT),
        "broken": report.count(Outcome.BROKEN),
        "skipped": report.count(Outcome.SKIPPED),
        "failed": report.failed,
    }
