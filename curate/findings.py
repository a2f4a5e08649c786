"""The catalogue of findings: every code that `curate` may give, why it matters and what to do.

The texts are data, `rules/findings.toml`; in a wheel they lie in `curate/packs/`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from curate.errors import UsageError

OTHERWISE = "OOD003"
"""The finding of an image that was taken otherwise than the rest: it has no place."""

NOT_JUDGED, HELD_BACK, KINDS, APART = "SET001", "SET002", "SET003", "SET004"
"""Findings of classes: not judged; fewer rejected than lie above the fence; of several kinds; some images apart."""


@dataclass(frozen=True, kw_only=True)
class FindingText:
    """What a finding code means. `severity` is error, warning or note."""

    code: str
    title: str
    severity: str
    why: str
    cure: str


def packs_folder() -> Path:
    """Return the folder of the shipped TOML files: in the wheel, or beside the package in a checkout."""
    shipped = Path(__file__).parent / "packs"
    return shipped if shipped.is_dir() else Path(__file__).parent.parent / "rules"


@cache
def catalogue() -> dict[str, FindingText]:
    """Return every finding code with its text, in the order of the codes."""
    with (packs_folder() / "findings.toml").open("rb") as file:
        entries = tomllib.load(file)
    return {code: FindingText(code=code, **texts) for code, texts in sorted(entries.items())}


def explain(code: str) -> FindingText:
    """Return the text of one code.

    Raises:
        UsageError: there is no such code.
    """
    if code not in catalogue():
        raise UsageError(f"{code}: no such finding code; the codes are {', '.join(catalogue())}")
    return catalogue()[code]
