"""Which scorers a scan runs, made from its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from curate.config import ScanConfig
from curate.embeddings.backbones import Backbone
from curate.errors import UsageError
from curate.scores.base import Scorer
from curate.scores.flow import RAD, Flow, FlowConfig
from curate.scores.neighbours import Neighbours, NeighboursConfig
from curate.scores.stpm import Images
from curate.scores.student import Student
from curate.scores.student_config import Kind, StudentConfig


def make_scorers(config: ScanConfig, *, images: Images | None = None, teacher: Backbone | None = None) -> list[Scorer]:
    """Return the scorers that a scan asks for, the one that keeps a meta-set before the one that may use it.

    Args:
        config: `scorers`, `flow`, `student`, `neighbours` and `seed` count.
        images: gives the pixels of a row of the listing, as they are embedded; for `student="stpm"` alone.
        teacher: the backbone; likewise.

    Raises:
        UsageError: `student="stpm"` where there are no images.
    """
    makers: dict[str, Callable[[], Scorer]] = {
        "student": lambda: _student(config, images, teacher),
        "flow": lambda: Flow(config=_flow(config)),
        "neighbours": lambda: Neighbours(config=NeighboursConfig(images=config.neighbours, seed=config.seed)),
    }
    return [make() for name, make in makers.items() if name in config.scorers]


def _flow(config: ScanConfig) -> FlowConfig:
    chosen = RAD if config.flow == "rad" else FlowConfig()
    return replace(chosen, seed=config.seed)


def _student(config: ScanConfig, images: Images | None, teacher: Backbone | None) -> Student:
    kind = Kind(config.student)
    if kind is Kind.STPM and (images is None or teacher is None):
        raise UsageError("--student stpm: learns from images, which are not at hand here; take surroundings")
    return Student(config=StudentConfig(kind=kind, seed=config.seed), images=images, teacher=teacher)
