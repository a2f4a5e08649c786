"""The expressions of rules: a subset of DuckDB's that reads only the columns of one row.

DuckDB parses an expression, and its tree is checked against what is allowed: columns of the table, constants,
comparisons, and a few functions. A pack may come from anywhere: no sub-query, no table function, no star, no parameter,
nothing that reads a file or runs long is accepted. The engine that evaluates the rest is locked as well (see `engine`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from curate.toml_files import nearest

LONGEST = 2000
CLASSES = frozenset(
    ("COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "CASE", "CAST", "TYPE", "FUNCTION")
)
OPERATORS = frozenset(["+", "-", "*", "/", "%", "//", "||", "~~", "~~*", "!~~", "!~~*"])
TEXT_FUNCTIONS = (
    "contains",
    "ends_with",
    "starts_with",
    "len",
    "length",
    "strlen",
    "lower",
    "upper",
    "trim",
    "substring",
)
PATTERNS = ("regexp_full_match", "regexp_matches", "split_part")
NUMBER_FUNCTIONS = ("abs", "ceil", "floor", "round", "greatest", "least", "isfinite", "isnan")
FUNCTIONS = frozenset((*TEXT_FUNCTIONS, *PATTERNS, *NUMBER_FUNCTIONS, "list_contains", "list_value"))
"""Each takes constant or linear time in the length of its row; regular expressions are RE2."""
EMPTY_PARTS = ("modifiers", "where_clause", "group_expressions", "group_sets", "having", "sample", "qualify")
WORDS = {
    "SUBQUERY": "a sub-query",
    "WINDOW": "a window function",
    "STAR": "a star",
    "PARAMETER": "a parameter",
    "LAMBDA": "a lambda",
    "COLLATE": "a collation",
}


class WrongExpression(Exception):
    """An expression that a rule may not have; the message is half a sentence."""


def check_expression(text: str, columns: Mapping[str, object], con: duckdb.DuckDBPyConnection) -> None:
    """Refuse an expression that is not one over the columns of a row.

    Raises:
        WrongExpression: it does not parse, is more than an expression, or uses what is not allowed.
    """
    if len(text) > LONGEST:
        raise WrongExpression(f"longer than {LONGEST} characters")
    if "\0" in text or not text.strip():
        raise WrongExpression("is empty")
    try:
        for node in _nodes(_only_expression(text, con)):
            _refuse(node, columns)
    except RecursionError as error:
        raise WrongExpression("is nested too deeply") from error


def columns_read(text: str, con: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the columns that a checked expression reads, in lower case."""
    nodes = _nodes(_only_expression(text, con))
    return frozenset(node["column_names"][0].lower() for node in nodes if node["class"] == "COLUMN_REF")


def constants(text: str, con: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the texts that stand in a checked expression as constants."""
    nodes = (node for node in _nodes(_only_expression(text, con)) if node["class"] == "CONSTANT")
    # DuckDB names the part "literal" since 1.5, "value" before
    values = (node.get("literal", {}).get("text", node.get("value", {}).get("value")) for node in nodes)
    return frozenset(value for value in values if isinstance(value, str))


def _only_expression(text: str, con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Return the tree of an expression that stands alone."""
    try:
        rows = con.execute("SELECT json_serialize_sql(?)", [f"SELECT {text}\n"]).fetchall()
    except duckdb.Error as error:  # nested too deeply, for example
        raise WrongExpression(_first_line(error)) from error
    tree = json.loads(rows[0][0])
    if tree["error"]:
        raise WrongExpression(" ".join(str(tree["error_message"]).split()))
    statements = tree["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    alone = node.get("type") == "SELECT_NODE" and len(node["select_list"]) == 1 and not node["select_list"][0]["alias"]
    if not alone or node["from_table"]["type"] != "EMPTY" or any(node.get(part) for part in EMPTY_PARTS):
        raise WrongExpression("is more than one expression")
    if node["cte_map"]["map"]:
        raise WrongExpression("is more than one expression")
    expression: dict[str, Any] = node["select_list"][0]
    return expression


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """Yield every node of an expression's tree."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _refuse(node: Mapping[str, Any], columns: Mapping[str, object]) -> None:
    class_ = str(node["class"])
    if class_ not in CLASSES or node.get("type") == "OPERATOR_TRY":
        raise WrongExpression(f"{WORDS.get(class_, class_.lower())} is not allowed in a rule")
    if class_ == "COLUMN_REF":
        names = node["column_names"]
        if len(names) != 1 or names[0].lower() not in columns:
            name = ".".join(names)
            raise WrongExpression(f"there is no column {name!r}; {nearest(name, columns)}")
    if class_ == "FUNCTION" and node["function_name"] not in FUNCTIONS | OPERATORS:
        name = str(node["function_name"])
        raise WrongExpression(f"the function {name!r} is not allowed in a rule; {nearest(name, sorted(FUNCTIONS))}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
