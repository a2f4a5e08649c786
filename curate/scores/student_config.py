"""The settings of the student, and the variants of it that a benchmark compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from curate.choices import StudentKind
from curate.records import Alignment
from curate.scores.alignment import MORE
from curate.scores.published.mlg_stpm import Curriculum, MetaSetConfig
from curate.scores.published.stpm import StpmConfig


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """The settings of `Student`.

    Attributes:
        kind: the small student of surroundings, or STPM as published.
        curriculum: batches alone (as STPM); batches and a sample of the meta-set (as MLG-STPM); the meta-set alone; or
            trimmed: batches of a meta-set that holds most images.
        meta_set: sizes and clusters of the meta-set.
        meta_weight: lambda, the weight of the meta-set's sample beside the batch.
        folds: students; each judges the images that the others are trained on.
        epochs, steps: epochs in all, and steps in each.
        warm_up, every: epochs before the first ranking, and from one ranking to the next.
        again: epochs of a round that starts from the students of the round before.
        batch, meta_batch: patches in a step.
        reduced_width: of a descriptor, before its surroundings are averaged.
        hidden: width of the student's hidden layer.
        learning_rate: of Adam, at the start; falls to 0 along half a cosine.
        training_images, training_patches: at most so many images, and so many patches in all, are trained on.
        top_share: the share of an image's patches, the highest of the map, whose mean is its score.
        stpm: what `StudentKind.STPM` takes in place of the settings from `folds` to `training_patches`.
        seed: of every draw.
    """

    kind: StudentKind = StudentKind.SURROUNDINGS
    curriculum: Curriculum = Curriculum.BATCHES
    meta_set: MetaSetConfig = field(default_factory=MetaSetConfig)
    meta_weight: float = 1.0
    folds: int = 4
    epochs: int = 8
    steps: int = 25
    warm_up: int = 3
    every: int = 2
    again: int = 4
    batch: int = 512
    meta_batch: int = 256
    reduced_width: int = 64
    hidden: int = 128
    learning_rate: float = 4e-3
    training_images: int = 4000
    training_patches: int = 200_000
    top_share: float = 0.02
    stpm: StpmConfig = field(default_factory=StpmConfig)
    seed: int = 0

    def for_alignment(self, alignment: Alignment) -> StudentConfig:
        """Return the settings for a set: `larger` where its images are not aligned."""
        return self if alignment.aligned else self.larger()

    def larger(self) -> StudentConfig:
        """Return the settings of a student `MORE` times as wide, trained `MORE` times as long."""
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
            curriculum=Curriculum.TRIMMED, meta_set=MetaSetConfig(first_share=0.7, last_share=0.7, clusters=1)
        ),
        "larger": StudentConfig().larger(),
        "stpm": StudentConfig(kind=StudentKind.STPM),
        "mlg-stpm": StudentConfig(kind=StudentKind.STPM, curriculum=Curriculum.META_SET),
    }
)
"""What a benchmark compares: the small student with four curricula, a larger one, and the two methods as published."""
