"""What can be known to be wrong with a pack before there is any data: expressions, columns, types, cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from curate.errors import InputError
from curate.reports.schema import TABLES
from curate.rules.engine import Connection, columns_of, empty_audit, engine, quoted
from curate.rules.expressions import WrongExpression, check_expression
from curate.rules.packs import Fact, Pack, Rule
from curate.toml_files import nearest

CONDITIONS = frozenset((Fact.COUNT, Fact.SHARE))
NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "BIGINT", "BOOLEAN")
TIMES, RUN = "times", "run"
RUN_KEYS = ("contamination", "contamination_low", "contamination_high")


def check_rules(pack: Pack) -> None:
    """Refuse a pack with a rule that cannot be asked.

    Raises:
        InputError: an expression, table or column that is not there or of the wrong type; file and line are named.
    """
    with engine(empty_audit(judged=pack.judged)) as con:
        tables: dict[str, dict[str, str]] = {}
        for rule in pack.rules:
            columns = tables.setdefault(rule.table, columns_of(con, rule.table))
            _check_rule(pack, rule, columns, con)


def _check_rule(pack: Pack, rule: Rule, columns: Mapping[str, str], con: Connection) -> None:
    if not columns:
        place = pack.place(rule.code, "in")
        raise InputError(
            f"{place}: rule {rule.code}: the table {rule.table!r} needs a full scan; this pack does without"
        )
    for column in rule.per:
        if column.lower() not in columns:
            place = pack.place(rule.code, "per")
            raise InputError(f"{place}: rule {rule.code}: there is no column {column!r}; {nearest(column, columns)}")
    for key, text in (("where", rule.where), ("of", rule.of)):
        try:
            check_expression(text, columns, con)
            _check_type(rule, key, text, con)
        except WrongExpression as fault:
            raise InputError(f"{pack.place(rule.code, key)}: rule {rule.code}: {key} = {text!r}: {fault}") from fault
    for case in ("kept", "broken"):
        _check_case(pack, rule, case)


def _check_type(rule: Rule, key: str, text: str, con: Connection) -> None:
    try:
        described = con.execute(f"DESCRIBE SELECT ({text}\n) AS value FROM {quoted(rule.table)}").fetchall()
    except duckdb.Error as error:
        said = str(error).strip().splitlines()[0]
        raise WrongExpression(said.partition(": ")[2] or said) from error
    kind = str(described[0][1])
    if (key == "where" or rule.fact in CONDITIONS) and kind != "BOOLEAN":
        raise WrongExpression(f"is {kind}, but a condition is due, true or false for each row")
    if key == "of" and rule.fact not in (*CONDITIONS, Fact.DISTINCT) and not any(n in kind for n in NUMBERS):
        raise WrongExpression(f"is {kind}, but {rule.fact} is of numbers")


def _check_case(pack: Pack, rule: Rule, case: str) -> None:
    rows: Mapping[str, list[dict[str, Any]]] = getattr(rule, case)
    place = f"{pack.place(rule.code, case)}: rule {rule.code}: {case}"
    for table, given in rows.items():
        if table not in (*TABLES, RUN):
            raise InputError(f"{place}: there is no table {table!r}; {nearest(table, (*TABLES, RUN))}")
        known = (*RUN_KEYS,) if table == RUN else (*TABLES[table].names, TIMES)
        for row in given:
            for name in row:
                if name not in known:
                    raise InputError(f"{place}: there is no column {name!r} in {table}; {nearest(name, known)}")
