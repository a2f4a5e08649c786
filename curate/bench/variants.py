"""The scorers and ablations that a bench can measure, by name: one line each.

A variant is a change of the settings of a scan, or scorers made by a function where no setting gives them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

from curate.config import ScanConfig
from curate.embeddings.backbones import Backbone
from curate.errors import UsageError
from curate.scores.base import Scorer
from curate.scores.flow import Flow
from curate.scores.flow_config import ABLATIONS as FLOWS
from curate.scores.flow_config import FlowConfig
from curate.scores.neighbours import Neighbours, NeighboursConfig
from curate.scores.stpm import Images
from curate.scores.student import Student
from curate.scores.student_config import ABLATIONS as STUDENTS
from curate.scores.student_config import Kind, StudentConfig


class Maker(Protocol):
    """Makes scorers from the settings of a scan; see `curate.scores.views.make_scorers`."""

    def __call__(
        self, config: ScanConfig, *, images: Images | None = None, teacher: Backbone | None = None
    ) -> Sequence[Scorer]: ...


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run the road.

    Attributes:
        about: what it is, one phrase for the tables.
        settings: what it changes of `ScanConfig`.
        scorers: makes the scorers; None for those that a scan makes.
    """

    about: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    scorers: Maker | None = None


def _views(*names: str) -> dict[str, Any]:
    """Return the settings of a scan with these views alone."""
    return {"scorers": names}


def _all_compared(config: ScanConfig, *, images: Images | None = None, teacher: Backbone | None = None) -> list[Scorer]:
    return [Neighbours(config=NeighboursConfig(images=config.neighbours, seed=config.seed, compared=100_000))]


def flow_maker(settings: FlowConfig) -> Maker:
    """Return what makes a flow of these settings, with the scan's seed."""

    def make(config: ScanConfig, *, images: Images | None = None, teacher: Backbone | None = None) -> list[Scorer]:
        return [Flow(config=replace(settings, seed=config.seed))]

    return make


def student_maker(settings: StudentConfig) -> Maker:
    """Return what makes a student of these settings, with the scan's seed."""

    def make(config: ScanConfig, *, images: Images | None = None, teacher: Backbone | None = None) -> list[Scorer]:
        return [Student(config=replace(settings, seed=config.seed), images=images, teacher=teacher)]

    return make


def slug(name: str) -> str:
    """Return a name that can stand in a list with commas and in a file's name."""
    return "-".join(re.findall(r"[a-z0-9]+", name.replace("+", " plus ").lower()))


def _about(name: str) -> str:
    """Return what a variant of one view is; in a single pass, so that the variants differ in the view alone."""
    return f"{name.replace('-', ': ', 1).replace('-', ' ')}, single pass"


VIEWS: Mapping[str, Maker] = MappingProxyType(
    {
        **{f"flow-{slug(name)}": flow_maker(made) for name, made in FLOWS.items()},
        **{f"student-{slug(name)}": student_maker(made) for name, made in STUDENTS.items()},
    }
)
"""Variants of one view, which learn from what they are told to."""

FROM_IMAGES = frozenset(f"student-{slug(name)}" for name, made in STUDENTS.items() if made.kind is Kind.STPM)
"""Those that learn from pixels."""

SCORERS: Mapping[str, Variant] = MappingProxyType(
    {
        "default": Variant(about="what `curate scan` does"),
        **{name: Variant(about=f"{name} alone", settings=_views(name)) for name in ("neighbours", "flow", "student")},
        "flow-neighbours": Variant(about="flow and neighbours, joined", settings=_views("flow", "neighbours")),
        "hybrid": Variant(
            about="flow, student and neighbours, joined", settings=_views("flow", "student", "neighbours")
        ),
    }
)
"""For --scorers."""

ABLATIONS: Mapping[str, Variant] = MappingProxyType(
    {
        "fence-iqr": Variant(about="the default, fenced at Q3 + 1.5 IQR as published", settings={"fence": "iqr"}),
        "rounds-1": Variant(about="the default in a single pass", settings={"rounds": 1}),
        "neighbours-all": Variant(about="neighbours compared with all images", scorers=_all_compared),
        **{name: Variant(about=_about(name), settings={"rounds": 1}, scorers=make) for name, make in VIEWS.items()},
    }
)
"""For --ablate."""


def find(option: str, names: Sequence[str], known: Mapping[str, object]) -> None:
    """Refuse names that are not known.

    Raises:
        UsageError: it says which there are.
    """
    for name in names:
        if name not in known:
            raise UsageError(f"{option} {name}: there is no such name; there are {', '.join(known)}")


def variant(name: str) -> Variant:
    """Return a scorer or ablation by its name."""
    return SCORERS[name] if name in SCORERS else ABLATIONS[name]
