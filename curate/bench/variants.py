"""The ways to scan that a bench can measure, by name: one line each.

A variant changes the settings of a scan, or brings a function that makes its scorers where no setting asks for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from curate.choices import StudentKind, ThresholdMethod
from curate.errors import UsageError
from curate.scorers import SCORERS
from curate.scores.base import Scorer, ScorerContext
from curate.scores.flow import Flow
from curate.scores.flow_config import ABLATIONS as FLOWS
from curate.scores.flow_config import FlowConfig
from curate.scores.student import Student
from curate.scores.student_config import ABLATIONS as STUDENTS
from curate.scores.student_config import StudentConfig

Maker = Callable[[ScorerContext], Sequence[Scorer]]
"""Makes scorers; see `curate.scores.base.make_scorers`."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to scan.

    Attributes:
        about: what it is, one phrase for the tables.
        settings: the changes to `ScanConfig`.
        scorers: makes the scorers; None for those of the settings.
    """

    about: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    scorers: Maker | None = None


def flow_maker(settings: FlowConfig) -> Maker:
    """Return a function that makes a flow of these settings, with the scan's seed."""

    def make(context: ScorerContext) -> list[Scorer]:
        return [Flow(config=replace(settings, seed=context.config.seed))]

    return make


def student_maker(settings: StudentConfig) -> Maker:
    """Return a function that makes a student of these settings, with the scan's seed."""

    def make(context: ScorerContext) -> list[Scorer]:
        config = replace(settings, seed=context.config.seed)
        return [Student(config=config, images=context.images, teacher=context.teacher)]

    return make


def slug(name: str) -> str:
    """Return a name that can stand in a comma-separated list and in a file's name."""
    return "-".join(re.findall(r"[a-z0-9]+", name.replace("+", " plus ").lower()))


def _about(name: str) -> str:
    """Describe a variant of one view; it runs in a single pass, so that the variants differ in the view alone."""
    return f"{name.replace('-', ': ', 1).replace('-', ' ')}, single pass"


VIEWS: Mapping[str, Maker] = MappingProxyType(
    {
        **{f"flow-{slug(name)}": flow_maker(settings) for name, settings in FLOWS.items()},
        **{f"student-{slug(name)}": student_maker(settings) for name, settings in STUDENTS.items()},
    }
)
"""Variants of one view that can be trained on a choice of images."""

FROM_IMAGES = frozenset(
    f"student-{slug(name)}" for name, settings in STUDENTS.items() if settings.kind is StudentKind.STPM
)
"""The variants that learn from pixels."""

COMBINATIONS: Mapping[str, Variant] = MappingProxyType(
    {
        "flow-neighbours": Variant(about="flow and neighbours, joined", settings={"scorers": ("flow", "neighbours")}),
        "hybrid": Variant(
            about="flow, student and neighbours, joined", settings={"scorers": ("flow", "student", "neighbours")}
        ),
    }
)


def scorer_variants() -> dict[str, Variant]:
    """Return the variants for --scorers: the default, each registered scorer alone, and combinations."""
    alone = {name: Variant(about=f"{name} alone", settings={"scorers": (name,)}) for name in SCORERS}
    return {"default": Variant(about="what `curate scan` does"), **alone, **COMBINATIONS}


ABLATIONS: Mapping[str, Variant] = MappingProxyType(
    {
        "fence-iqr": Variant(  # the name under which existing benches keep it
            about="the default, threshold at Q3 + 1.5 IQR as published", settings={"threshold": ThresholdMethod.IQR}
        ),
        "no-same-part": Variant(
            about="the default, shots of the same part speak for each other", settings={"same_part": False}
        ),
        "rounds-1": Variant(about="the default in a single pass", settings={"rounds": 1}),
        **{name: Variant(about=_about(name), settings={"rounds": 1}, scorers=make) for name, make in VIEWS.items()},
    }
)
"""For --ablate."""


def scan_variants() -> dict[str, Variant]:
    """Return all ways to scan, by name: those for --scorers and those for --ablate."""
    return {**ABLATIONS, **scorer_variants()}


def check_names(option: str, names: Sequence[str], allowed: Mapping[str, object]) -> None:
    """Refuse names that are not allowed.

    Raises:
        UsageError: with the names that are.
    """
    for name in names:
        if name not in allowed:
            raise UsageError(f"{option} {name}: no such name; choose from {', '.join(allowed)}")
