"""Rows of `images` that were not judged (verdict `not_judged`): whatever a rule reads of them is unknown.

A rule is kept only if it would be whatever these images are, and broken only if it would be whatever they are; between
the two it is skipped. A rule that names 'not_judged' itself judges such rows as any others. To a rule that reads
decisions, an unjudged image that a person keeps or rejects is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import duckdb

from curate.audit.effective_verdicts import DECISION, EFFECTIVE_VERDICT
from curate.findings import Code
from curate.records import Verdict
from curate.rules.expressions import columns_read, constants
from curate.rules.rule import Comparison, Fact, Rule

JUDGEMENT = frozenset(
    (
        *("verdict", EFFECTIVE_VERDICT, "anomaly_score", "confidence", "p_value", "q_value"),
        *("suggested_label", "round_rejected"),
    )
)
"""Columns of `images`, beside every `score_...`, that judging fills."""
DECISIONS = frozenset((DECISION, "decided"))
"""Columns of `images` that people fill."""
EVIDENCE = frozenset(("score", "fence", "margin"))
"""Columns of `findings` that only findings of judging have."""
CODES = (
    Code.LOCAL_ANOMALY,
    Code.NEAR_OTHER_CLASS,
    Code.ORDINARY_IN_OTHER_CLASS,
    Code.UNLIKE_SET,
    Code.VIEWS_DISAGREE,
    Code.ACQUISITION_OUTLIER,
)
"""Findings that judging gives."""


def reads_judgement(rule: Rule, text: str, con: duckdb.DuckDBPyConnection) -> bool:
    """Return whether an expression of a rule reads what only judging fills.

    Args:
        rule: it; `images` and `findings` hold what is judged.
        text: its `of` or `where`, checked.
        con: an open engine.
    """
    if rule.table not in ("images", "findings"):
        return False
    columns = columns_read(text, con)
    words = JUDGEMENT if rule.table == "images" else EVIDENCE
    if columns & words or any(name.startswith("score_") for name in columns):
        return True
    return bool(columns & {"reasons", "code"}) and _names_codes(constants(text, con))


def unknown_rows(rule: Rule, con: duckdb.DuckDBPyConnection) -> str:
    """Return the condition of the unknown rows of a rule on `images` that reads what only judging fills."""
    columns = columns_read(rule.of, con) | columns_read(rule.where, con)
    of_scan = any(name in JUDGEMENT - {EFFECTIVE_VERDICT} or name.startswith("score_") for name in columns)
    of_scan = of_scan or "reasons" in columns
    verdict = "verdict" if of_scan and not columns & DECISIONS else EFFECTIVE_VERDICT
    return f"coalesce({verdict} = '{Verdict.NOT_JUDGED}', false)"


def asks_for_unjudged(rule: Rule, con: duckdb.DuckDBPyConnection) -> bool:
    """Return whether a rule names the verdict 'not_judged' itself."""
    return any(Verdict.NOT_JUDGED in constants(text, con) for text in (rule.of, rule.where))


def _names_codes(words: Iterable[str]) -> bool:
    beginnings = [word.strip("%^").upper() for word in words]
    return any(code.startswith(word) for word in beginnings if word for code in CODES)


def holds_whatever(rule: Rule, value: float | None, *, unknown: int, rows: int) -> bool | None:
    """Return whether a fact keeps its limit whatever the unknown rows are; None if that depends on them.

    Args:
        rule: it.
        value: the fact of the rows that are known; unknown rows count as such that do not meet the condition.
        unknown: how many rows are unknown.
        rows: how many there are, unknown ones included.
    """
    comparison = rule.comparison
    match rule.fact:
        case Fact.COUNT:
            return _between(comparison, value or 0.0, (value or 0.0) + unknown)
        case Fact.SHARE:
            low = value or 0.0
            return _between(comparison, low, low + unknown / rows)
        case Fact.MAX | Fact.MIN if value is not None:
            return _extreme(rule.fact, comparison.holds, value)
    return None


def _between(comparison: Comparison, low: float, high: float) -> bool | None:
    """Return whether all values from `low` to `high` keep a limit (True), or none does (False)."""
    ends = comparison.holds(low), comparison.holds(high)
    if comparison.sign == "==":
        return True if all(ends) else None if low <= comparison.limit <= high else False
    return ends[0] if ends[0] == ends[1] else None


def _extreme(fact: Fact, holds: Callable[[float], bool], value: float) -> bool | None:
    """Return whether a maximum keeps a limit although it may be higher, or a minimum although it may be lower."""
    further = float("inf") if fact is Fact.MAX else float("-inf")
    return holds(value) if holds(value) == holds(further) else None
