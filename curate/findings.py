"""The catalogue of findings: every code that `curate` gives, why it matters and what to do.

To add a finding, add one line to `Code` and one table to `rules/findings.toml`; in a wheel that file lies in
`curate/packs/`.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from curate.errors import InputError, UsageError

CATALOGUE_FILE = "findings.toml"


class Severity(StrEnum):
    """How serious a finding or a broken rule is.

    Of a finding: an error makes the image unusable or spoils the set, a warning means that a person must look at it, a
    note is good to know. Of a rule: `--fail-on` says which severities fail a check; a note never does.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Code(StrEnum):
    """The codes of all findings, in the order of `rules/findings.toml`. A code is never renumbered or reused."""

    EMPTY_FILE = "IMG001"
    NOT_AN_IMAGE = "IMG002"
    TRUNCATED = "IMG003"
    DAMAGED = "IMG004"
    TOO_LARGE = "IMG005"
    NO_PERMISSION = "IMG006"
    VANISHED = "IMG007"
    NOT_A_FILE = "IMG008"
    NOT_READ = "IMG009"
    UNSUPPORTED = "IMG010"
    NO_MEMORY = "IMG011"
    SEVERAL_PAGES = "IMG020"
    CLIPPED = "IMG021"
    NOT_FINITE = "IMG022"
    ONE_COLOUR = "IMG023"
    TRANSPARENT = "IMG024"
    OTHER_FORMAT = "IMG025"
    REDUCED_DEPTH = "IMG026"
    EXTRA_CHANNELS = "IMG027"
    MARKER = "IMG028"
    LITTLE_CONTRAST = "IMG029"
    INVALID_NAME = "IMG030"
    PERHAPS_MASK = "IMG031"
    DUPLICATE = "DUP001"
    CONFLICTING_DUPLICATE = "DUP002"
    SAME_PART = "DUP003"
    SAME_PART_DIFFERS = "DUP004"
    SAME_PART_ACROSS_GROUPS = "DUP005"
    NEAR_COPY = "DUP006"
    LEAKED_PIXELS = "LEAK001"
    LEAKED_PART = "LEAK002"
    LEAKED_GROUP = "LEAK003"
    LOCAL_ANOMALY = "LBL001"
    NEAR_OTHER_CLASS = "LBL002"
    ORDINARY_IN_OTHER_CLASS = "LBL003"
    CONFLICTING_SHOTS = "LBL004"
    UNLIKE_SET = "OOD001"
    VIEWS_DISAGREE = "OOD002"
    ACQUISITION_OUTLIER = "OOD003"
    UNCERTAIN = "OOD004"
    NOT_JUDGED = "SET001"
    REJECTION_CAPPED = "SET002"
    SUBPOPULATIONS = "SET003"
    SMALL_GROUP_APART = "SET004"
    DEFECTS_UNSEEN = "SET005"
    FEW_TRUSTED = "SET007"
    TRUSTED_ABOVE = "SET008"


def area_of(code: str) -> str:
    """Return the letters that a code begins with."""
    return code.rstrip("0123456789")


AREAS = tuple(dict.fromkeys(map(area_of, Code)))
"""The letters that codes of findings and of rules begin with."""


@dataclass(frozen=True, kw_only=True)
class FindingText:
    """What a finding code means."""

    code: Code
    title: str
    severity: Severity
    why: str
    cure: str


TEXT_KEYS = tuple(field.name for field in fields(FindingText) if field.name != "code")


def packs_folder() -> Path:
    """Return the folder of the shipped TOML files: in the wheel, or beside the package in a checkout."""
    shipped = Path(__file__).parent / "packs"
    return shipped if shipped.is_dir() else Path(__file__).parent.parent / "rules"


@cache
def catalogue() -> Mapping[str, FindingText]:
    """Return the text of every finding by its code, in the order of `Code`."""
    return read_catalogue(packs_folder() / CATALOGUE_FILE)


def read_catalogue(file: Path) -> Mapping[str, FindingText]:
    """Read the texts of all findings.

    Raises:
        InputError: a code has no text, a text has no code, their order differs, or a text is incomplete.
    """
    entries = tomllib.loads(file.read_text(encoding="utf-8"))
    _refuse_mismatch(tuple(entries), file)
    return {code: _text(Code(code), entry, file) for code, entry in entries.items()}


def _refuse_mismatch(texts: tuple[str, ...], file: Path) -> None:
    for code in Code:
        if code not in texts:
            raise InputError(
                f"{file}: finding {code} has no text; add a table [{code}] with {', '.join(TEXT_KEYS)} to this file"
            )
    for text in texts:
        if text not in tuple(Code):
            raise InputError(f"{file}: [{text}] is the text of no finding; add {text} to `Code` in curate/findings.py")
    for text, code in zip(texts, Code, strict=True):
        if text != code:
            raise InputError(f"{file}: [{text}] stands where `Code` has {code}; give both the same order")


def _text(code: Code, entry: Mapping[str, Any], file: Path) -> FindingText:
    if set(entry) != set(TEXT_KEYS):
        raise InputError(f"{file}: [{code}] has the keys {', '.join(entry)}; it needs {', '.join(TEXT_KEYS)}")
    if entry["severity"] not in tuple(Severity):
        raise InputError(f"{file}: [{code}] severity = {entry['severity']!r}; write {', '.join(Severity)}")
    return FindingText(code=code, **dict(entry) | {"severity": Severity(entry["severity"])})


def with_audit(text: str, audit: str) -> str:
    """Return a text whose commands name an audit: `curate prune AUDIT` becomes `curate prune parts-audit`.

    Args:
        text: such as `FindingText.cure`.
        audit: its folder; "" leaves the text as it is.
    """
    if not audit:
        return text
    return re.sub(r"`curate [^`]*`", lambda command: command[0].replace("AUDIT", shlex.quote(audit)), text)


def explain(code: str) -> FindingText:
    """Return the text of one code.

    Raises:
        UsageError: there is no such code.
    """
    if code not in catalogue():
        raise UsageError(f"{code}: no such finding code; the codes are {', '.join(catalogue())}")
    return catalogue()[code]
