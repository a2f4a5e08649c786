"""How planted re-shots compare to their originals: what a second shot of the set's own parts scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from curate.records import FloatArray, IntArray
from curate.same_part.judge import Alike, Comparison
from curate.same_part.pairs import Registered, correlations, mutual_differences, register
from curate.same_part.planted import ALL_TOGETHER, plant
from curate.same_part.prints import Read, print_of

WEAK = 0.1
"""The planted re-shot at this quantile stands for the weakest that must be found."""
OTHERWISE_ALIKE = 0.95
OTHERWISE_DIFFERENT = 0.25
"""So many images drawn from the whole set are less alike, and so many differ less: up to a quarter may be shots of
the same part, or of one product of several."""
LOCAL_QUANTILE, LOCAL_MARGIN = 0.99, 1.25
"""A pair differs locally if it does so by a quarter more than 99 % of the planted re-shots, which do not."""
SMALLEST_LIMIT = 1.0
"""A difference that noise explains is none, however few re-shots are found."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Re-shots of some images: their rows (P,), and their prints (P, S, S) by kind."""

    rows: IntArray
    shots: Mapping[str, FloatArray]


def plant_reshots(read: Read, rows: IntArray, generator: np.random.Generator, *, strength: float = 1) -> Planted:
    """Plant a re-shot of each kind of some images, and return their prints; see `plant`."""
    shots: dict[str, list[FloatArray]] = {}
    for row in rows.tolist():
        for kind, pixels in plant(read(row), generator, strength).items():
            shots.setdefault(kind, []).append(print_of(pixels))
    return Planted(rows=rows, shots={kind: np.stack(prints) for kind, prints in shots.items()})


def alike_from(images: Comparison, planted: Planted) -> tuple[Alike, ...]:
    """Return when an image may look like a second shot: by no, one or two measures of what a second shot is.

    Both likeness and difference must lie on the near side of the middle between images drawn from anywhere and weak
    re-shots: these beside re-shots of other kinds, where both are moved, or beside their originals. Which of the two
    suits a set, its re-shots tell. Where re-shots differ as much as other images do, there is none: parts of one
    product in a mixed set would look like shots of one part.

    Source: ours.
    """
    anywhere, beside_reshots, beside_originals = _Beside(), _Beside(), _Beside()
    for at, row in enumerate(planted.rows.tolist()):
        shots = {kind: prints[at] for kind, prints in planted.shots.items()}
        first = shots.pop(ALL_TOGETHER)
        beside_reshots.add(register(first, np.stack(list(shots.values())), images.weights), images.common)
        beside_originals.add(images.register(row, np.array([row]), shot=first), images.common)
        anywhere.add(images.register(row, images.others(row, images.anywhere), shot=first), images.common)
    if not sum(map(len, anywhere.likeness)):
        return ()
    likeness = np.quantile(np.concatenate(anywhere.likeness), OTHERWISE_ALIKE)
    difference = np.quantile(np.concatenate(anywhere.differences), OTHERWISE_DIFFERENT)
    limits = []
    for beside in (beside_reshots, beside_originals):
        apart = np.quantile(np.concatenate(beside.differences), 1 - WEAK)
        if apart < difference:
            weak = np.quantile(np.concatenate(beside.likeness), WEAK)
            limits.append(Alike(likeness=float(likeness + weak) / 2, difference=float(np.sqrt(apart * difference))))
    return tuple(limits)


@dataclass(kw_only=True)
class _Beside:
    """Likeness and differences of prints beside some first ones."""

    likeness: list[FloatArray] = field(default_factory=list)
    differences: list[FloatArray] = field(default_factory=list)

    def add(self, registered: Registered, common: FloatArray) -> None:
        self.likeness.append(correlations(registered, common))
        self.differences.append(mutual_differences(registered)[0, 1:])


@dataclass(frozen=True, kw_only=True)
class Reshots:
    """Scores (P,) and local differences (P, 2) of planted re-shots by kind; -inf where there are too few references."""

    scores: Mapping[str, FloatArray]
    local: Mapping[str, FloatArray]

    @property
    def midway(self) -> float:
        """The middle between different parts, 0, and the weak re-shots: both have room there."""
        scores = self.scores.get(ALL_TOGETHER, np.zeros(0, np.float32))
        scores = scores[np.isfinite(scores)]
        return float(np.quantile(scores, WEAK)) / 2 if len(scores) else 0.0

    def recall(self, threshold: float) -> dict[str, float]:
        """Return the share of re-shots at a threshold or above, by kind, of those that could be compared."""
        comparable = {kind: scores[np.isfinite(scores)] for kind, scores in self.scores.items()}
        return {kind: float(np.mean(scores >= threshold)) for kind, scores in comparable.items() if len(scores)}

    def local_limits(self, threshold: float) -> FloatArray:
        """Return the limits (2,) of the local difference in the middle and at the rim, from the re-shots found."""
        found = [self.local[kind][scores >= threshold] for kind, scores in self.scores.items()]
        ratios = np.concatenate([np.full((1, 2), SMALLEST_LIMIT, np.float32), *found])
        limits: FloatArray = LOCAL_MARGIN * np.quantile(ratios, LOCAL_QUANTILE, axis=0).astype(np.float32)
        return limits


def judge_reshots(images: Comparison, planted: Planted) -> Reshots:
    """Judge planted re-shots beside their originals."""
    scores: dict[str, FloatArray] = {}
    local: dict[str, FloatArray] = {}
    for kind, shots in planted.shots.items():
        judged = [
            images.judge(row, np.array([row]), least=-np.inf, shot=shot)
            for row, shot in zip(planted.rows.tolist(), shots, strict=True)
        ]
        scores[kind] = np.concatenate([one.scores for one in judged])
        local[kind] = np.concatenate([one.local for one in judged])
    return Reshots(scores=scores, local=local)
