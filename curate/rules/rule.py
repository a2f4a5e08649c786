"""Rule packs are TOML, no code. These are the rules of a pack, and the pack.

title, extends, disable            of the pack
[rules.CODE]                       one rule: title, why, cure, severity, a fact, and the limit that it must keep
[rules.CODE.kept], [....broken]    rows of an audit that keep and that break the rule; tests judge both

fact = "share"                     count, share, min, max, mean, sum or distinct
of = "verdict = 'mislabelled'"     evaluated on each row: a condition for count and share, otherwise a value
in = "images"                      the table, see `engine`
where = "skip_reason = ''"         only these rows
per = ["label"]                    one fact for each class
keep = "<= 0.02"                   the limit
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from curate.findings import Severity
from curate.rules.engine import TABLE_NAMES
from curate.toml_files import nearest

COMPARISON = re.compile(r"(<=|>=|==|<|>)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)")

Rows = dict[str, list[dict[str, Any]]]


class Fact(StrEnum):
    """What is measured of the rows of a table."""

    COUNT = "count"
    SHARE = "share"
    MIN = "min"
    MAX = "max"
    MEAN = "mean"
    SUM = "sum"
    DISTINCT = "distinct"


@dataclass(frozen=True)
class Comparison:
    """The limit of a fact, such as `<= 0.02`."""

    sign: str
    limit: float

    def holds(self, value: float) -> bool:
        """Return whether a value keeps the limit."""
        match self.sign:
            case "<=":
                return value <= self.limit
            case ">=":
                return value >= self.limit
            case "<":
                return value < self.limit
            case ">":
                return value > self.limit
        return value == self.limit

    @property
    def is_floor(self) -> bool:
        """Whether a value that is too low breaks it."""
        return self.sign in (">=", ">")

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g}"


class Rule(BaseModel):
    """One rule of a pack; the head of this module explains its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    code: str
    title: str = Field(min_length=1)
    why: str = Field(min_length=1)
    cure: str = Field(min_length=1)
    severity: Severity
    fact: Fact
    of: str = "true"
    table: str = Field(default="images", alias="in")
    where: str = "true"
    per: tuple[str, ...] = ()
    keep: str
    kept: Rows
    broken: Rows

    @field_validator("keep")
    @classmethod
    def _keep(cls, value: str) -> str:
        if not COMPARISON.fullmatch(value.strip()):
            raise ValueError('is not a comparison; write <=, >=, <, > or == and a number, such as "<= 0.02"')
        return value.strip()

    @field_validator("per", mode="before")
    @classmethod
    def _per(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("table")
    @classmethod
    def _table(cls, value: str) -> str:
        if value not in TABLE_NAMES:
            raise ValueError(f"there is no such table; {nearest(value, TABLE_NAMES)}")
        return value

    @property
    def comparison(self) -> Comparison:
        """The limit of the fact."""
        match = COMPARISON.fullmatch(self.keep)
        if not match:
            raise ValueError(self.keep)
        return Comparison(match[1], float(match[2]))

    @property
    def fact_text(self) -> str:
        """The fact in one line, such as `share(verdict = 'mislabelled') per label`."""
        expression = " ".join(self.of.split())
        parts = [f"{self.fact}({expression})"]
        parts += [f"in {self.table}"] if self.table != "images" else []
        parts += [f"where {' '.join(self.where.split())}"] if self.where != "true" else []
        parts += [f"per {', '.join(self.per)}"] if self.per else []
        return " ".join(parts)

    def __str__(self) -> str:
        return f"{self.fact_text} {self.comparison}"


RULE_KEYS = tuple((field.alias or name) for name, field in Rule.model_fields.items() if name != "code")


@dataclass(frozen=True, kw_only=True)
class Pack:
    """The rules that a dataset is checked against.

    Attributes:
        name: as the user gave it: "default", or the file's path.
        path: its file.
        title: one line.
        judged: whether its rules need verdicts, so that a dataset must be scanned with a backbone.
        rules: in the order of their codes.
        places: `file:line` of each key of each rule, by (code, key), and of the rule itself, by (code, "").
    """

    name: str
    path: Path
    title: str
    judged: bool
    rules: tuple[Rule, ...]
    places: Mapping[tuple[str, str], str]

    def place(self, code: str, key: str = "") -> str:
        """Return `file:line` of a rule, or of one of its keys."""
        return self.places.get((code, key)) or self.places.get((code, ""), str(self.path))

    def rule(self, code: str) -> Rule | None:
        """Return a rule by its code."""
        return next((rule for rule in self.rules if rule.code == code), None)
