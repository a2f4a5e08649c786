"""Finding, loading and selecting rule packs. `rule` explains what a pack holds, `check_pack` what is refused in one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate.errors import CouldNotFinish, InputError, UsageError
from curate.findings import AREAS, CATALOGUE_FILE, Code, area_of, packs_folder
from curate.rules.check_pack import check_rules
from curate.rules.choices import Needs
from curate.rules.rule import RULE_KEYS, Pack, Rule
from curate.toml_files import TomlFile, first_fault, nearest, read_toml

RULE_CODE = re.compile(rf"(?:{'|'.join(AREAS)})\d{{3}}")
DEEPEST = 8
"""How many packs may extend one another in a chain."""


class _Head(BaseModel):
    """The top-level keys of a pack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=1)
    extends: str | None = None
    needs: Needs | None = None
    disable: tuple[str, ...] = ()
    rules: dict[str, dict[str, Any]] = {}


@dataclass
class _Merged:
    """The rules of a pack and of those it extends; later ones replace single keys of earlier ones."""

    rules: dict[str, dict[str, Any]]
    places: dict[tuple[str, str], str]
    judged: bool


def shipped_packs() -> tuple[str, ...]:
    """Return the names of the packs that come with curate."""
    return tuple(sorted(file.stem for file in packs_folder().glob("*.toml") if file.name != CATALOGUE_FILE))


def load_pack(name: str | Path) -> Pack:
    """Load a pack by its name or path, with the packs that it extends.

    Raises:
        UsageError: there is no such pack.
        InputError: the pack is wrong; file, line and rule are named.
        CouldNotFinish: it holds no rule.
    """
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
        raise InputError(f"{path}:1: the pack extends itself ({' -> '.join(p.name for p in above)}); remove the cycle")
    if len(above) >= DEEPEST:
        raise InputError(f"{path}:1: packs extend one another more than {DEEPEST} deep; merge some of them")
    file = read_toml(path)
    head = _head(file)
    merged = _Merged({}, {}, judged=False)
    if head.extends is not None:
        parent = find_pack(head.extends, path.parent, f"{file.place('extends')}: extends")
        _, merged = _merge(parent, (*above, path.resolve()))
    if head.needs is not None:
        merged.judged = head.needs is Needs.FULL
    elif head.extends is None:
        merged.judged = True
    for code in head.disable:
        _disable(code, file, merged)
    for code, keys in head.rules.items():
        _merge_rule(code, keys, file, merged=merged)
    return head, merged


def _head(file: TomlFile) -> _Head:
    try:
        return _Head.model_validate(file.data)
    except ValidationError as error:
        where, what = first_fault(error, _Head.model_fields)
        raise InputError(f"{file.place(*where)}: {what}") from error


def _disable(code: str, file: TomlFile, merged: _Merged) -> None:
    if code not in merged.rules:
        codes = sorted(merged.rules) or ["none, since the pack extends none"]
        raise InputError(f"{file.place('disable')}: disable {code}: no such rule; {nearest(code, codes)}")
    del merged.rules[code]


def _merge_rule(code: str, keys: dict[str, Any], file: TomlFile, *, merged: _Merged) -> None:
    """Add a rule, or change keys of one that an extended pack has."""
    place = file.place("rules", code)
    if not RULE_CODE.fullmatch(code):
        raise InputError(f"{place}: rule {code}: a code is one of {', '.join(AREAS)} and three digits, such as LBL901")
    if code in tuple(Code):
        free = f"{area_of(code)}901"
        raise InputError(f"{place}: rule {code}: this is the code of a finding; choose another, such as {free}")
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
                codes = [rule.code for rule in pack.rules]
                raise UsageError(f"{option} {prefix}: no rule of {pack.name} has that code; {nearest(prefix, codes)}")
    left = [rule for rule in pack.rules if not chosen or rule.code.startswith(tuple(chosen))]
    left = [rule for rule in left if not rule.code.startswith(tuple(ignored))]
    if not left:
        raise CouldNotFinish(f"{pack.name}: --select and --ignore leave no rule, so there is nothing to check")
    return tuple(left)
