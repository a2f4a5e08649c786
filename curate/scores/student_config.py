"""The settings of the student, and the variants of it that a benchmark compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from curate.scores.alignment import MORE
from curate.scores.meta_set import MetaSetConfig
from curate.scores.stpm import StpmConfig


class Kind(StrEnum):
    """Which student."""

    SURROUNDINGS = "surroundings"
    STPM = "stpm"


class Join(StrEnum):
    """How the differences of the stages become one map."""

    WEIGHTED = "weighted"
    PRODUCT = "product"


class Curriculum(StrEnum):
    """What a student learns from once it is warm."""

    BATCHES = "batches"
    META_SET = "meta-set"
    META_SET_ONLY = "meta-set-only"
    TRIMMED = "trimmed"


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """The settings of `Student`.

    Attributes:
        kind: the small student of surroundings, or STPM as published.
        curriculum: batches alone (plain STPM), batches and the meta-set, the meta-set alone, or (trimmed) batches of a
            meta-set that holds most images.
        meta_set: sizes and spread of the meta-set.
        meta_weight: lambda, the weight of the meta-set's sample beside the batch.
        join: the stages' mean, each weighing half as much as the one before it; or their product, as published.
        folds: students; each judges the images that the others learn from.
        epochs, steps: epochs in all, and steps in each.
        warm_up, every: epochs before the first ranking, and from one ranking to the next.
        again: epochs of a round that starts from the students of the round before.
        batch, meta_batch: places in a step.
        inputs: width that a descriptor is reduced to before its surroundings are taken.
        hidden: width of the student.
        learning_rate: of Adam, at the start; falls to 0 along half a cosine.
        learnt_images, learnt_places: at most so many images, and so many places in all, are learnt from.
        top_share: the share of an image's places, the highest of the map, whose mean is its score.
        stpm: what `Kind.STPM` takes in place of the settings from `folds` to `learnt_places`.
        seed: of every draw.
    """

    kind: Kind = Kind.SURROUNDINGS
    curriculum: Curriculum = Curriculum.BATCHES
    meta_set: MetaSetConfig = field(default_factory=MetaSetConfig)
    meta_weight: float = 1.0
    join: Join = Join.WEIGHTED
    folds: int = 4
    epochs: int = 8
    steps: int = 25
    warm_up: int = 3
    every: int = 2
    again: int = 4
    batch: int = 512
    meta_batch: int = 256
    inputs: int = 64
    hidden: int = 128
    learning_rate: float = 4e-3
    learnt_images: int = 4000
    learnt_places: int = 200_000
    top_share: float = 0.01
    stpm: StpmConfig = field(default_factory=StpmConfig)
    seed: int = 0

    def for_parts_anywhere(self) -> StudentConfig:
        """Return the settings for a set whose images do not lie alike: `MORE` times as wide, `MORE` times as long."""
        return replace(
            self,
            hidden=MORE * self.hidden,
            epochs=MORE * self.epochs,
            warm_up=MORE * self.warm_up,
            every=MORE * self.every,
            again=MORE * self.again,
        )


ABLATIONS: Mapping[str, StudentConfig] = MappingProxyType(
    {
        "plain": StudentConfig(),
        "ems": StudentConfig(curriculum=Curriculum.META_SET),
        "ems only": StudentConfig(curriculum=Curriculum.META_SET_ONLY),
        "trimmed": StudentConfig(
            curriculum=Curriculum.TRIMMED, meta_set=MetaSetConfig(first_share=0.7, last_share=0.7, looks=1)
        ),
        "larger": StudentConfig().for_parts_anywhere(),
        "stpm": StudentConfig(kind=Kind.STPM),
        "mlg-stpm": StudentConfig(kind=Kind.STPM, curriculum=Curriculum.META_SET),
    }
)
"""What a benchmark compares: four curricula of the small student, a larger one, and the two papers as published."""
