"""The check of an audit against the rules of a pack."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from curate.audit.parquet import Audit
from curate.audit.reviewed import review_counts
from curate.errors import CouldNotFinish, InputError
from curate.findings import area_of
from curate.rules.baseline import SET, Baseline, Entry
from curate.rules.choices import FailOn
from curate.rules.engine import Connection, columns_of, contamination, engine, fetch, fill_names, quoted
from curate.rules.expressions import columns_read
from curate.rules.locations import prefix_below, repository
from curate.rules.results import Group, Offender, Report, RuleResult, RuleStatus, percent
from curate.rules.rule import Fact, Pack, Rule
from curate.rules.unjudged import asks_for_unjudged, holds_whatever, reads_judgement, unknown_rows
from curate.rules.unmeasured import Column, not_judged_words, unmeasured

ACCEPTED = "accepted_contents"
AGGREGATES = {
    Fact.MIN: "min(value)",
    Fact.MAX: "max(value)",
    Fact.MEAN: "avg(value)",
    Fact.SUM: "sum(value)",
    Fact.DISTINCT: "count(DISTINCT value)",
}


def evaluate(
    audit: Audit,
    pack: Pack,
    rules: Sequence[Rule],
    *,
    source: str = "",
    baseline: Baseline | None = None,
    fail_on: FailOn = FailOn.ERROR,
) -> Report:
    """Check an audit against rules.

    Args:
        audit: as read, or from an integrity scan.
        pack: where the rules come from.
        rules: those of the pack to check, see `packs.select`.
        source: what was checked, as the user named it.
        baseline: findings that are accepted.
        fail_on: from which severity on a broken rule fails the check.

    Raises:
        InputError: a rule reads a column or table that the audit does not have.
        CouldNotFinish: the audit holds no image, no rule had a row to judge, or the rules took too long.
    """
    images = audit.tables["images"].num_rows
    if not images:
        raise CouldNotFinish(f"{source or audit.path}: the audit holds no image, so there is nothing to check")
    used = set[tuple[str, str, str]]()
    results = tuple(_results(audit, pack, rules, baseline=baseline, used=used))
    if all(result.status is RuleStatus.SKIPPED for result in results):
        reason = next((f": {result.reason}" for result in results if result.reason), "")
        raise CouldNotFinish(f"{source or audit.path}: no rule of {pack.name} has a row to judge{reason}")
    return Report(
        pack=pack,
        below_here=prefix_below(Path(os.path.realpath(Path.cwd())), audit.run),
        below_checkout=prefix_below(repository(), audit.run),
        source=source,
        images=images,
        results=results,
        fail_on=fail_on,
        notes=baseline.notes([rule.code for rule in rules], used) if baseline else (),
        review=review_counts(audit),
    )


def _results(
    audit: Audit, pack: Pack, rules: Sequence[Rule], *, baseline: Baseline | None, used: set[tuple[str, str, str]]
) -> Iterator[RuleResult]:
    """Yield the result of each rule; the keys of the entries of the baseline that accept something go into `used`."""
    fingerprint = str(audit.run.get("fingerprint", ""))
    unknown = unmeasured(audit)
    with engine(audit) as con:
        for rule in rules:
            accepted = baseline.accepted(rule.code) if baseline else {}
            check = _RuleCheck(rule=rule, pack=pack, con=con, accepted=accepted, fingerprint=fingerprint)
            result = replace(check.result(used), estimate=_estimate(audit, rule))
            told = result.status is RuleStatus.BROKEN or result.reason
            reason = "" if told else check.reason(unknown)
            yield result.skipped(reason) if reason else result


def _estimate(audit: Audit, rule: Rule) -> str:
    """Return the estimated contamination with its interval for a rule on one of its bounds; "" for another rule."""
    estimate, low, high = contamination(audit.run)
    bounds = ("contamination_low", "contamination_high", "contamination_undecided")
    if rule.of.strip() not in bounds or None in (estimate, low, high):
        return ""
    shown, least, most = (percent(round(value or 0.0, 3)) for value in (estimate, low, high))
    return f"the estimate is {shown}, {least} to {most}"


@dataclass(kw_only=True)
class _RuleCheck:
    """The queries of one rule. Its expressions were checked when the pack was loaded."""

    rule: Rule
    pack: Pack
    con: Connection
    accepted: dict[tuple[str, str], Entry]
    fingerprint: str

    @cached_property
    def of_images(self) -> bool:
        """Whether each row of the table belongs to one image."""
        return "content" in columns_of(self.con, self.rule.table)

    @cached_property
    def unknown(self) -> str:
        """The condition of the rows whose value is unknown, since their image was not judged; "false" if none is."""
        if "verdict" not in columns_of(self.con, "images") or asks_for_unjudged(self.rule, self.con):
            return "false"
        if not any(reads_judgement(self.rule, text, self.con) for text in (self.rule.of, self.rule.where)):
            return "false"
        return unknown_rows(self.rule, self.con) if self.rule.table == "images" else "false"

    @cached_property
    def where(self) -> str:
        """The condition of the rows that are evaluated; an unknown row may be one of them."""
        if self.unknown != "false" and reads_judgement(self.rule, self.rule.where, self.con):
            return f"({self.rule.where}\n) OR {self.unknown}"
        return self.rule.where

    def result(self, used: set[tuple[str, str, str]]) -> RuleResult:
        """Evaluate the rule; see `_results` for `used`."""
        self._accept()
        try:
            groups = tuple(self._group(row) for row in fetch(self.con, self._facts()))
            broken = [g.name for g in groups if g.status is RuleStatus.BROKEN and not g.accepted]
            accepted = self._accepted_contents() if self.of_images and self.accepted else []
            offenders = self._offenders(broken) if broken and self.of_images else ()
        except (duckdb.InterruptException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error as error:
            raise self._wrong(error) from error
        used.update((self.rule.code, content, "") for content in accepted)
        used.update((self.rule.code, SET + self.fingerprint, g.name) for g in groups if g.accepted)
        status, unjudged = _status(groups), sum(group.unjudged for group in groups)
        reason = ""
        if status is not RuleStatus.BROKEN and any(g.unjudged and g.status is RuleStatus.SKIPPED for g in groups):
            status, reason = RuleStatus.SKIPPED, not_judged_words(unjudged, sum(group.rows for group in groups))
        return RuleResult(
            rule=self.rule,
            status=status,
            groups=groups,
            offenders=offenders,
            accepted=len(accepted),
            reason=reason,
        )

    def reason(self, unknown: Mapping[Column, str]) -> str:
        """Return why the rule cannot be said to be kept, "" if it can.

        Args:
            unknown: as `unmeasured` returns it.
        """
        read = (
            {name.lower() for name in self.rule.per}
            | columns_read(self.rule.of, self.con)
            | columns_read(self.rule.where, self.con)
        )
        findings = self.rule.table == "findings" and not asks_for_unjudged(self.rule, self.con)
        if findings and any(reads_judgement(self.rule, text, self.con) for text in (self.rule.of, self.rule.where)):
            return unknown.get(("run", "contamination"), "")
        return next((why for (table, name), why in unknown.items() if table == self.rule.table and name in read), "")

    def _accept(self) -> None:
        contents = [content for content, _ in self.accepted if not content.startswith(SET)]
        fill_names(self.con, ACCEPTED, "content", names=contents)

    def _wrong(self, error: duckdb.Error) -> InputError:
        reason = str(error).strip().splitlines()[0]
        place = self.pack.place(self.rule.code, "of")
        return InputError(
            f"{place}: rule {self.rule.code}: {self.rule.fact_text!r} cannot be evaluated on this audit: {reason}"
        )

    def _rows(self) -> str:
        """Return the query of the rows that are evaluated: their group, value, and whether they are accepted."""
        rule = self.rule
        image = "path, content" if self.of_images else "NULL AS path, NULL AS content"
        accepted = f"content IN (SELECT content FROM {ACCEPTED})" if self.of_images and self.accepted else "false"
        value = f"({rule.of}\n)"
        if self.unknown != "false":
            value = f"CASE WHEN {self.unknown} THEN NULL ELSE {value} END"
        return (
            f"SELECT {image}, {self._name()} AS group_name, {value} AS value, {accepted} AS accepted, "
            f"{self.unknown} AND NOT {accepted} AS unknown FROM {quoted(rule.table)} WHERE ({self.where}\n)"
        )

    def _name(self) -> str:
        parts = [f"'{column}=' || coalesce(CAST({quoted(column)} AS VARCHAR), 'null')" for column in self.rule.per]
        return " || ' ' || ".join(parts) if parts else "''"  # checked to be columns: no quote is in them

    def _facts(self) -> str:
        """Return the query of one row per group: name, value, rows, and how many of them are unknown."""
        match self.rule.fact:
            case Fact.COUNT:
                fact = "count(*) FILTER (value AND NOT accepted)"
            case Fact.SHARE:
                holds = "value OR accepted" if self.rule.comparison.is_floor else "value AND NOT accepted"
                fact = f"avg(CASE WHEN {holds} THEN 1.0 ELSE 0.0 END)"
            case other:
                fact = f"{AGGREGATES[other]} FILTER (NOT accepted)"
        grouped = "GROUP BY group_name ORDER BY group_name" if self.rule.per else ""
        name = "group_name" if self.rule.per else "''"
        counts = "count(*), count(*) FILTER (unknown)"
        return f"SELECT {name}, CAST({fact} AS DOUBLE), {counts} FROM ({self._rows()}) {grouped}"

    def _group(self, row: tuple[Any, ...]) -> Group:
        name, value, rows, unjudged = str(row[0]), row[1], int(row[2]), int(row[3])
        if value is None or value != value:  # noqa: PLR0124  NaN
            return Group(name=name, value=None, rows=rows, status=RuleStatus.SKIPPED, unjudged=unjudged)
        kept = self.rule.comparison.holds(value)
        if unjudged:
            holds = holds_whatever(self.rule, value, unknown=unjudged, rows=rows)
            if holds is None:
                return Group(name=name, value=None, rows=rows, status=RuleStatus.SKIPPED, unjudged=unjudged)
            kept = holds
        accepted = not kept and (SET + self.fingerprint, name) in self.accepted
        status = RuleStatus.KEPT if kept else RuleStatus.BROKEN
        return Group(name=name, value=value, rows=rows, status=status, accepted=accepted, unjudged=unjudged)

    def _offending(self) -> str:
        """Return the condition of the rows that push the fact over its limit; "false" where no row alone does."""
        rule, comparison = self.rule, self.rule.comparison
        match rule.fact:
            case Fact.COUNT:
                return "false" if comparison.is_floor else "value"
            case Fact.SHARE:
                return "NOT coalesce(value, unknown)" if comparison.is_floor else "value"
            case Fact.MAX if not comparison.is_floor:
                return f"NOT (value {comparison.sign} {comparison.limit})"
            case Fact.MIN if comparison.is_floor:
                return f"NOT (value {comparison.sign} {comparison.limit})"
        return "false"

    def _accepted_contents(self) -> list[str]:
        query = f"SELECT DISTINCT content FROM ({self._rows()}) WHERE accepted AND {self._offending()}"
        return [str(row[0]) for row in fetch(self.con, query)]

    def _offenders(self, groups: Sequence[str]) -> tuple[Offender, ...]:
        """Return the images that break the rule in broken groups, by path, with the finding nearest to the rule."""
        fill_names(self.con, "broken_groups", "group_name", names=groups)
        query = f"""
WITH guilty AS (SELECT DISTINCT path, content, group_name FROM ({self._rows()})
  WHERE {self._offending()} AND NOT accepted AND group_name IN (SELECT group_name FROM broken_groups))
SELECT g.path, any_value(g.content), any_value(g.group_name),
  arg_min(f.message, (rtrim(f.code, '0123456789') <> ?, f.code)) FROM guilty g LEFT JOIN arrow_findings f USING (path)
GROUP BY g.path ORDER BY g.path"""
        rows = fetch(self.con, query, [area_of(self.rule.code)])
        return tuple(Offender(path=p, content=c, group=g, message=m or "") for p, c, g, m in rows)


def _status(groups: Sequence[Group]) -> RuleStatus:
    if any(group.status is RuleStatus.BROKEN and not group.accepted for group in groups):
        return RuleStatus.BROKEN
    if all(group.status is RuleStatus.SKIPPED for group in groups):
        return RuleStatus.SKIPPED
    return RuleStatus.KEPT


def accept_all(report: Report, audit: Audit, old: Baseline, *, reason: str, owner: str, days: int) -> tuple[Entry, ...]:
    """Return the entries of a baseline that accepts everything that breaks a rule in a report.

    Entries of rules that were not checked stay. Of rules that were, entries that still accept something stay, with
    their reason and owner; those that had expired are renewed.

    Args:
        report: of a check without a baseline.
        reason, owner: of new entries.
        days: until new and renewed entries expire.
    """
    expires = (datetime.now(UTC) + timedelta(days=days)).date()
    checked = {result.rule.code for result in report.results}
    old_entries = {entry.key: entry for entry in old.entries}
    content = SET + str(audit.run.get("fingerprint", ""))
    entries = [entry for entry in old.entries if entry.rule not in checked]
    for result in report.results:
        subjects = [{"content": o.content, "path": o.path} for o in result.offenders]
        if not subjects:
            subjects = [{"content": content, "group": group.name} for group in result.broken_groups]
        for subject in subjects:
            new = Entry(rule=result.rule.code, reason=reason, owner=owner, expires=expires, **subject)
            before = old_entries.get(new.key)
            if before is None:
                entries.append(new)
            else:
                renewed = before.expires if before.expires >= old.today else expires
                entries.append(before.model_copy(update={"path": new.path, "expires": renewed}))
    return tuple(entries)
