"""The faults of a pack that show before there is any data: in expressions, columns, types and cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from curate.audit.effective_verdicts import DECISION
from curate.audit.schema import TABLES
from curate.errors import InputError
from curate.rules.engine import Connection, columns_of, empty_audit, engine, quoted
from curate.rules.expressions import WrongExpression, check_expression
from curate.rules.rule import Fact, Pack, Rule
from curate.toml_files import nearest

CONDITIONS = frozenset((Fact.COUNT, Fact.SHARE))
NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "BIGINT", "BOOLEAN")
TIMES, RUN = "times", "run"
RUN_KEYS = ("contamination", "contamination_low", "contamination_high")


def check_rules(pack: Pack) -> None:
    """Refuse a pack with a rule that cannot be evaluated.

    Raises:
        InputError: an expression, table or column that is not there or of the wrong type; file and line are named.
    """
    with engine(empty_audit(judged=pack.judged)) as con:
        tables: dict[str, dict[str, str]] = {}
        for rule in pack.rules:
            columns = tables.setdefault(rule.table, columns_of(con, rule.table))
            _check_rule(pack, rule, columns, con=con)


def _check_rule(pack: Pack, rule: Rule, columns: Mapping[str, str], *, con: Connection) -> None:
    if not columns:
        place = pack.place(rule.code, "in")
        raise InputError(
            f"{place}: rule {rule.code}: the table {rule.table!r} needs a full scan, but the pack needs only integrity"
        )
    for column in rule.per:
        if column.lower() not in columns:
            place = pack.place(rule.code, "per")
            raise InputError(f"{place}: rule {rule.code}: there is no column {column!r}; {nearest(column, columns)}")
    for key, text in (("where", rule.where), ("of", rule.of)):
        try:
            check_expression(text, columns, con)
            _check_type(rule, key, con)
        except WrongExpression as fault:
            raise InputError(f"{pack.place(rule.code, key)}: rule {rule.code}: {key} = {text!r}: {fault}") from fault
    for case in ("kept", "broken"):
        _check_case(pack, rule, case)


def _check_type(rule: Rule, key: str, con: Connection) -> None:
    text = rule.where if key == "where" else rule.of
    try:
        described = con.execute(f"DESCRIBE SELECT ({text}\n) AS value FROM {quoted(rule.table)}").fetchall()
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise WrongExpression(reason.partition(": ")[2] or reason) from error
    type_ = str(described[0][1])
    if (key == "where" or rule.fact in CONDITIONS) and type_ != "BOOLEAN":
        raise WrongExpression(f"is of type {type_}; write a condition, true or false for each row")
    if key == "of" and rule.fact not in (*CONDITIONS, Fact.DISTINCT) and not any(n in type_ for n in NUMBERS):
        raise WrongExpression(f"is of type {type_}; {rule.fact} needs numbers")


def columns(table: str) -> pa.Schema:
    """Return the columns that the rows of a case may have: those of the file, and of an image the decision on it."""
    return TABLES[table].append(pa.field(DECISION, pa.string())) if table == "images" else TABLES[table]


def _check_case(pack: Pack, rule: Rule, case: str) -> None:
    rows: Mapping[str, list[dict[str, Any]]] = getattr(rule, case)
    place = f"{pack.place(rule.code, case)}: rule {rule.code}: {case}"
    for table, case_rows in rows.items():
        if table not in (*TABLES, RUN):
            raise InputError(f"{place}: there is no table {table!r}; {nearest(table, (*TABLES, RUN))}")
        allowed = RUN_KEYS if table == RUN else (*columns(table).names, TIMES)
        for row in case_rows:
            for name in row:
                if name not in allowed:
                    raise InputError(f"{place}: there is no column {name!r} in {table}; {nearest(name, allowed)}")
