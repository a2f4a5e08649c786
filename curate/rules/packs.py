"""Rule packs: TOML that says what a dataset must keep to. Data, no code.

title, extends, disable            about the pack
[rules.CODE]                       one rule: title, why, cure, severity, a fact, what it must keep to
[rules.CODE.kept], [....broken]    rows of an audit that keep and break the rule, which tests judge

fact = "share"                     count, share, min, max, mean, sum or distinct
of = "verdict = 'mislabelled'"     over each row: a condition for count and share, else a value
in = "images"                      the table, see `engine`
where = "skip_reason = ''"         only these rows
per = ["label"]                    each class for itself
keep = "<= 0.02"
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from curate.errors import CouldNotFinish, InputError, UsageError
from curate.findings import catalogue, packs_folder
from curate.rules.engine import TABLE_NAMES
from curate.toml_files import TomlFile, first_fault, nearest, read_toml

CODE = re.compile(r"(?:IMG|DUP|LBL|OOD|SET)\d{3}")
COMPARISON = re.compile(r"(<=|>=|==|<|>)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)")
NOT_A_PACK = "findings"
"""The catalogue of findings lies beside the packs."""
DEEPEST = 8

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


class Severity(StrEnum):
    """How bad a broken rule is; a note never fails a check."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Comparison:
    """What a fact must keep to, such as `<= 0.02`."""

    sign: str
    limit: float

    def holds(self, value: float) -> bool:
        """Return whether a value keeps to it."""
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
        """Whether it is broken by too low a value."""
        return self.sign in (">=", ">")

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g}"


class Rule(BaseModel):
    """One rule of a pack; see the module's text for the keys of its fact."""

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
            raise ValueError('is no comparison; write <=, >=, <, > or == and a number, such as "<= 0.02"')
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
        """What the fact must keep to."""
        found = COMPARISON.fullmatch(self.keep)
        if not found:
            raise ValueError(self.keep)
        return Comparison(found[1], float(found[2]))

    @property
    def fact_text(self) -> str:
        """The fact in one line, such as `share(verdict = 'mislabelled') per label`."""
        what = " ".join(self.of.split())
        parts = [f"{self.fact}({what})"]
        parts += [f"in {self.table}"] if self.table != "images" else []
        parts += [f"where {' '.join(self.where.split())}"] if self.where != "true" else []
        parts += [f"per {', '.join(self.per)}"] if self.per else []
        return " ".join(parts)

    def __str__(self) -> str:
        return f"{self.fact_text} {self.comparison}"


RULE_KEYS = tuple((field.alias or name) for name, field in Rule.model_fields.items() if name != "code")


class _Head(BaseModel):
    """What a pack says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=1)
    extends: str | None = None
    needs: Literal["integrity", "full"] | None = None
    disable: tuple[str, ...] = ()
    rules: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Rules to hold a dataset to.

    Attributes:
        name: as it was asked for: "default", or the file's path.
        path: its file.
        title: one line.
        judged: whether it asks for more than integrity, so that a dataset must be scanned with a backbone.
        rules: in the order of their codes.
        places: where each key of each rule stands, `file:line`, by (code, key) and by (code, "").
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


@dataclass
class _Merged:
    """A pack and what it extends, one rule after another laid over those before."""

    rules: dict[str, dict[str, Any]]
    places: dict[tuple[str, str], str]
    judged: bool


def shipped_packs() -> tuple[str, ...]:
    """Return the names of the packs that come with curate."""
    return tuple(sorted(file.stem for file in packs_folder().glob("*.toml") if file.stem != NOT_A_PACK))


def load_pack(name: str | Path) -> Pack:
    """Load a pack by its name or path, with what it extends.

    Raises:
        UsageError: there is no such pack.
        InputError: the pack is wrong; file, line and rule are named.
        CouldNotFinish: it holds no rule.
    """
    from curate.rules.check_pack import check_rules

    path = find_pack(name, Path())
    head, merged = _merge(path, ())
    rules = tuple(_rule(code, merged) for code in sorted(merged.rules))
    if not rules:
        raise CouldNotFinish(
            f"{path}:1: the pack holds no rule, so there is nothing to check; add one or extend a pack"
        )
    pack = Pack(name=str(name), path=path, title=head.title, judged=merged.judged, rules=rules, places=merged.places)
    check_rules(pack)
    return pack


def find_pack(name: str | Path, beside: Path, place: str = "--rules") -> Path:
    """Return the file of a pack, by the name of a shipped one or by path from the folder `beside`.

    Raises:
        UsageError: there is none.
    """
    shipped = shipped_packs()
    if str(name) in shipped:
        return packs_folder() / f"{name}.toml"
    path = beside / name
    if path.suffix == ".toml" and path.is_file():
        return path
    raise UsageError(
        f"{place} {name}: no such pack; give a file that ends in .toml, or one of {', '.join(shipped)} "
        f"({nearest(str(name), shipped)})"
    )


def _merge(path: Path, above: Sequence[Path]) -> tuple[_Head, _Merged]:
    if path.resolve() in above:
        raise InputError(f"{path}:1: the pack extends itself ({' -> '.join(p.name for p in above)}); break the circle")
    if len(above) >= DEEPEST:
        raise InputError(f"{path}:1: packs extend one another more than {DEEPEST} deep; lay some of them together")
    file = read_toml(path)
    head = _head(file)
    merged = _Merged({}, {}, judged=False)
    if head.extends is not None:
        parent = find_pack(head.extends, path.parent, f"{file.place('extends')}: extends")
        _, merged = _merge(parent, (*above, path.resolve()))
    if head.needs is not None:
        merged.judged = head.needs == "full"
    elif head.extends is None:
        merged.judged = True
    for code in head.disable:
        _disable(code, file, merged)
    for code, keys in head.rules.items():
        _lay_over(code, keys, file, merged)
    return head, merged


def _head(file: TomlFile) -> _Head:
    try:
        return _Head.model_validate(file.data)
    except ValidationError as error:
        where, what = first_fault(error, _Head.model_fields)
        raise InputError(f"{file.place(*where)}: {what}") from error


def _disable(code: str, file: TomlFile, merged: _Merged) -> None:
    if code not in merged.rules:
        known = sorted(merged.rules) or ["none, since the pack extends none"]
        raise InputError(f"{file.place('disable')}: disable {code}: no such rule; {nearest(code, known)}")
    del merged.rules[code]


def _lay_over(code: str, keys: dict[str, Any], file: TomlFile, merged: _Merged) -> None:
    """Add a rule, or change the keys of one that the pack extends."""
    place = file.place("rules", code)
    if not CODE.fullmatch(code):
        raise InputError(f"{place}: rule {code}: a code is IMG, DUP, LBL, OOD or SET and three digits, such as LBL901")
    if code in catalogue():
        raise InputError(f"{place}: rule {code}: that is the code of a finding; take another, such as {code[:3]}901")
    merged.rules[code] = merged.rules.get(code, {}) | keys
    if (code, "") not in merged.places:
        merged.places[code, ""] = place
    merged.places.update({(code, key): file.place("rules", code, key) for key in keys})


def _rule(code: str, merged: _Merged) -> Rule:
    try:
        return Rule.model_validate(merged.rules[code] | {"code": code})
    except ValidationError as error:
        where, what = first_fault(error, RULE_KEYS)
        key = str(where[0]) if where else ""
        place = merged.places.get((code, key)) or merged.places[code, ""]
        raise InputError(f"{place}: rule {code}: {what}") from error


def select(pack: Pack, chosen: Sequence[str], ignored: Sequence[str]) -> tuple[Rule, ...]:
    """Return the rules whose codes begin with one of `chosen` (all if there is none) and with none of `ignored`.

    Raises:
        UsageError: a code that no rule of the pack begins with.
        CouldNotFinish: nothing is left to check.
    """
    for option, prefixes in (("--select", chosen), ("--ignore", ignored)):
        for prefix in prefixes:
            if not any(rule.code.startswith(prefix) for rule in pack.rules):
                known = [rule.code for rule in pack.rules]
                raise UsageError(f"{option} {prefix}: no rule of {pack.name} has that code; {nearest(prefix, known)}")
    left = [rule for rule in pack.rules if not chosen or rule.code.startswith(tuple(chosen))]
    left = [rule for rule in left if not rule.code.startswith(tuple(ignored))]
    if not left:
        raise CouldNotFinish(f"{pack.name}: --select and --ignore leave no rule, so there is nothing to check")
    return tuple(left)
