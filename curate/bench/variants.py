"""The scorers and ablations that a bench can measure, by name: one line each.

A variant is a change of the settings of a scan, or scorers made by a function where no setting gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from curate.config import ScanConfig
from curate.errors import UsageError
from curate.scores.base import Scorer
from curate.scores.neighbours import Neighbours, NeighboursConfig


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run the road.

    Attributes:
        about: what it is, one phrase for the tables.
        settings: what it changes of `ScanConfig`.
        scorers: makes the scorers from the settings; None for those that a scan makes.
    """

    about: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    scorers: Callable[[ScanConfig], Sequence[Scorer]] | None = None


ALL_VIEWS = ("flow", "student", "neighbours")


def _only(name: str, about: str) -> Variant:
    return Variant(about=about, settings={"scorers": (name,)})


def _all_compared(config: ScanConfig) -> list[Scorer]:
    return [Neighbours(config=NeighboursConfig(images=config.neighbours, seed=config.seed, compared=100_000))]


SCORERS: Mapping[str, Variant] = MappingProxyType(
    {
        "default": Variant(about="what `curate scan` does"),
        "neighbours": _only("neighbours", "neighbours alone"),
        "flow": _only("flow", "flow alone"),
        "rad": Variant(
            about="RAD: the flow with meta-learned coupling blocks", settings={"scorers": ("flow",), "flow": "rad"}
        ),
        "student": _only("student", "student alone"),
        "all-views": Variant(about="flow, student and neighbours joined", settings={"scorers": ALL_VIEWS}),
    }
)
"""For --scorers."""

ABLATIONS: Mapping[str, Variant] = MappingProxyType(
    {
        "fence-iqr": Variant(about="Q3 + 1.5 IQR as published", settings={"fence": "iqr"}),
        "rounds-1": Variant(about="one pass, no refinement", settings={"rounds": 1}),
        "rounds-5": Variant(about="up to five rounds", settings={"rounds": 5}),
        "neighbours-all": Variant(about="neighbours compared with all images", scorers=_all_compared),
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
