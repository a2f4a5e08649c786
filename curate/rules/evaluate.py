"""An audit held to the rules of a pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import duckdb

from curate.errors import CouldNotFinish, InputError
from curate.reports.parquet import Audit
from curate.rules.baseline import Baseline, Entry
from curate.rules.choices import FailOn
from curate.rules.engine import Connection, ask, columns_of, engine, fill_names, quoted
from curate.rules.packs import Fact, Pack, Rule
from curate.rules.results import Group, Offender, Outcome, Report, Result

ACCEPTED = "accepted_contents"
SET = "set:"
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
    """Hold an audit to rules.

    Args:
        audit: as read, or from an integrity scan.
        pack: where the rules come from.
        rules: those of the pack to check, see `packs.select`.
        source: what was checked, as the user named it.
        baseline: findings that are accepted.
        fail_on: from which severity on a broken rule fails the check.

    Raises:
        InputError: a rule asks for a column or table that the audit does not have.
        CouldNotFinish: the audit holds no image, no rule had a row to judge, or the rules took too long.
    """
    images = audit.tables["images"].num_rows
    if not images:
        raise CouldNotFinish(f"{source or audit.path}: the audit holds no image, so there is nothing to check")
    known = baseline.accepted if baseline else lambda code: {}
    used = set[tuple[str, str, str]]()
    with engine(audit) as con:
        asked = [_Question(rule, pack, con, known(rule.code), str(audit.run.get("fingerprint", ""))) for rule in rules]
        results = tuple(question.answer(used) for question in asked)
    if all(result.outcome is Outcome.SKIPPED for result in results):
        raise CouldNotFinish(f"{source or audit.path}: not one rule of {pack.name} found a row to judge")
    return Report(
        pack=pack,
        dataset=str(audit.run.get("dataset", "")),
        source=source,
        images=images,
        results=results,
        fail_on=fail_on,
        notes=baseline.notes([rule.code for rule in rules], used) if baseline else (),
    )


@dataclass
class _Question:
    """One rule put to the tables. The rule's expressions were checked when its pack was loaded."""

    rule: Rule
    pack: Pack
    con: Connection
    accepted: dict[tuple[str, str], Entry]
    fingerprint: str

    @cached_property
    def of_images(self) -> bool:
        """Whether each row of the table belongs to one image."""
        return "content" in columns_of(self.con, self.rule.table)

    def answer(self, used: set[tuple[str, str, str]]) -> Result:
        self._accept()
        try:
            groups = tuple(self._group(row) for row in ask(self.con, self._facts()))
            broken = [g.name for g in groups if g.outcome is Outcome.BROKEN and not g.accepted]
            taken = self._taken() if self.of_images and self.accepted else []
            offenders = self._offenders(broken) if broken and self.of_images else ()
        except (duckdb.InterruptException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error as error:
            raise self._wrong(error) from error
        used.update((self.rule.code, content, "") for content in taken)
        used.update((self.rule.code, SET + self.fingerprint, g.name) for g in groups if g.accepted)
        return Result(rule=self.rule, outcome=_outcome(groups), groups=groups, offenders=offenders, accepted=len(taken))

    def _accept(self) -> None:
        contents = [content for content, _ in self.accepted if not content.startswith(SET)]
        fill_names(self.con, ACCEPTED, "content", contents)

    def _wrong(self, error: duckdb.Error) -> InputError:
        said = str(error).strip().splitlines()[0]
        place = self.pack.place(self.rule.code, "of")
        return InputError(f"{place}: rule {self.rule.code}: the audit does not answer {self.rule.fact_text!r}: {said}")

    def _rows(self) -> str:
        """Return the query of the rows that are judged: their group, value, and whether they are accepted."""
        rule = self.rule
        image = "path, content" if self.of_images else "NULL AS path, NULL AS content"
        taken = f"content IN (SELECT content FROM {ACCEPTED})" if self.of_images and self.accepted else "false"
        return (
            f"SELECT {image}, {self._name()} AS group_name, ({rule.of}\n) AS value, {taken} AS taken "
            f"FROM {quoted(rule.table)} WHERE ({rule.where}\n)"
        )

    def _name(self) -> str:
        parts = [f"'{column}=' || coalesce(CAST({quoted(column)} AS VARCHAR), 'null')" for column in self.rule.per]
        return " || ' ' || ".join(parts) if parts else "''"  # checked to be columns: no quote is in them

    def _facts(self) -> str:
        """Return the query of one row a group: name, value, rows."""
        match self.rule.fact:
            case Fact.COUNT:
                fact = "count(*) FILTER (value AND NOT taken)"
            case Fact.SHARE:
                holds = "value OR taken" if self.rule.comparison.is_floor else "value AND NOT taken"
                fact = f"avg(CASE WHEN {holds} THEN 1.0 ELSE 0.0 END)"
            case other:
                fact = f"{AGGREGATES[other]} FILTER (NOT taken)"
        grouped = "GROUP BY group_name ORDER BY group_name" if self.rule.per else ""
        name = "group_name" if self.rule.per else "''"
        return f"SELECT {name}, CAST({fact} AS DOUBLE), count(*) FROM ({self._rows()}) {grouped}"

    def _group(self, row: tuple[Any, ...]) -> Group:
        name, value, rows = str(row[0]), row[1], int(row[2])
        if value is None or value != value:  # noqa: PLR0124  NaN
            return Group(name=name, value=None, rows=rows, outcome=Outcome.SKIPPED)
        kept = self.rule.comparison.holds(value)
        known = not kept and (SET + self.fingerprint, name) in self.accepted
        return Group(
            name=name, value=value, rows=rows, outcome=Outcome.KEPT if kept else Outcome.BROKEN, accepted=known
        )

    def _offending(self) -> str:
        """Return the condition of the rows that push the fact over its limit; "false" where no row alone does."""
        rule, comparison = self.rule, self.rule.comparison
        match rule.fact:
            case Fact.COUNT:
                return "false" if comparison.is_floor else "value"
            case Fact.SHARE:
                return "NOT coalesce(value, false)" if comparison.is_floor else "value"
            case Fact.MAX if not comparison.is_floor:
                return f"NOT (value {comparison.sign} {comparison.limit})"
            case Fact.MIN if comparison.is_floor:
                return f"NOT (value {comparison.sign} {comparison.limit})"
        return "false"

    def _taken(self) -> list[str]:
        query = f"SELECT DISTINCT content FROM ({self._rows()}) WHERE taken AND {self._offending()}"
        return [str(row[0]) for row in ask(self.con, query)]

    def _offenders(self, groups: Sequence[str]) -> tuple[Offender, ...]:
        """Return the images that broken groups owe to, by path, each with the finding that says most about it."""
        fill_names(self.con, "broken_groups", "group_name", groups)
        found = f"""
WITH guilty AS (SELECT DISTINCT path, content, group_name FROM ({self._rows()})
  WHERE {self._offending()} AND NOT taken AND group_name IN (SELECT group_name FROM broken_groups))
SELECT g.path, any_value(g.content), any_value(g.group_name),
  arg_min(f.message, (left(f.code, 3) <> ?, f.code)) FROM guilty g LEFT JOIN arrow_findings f USING (path)
GROUP BY g.path ORDER BY g.path"""
        rows = ask(self.con, found, [self.rule.code[:3]])
        return tuple(Offender(path=p, content=c, group=g, message=m or "") for p, c, g, m in rows)


def _outcome(groups: Sequence[Group]) -> Outcome:
    if any(group.outcome is Outcome.BROKEN and not group.accepted for group in groups):
        return Outcome.BROKEN
    if not any(group.outcome is not Outcome.SKIPPED for group in groups):
        return Outcome.SKIPPED
    return Outcome.KEPT


def accept_all(report: Report, audit: Audit, old: Baseline, *, reason: str, owner: str, days: int) -> tuple[Entry, ...]:
    """Return the entries of a baseline that accepts all that a check found broken.

    Entries of rules that were not checked stay; of those that were, the ones that still accept something, and the
    reason and owner of a finding that had expired.

    Args:
        report: of a check without a baseline.
        reason, owner: of what is new.
        days: until what is new expires.
    """
    expires = (datetime.now(UTC) + timedelta(days=days)).date()
    checked = {result.rule.code for result in report.results}
    known = {entry.key: entry for entry in old.entries}
    content = SET + str(audit.run.get("fingerprint", ""))
    entries = [entry for entry in old.entries if entry.rule not in checked]
    for result in report.results:
        found = [{"content": o.content, "path": o.path} for o in result.offenders]
        if not found:
            found = [{"content": content, "group": group.name} for group in result.broken_groups]
        for one in found:
            new = Entry(rule=result.rule.code, reason=reason, owner=owner, expires=expires, **one)
            before = known.get(new.key)
            if before is None:
                entries.append(new)
            else:
                renewed = before.expires if before.expires >= old.today else expires
                entries.append(before.model_copy(update={"path": new.path, "expires": renewed}))
    return tuple(entries)
