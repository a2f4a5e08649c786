"""The protocol: which images a contaminated training set holds, and which images test it.

One test set serves all shares and seeds, and a defective image used as noise is never part of it. The share is
defective / all of the training set.

Leakage groups are drawn whole: all shots of a part are in the test set, or all are in a training set, or none is, as in
a factory's folder. A part with more shots than are still wanted is passed over. Groups whose images contradict each
other (`LabelledSet.contradictory`) are drawn for neither.

Where no image is found twice, the draws equal those of a script that writes them as folders (`make_noisy.py`), image
for image and name for name, so that a scan of such a folder and a cell of the bench agree to the last digit.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from curate.bench.sets import GOOD, LabelledSet
from curate.errors import UsageError
from curate.records import BoolArray, IntArray

TEST_SEED = 1
"""The test set depends on the labelled set alone."""

MOST = 0.5
TOLERANCE = 0.02
"""How far the realised share may be from the one asked for."""

FEWEST = 8
OFFERED = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One contaminated training set of N images, in the order in which a scan lists them.

    Attributes:
        share, seed: as asked for.
        rows: (N,) rows of the labelled set.
        names: N paths that do not reveal the truth.
        labels: N labels as a scan sees them.
        wrong: (N,) the truth: whether an image does not belong under its label.
    """

    share: float
    seed: int
    rows: IntArray
    names: tuple[str, ...]
    labels: tuple[str, ...]
    wrong: BoolArray

    @property
    def realised(self) -> float:
        """The share of images that do not belong, 0-1."""
        return float(self.wrong.mean()) if len(self.wrong) else 0.0


@dataclass(frozen=True, kw_only=True)
class Pools:
    """Rows of a labelled set: those of the test, and those that training sets are drawn from."""

    test_good: tuple[int, ...]
    test_bad: tuple[int, ...]
    good: tuple[int, ...]
    bad: tuple[int, ...]


def pools(source: LabelledSet, test_share: float) -> Pools:
    """Split a set into a fixed test set and the rest, from which training sets are drawn.

    Args:
        source: the labelled set.
        test_share: of the nominal and of the defective images, 0-1.
    """
    left_out = source.contradictory
    good = [row for row, nominal in enumerate(source.nominal) if nominal and row not in left_out]
    bad = [row for row, nominal in enumerate(source.nominal) if not nominal and row not in left_out]
    rng = random.Random(TEST_SEED)  # noqa: S311  a protocol, not a secret
    test_good, rest_good = _take(_shuffled(source, good, rng), int(len(good) * test_share))
    test_bad, rest_bad = _take(_shuffled(source, bad, rng), int(len(bad) * test_share))
    return Pools(
        test_good=tuple(_rows(test_good)),
        test_bad=tuple(_rows(test_bad)),
        good=tuple(_rows(rest_good)),
        bad=tuple(_rows(rest_bad)),
    )


Part = tuple[int, ...]
"""The rows of a leakage group."""


def _shuffled(source: LabelledSet, rows: Iterable[int], rng: random.Random) -> list[Part]:
    """Return the parts of some rows in an order by chance, whatever the number of their shots."""
    parts = source.parts(rows)
    rng.shuffle(parts)
    return parts


def _take(parts: Iterable[Part], images: int) -> tuple[list[Part], list[Part]]:
    """Return the first parts that hold so many images, or a few less, and the other parts."""
    taken, others = list[Part](), list[Part]()
    for part in parts:
        fits = len(part) <= images
        (taken if fits else others).append(part)
        images -= len(part) if fits else 0
    return taken, others


def _rows(parts: Iterable[Part]) -> list[int]:
    return list(chain.from_iterable(parts))


def draw(source: LabelledSet, share: float, seed: int, *, images: int = 200, test_share: float = 0.4) -> Draw:
    """Draw one training set.

    Args:
        source: the labelled set.
        share: of images that do not belong, 0-0.5.
        seed: of the draw; 0 is a seed.
        images: how many are wanted; fewer where the set runs out.
        test_share: share of the nominal and of the defective images that is kept for the test.
    """
    training = pools(source, test_share)
    rng = random.Random(seed)  # noqa: S311
    if source.by_class:
        chosen = _swapped_labels(source, training.good, share, images=images, rng=rng)
    else:
        good, bad = _shuffled(source, training.good, rng), _shuffled(source, training.bad, rng)
        nominal, noisy = counts(share, images, good=len(training.good), bad=len(training.bad))
        noise = _rows(_take(bad, noisy)[0])
        if len(noise) < noisy:  # the parts do not add up to it: the share is kept
            nominal = round(len(noise) * (1 - share) / share)
        chosen = [_Image(row, GOOD, wrong=False) for row in _rows(_take(good, nominal)[0])]
        chosen += [_Image(row, GOOD, wrong=True) for row in noise]
    return _in_order(source, chosen, share=share, seed=seed)


class _Image(NamedTuple):
    """A drawn image: its row in the set, its label in the draw, and whether it does not belong under that label."""

    row: int
    label: str
    wrong: bool


def counts(share: float, images: int, *, good: int, bad: int) -> tuple[int, int]:
    """Return how many nominal and defective images a training set of a share gets out of `good` and `bad` ones."""
    noisy = min(round(images * share), bad)
    wanted = images - noisy if share == 0 else round(noisy * (1 - share) / share)
    nominal = min(wanted, good)
    if share and nominal < wanted:
        noisy = round(nominal * share / (1 - share))
    return nominal, noisy


def _swapped_labels(
    source: LabelledSet, rows: Sequence[int], share: float, *, images: int, rng: random.Random
) -> list[_Image]:
    """Draw equally from all classes, and give a share of each class's images, all shots of a part, another's label."""
    classes = sorted(set(source.labels))
    chosen = list[_Image]()
    for name in classes:
        parts = _shuffled(source, (row for row in rows if source.labels[row] == name), rng)
        own, _ = _take(parts, images // len(classes))
        swapped, kept = _take(own, round(share * len(_rows(own))))
        others = [other for other in classes if other != name]
        for part in swapped:
            label = rng.choice(others)
            chosen += [_Image(row, label, wrong=True) for row in part]
        chosen += [_Image(row, name, wrong=False) for row in _rows(kept)]
    return chosen


def _in_order(source: LabelledSet, chosen: Sequence[_Image], *, share: float, seed: int) -> Draw:
    """Return a draw of some images, in the order of their paths."""
    names = [f"{image.label}/{_name(source, image.row, seed)}" for image in chosen]
    order = sorted(range(len(chosen)), key=names.__getitem__)
    return Draw(
        share=share,
        seed=seed,
        rows=np.array([chosen[i].row for i in order], dtype=np.int64),
        names=tuple(names[i] for i in order),
        labels=tuple(chosen[i].label for i in order),
        wrong=np.array([chosen[i].wrong for i in order], dtype=np.bool_),
    )


def _name(source: LabelledSet, row: int, seed: int) -> str:
    digest = hashlib.sha256(f"{seed}:{source.relative(row)}".encode()).hexdigest()
    return digest[:12] + source.files[row].suffix.lower()


def check_shares(
    source: LabelledSet, shares: Sequence[float], *, images: int, test_share: float, seeds: int = 1
) -> None:
    """Refuse shares that a set has too few images for, or too few parts.

    Args:
        source: the labelled set.
        shares: of images that do not belong.
        images, test_share: see `draw`.
        seeds: the draws with the seeds 0 to `seeds` - 1 must all be possible.

    Raises:
        UsageError: a share is out of range, or not possible; with the shares that are.
    """

    def possible(share: float) -> bool:
        draws = (draw(source, share, seed, images=images, test_share=test_share) for seed in range(seeds))
        return all(map(_is_as_asked, draws))

    for share in shares:
        if not 0 <= share <= MOST:
            raise UsageError(
                f"--shares {share:g}: shares lie between 0 and {MOST}: beyond that, the noise would be nominal"
            )

        if not possible(share):
            offers = ", ".join(f"{offer:g}" for offer in OFFERED if possible(offer)) or "none"
            raise UsageError(
                f"--shares {share:g}: not possible with {source.root}, which has "
                f"{_training_said(source, pools(source, test_share))}; possible: {offers}"
            )


def _is_as_asked(drawn: Draw) -> bool:
    noise = bool(drawn.wrong.any()) == (drawn.share > 0)
    return len(drawn.rows) >= FEWEST and noise and abs(drawn.realised - drawn.share) <= TOLERANCE


def _training_said(source: LabelledSet, training: Pools) -> str:
    """Say what there is to draw training sets from, in words."""
    said = f"{len(training.good)} nominal and {len(training.bad)} defective images for training"
    parts = [len(source.parts(rows)) for rows in (training.good, training.bad)]
    if sum(parts) < len(training.good) + len(training.bad):
        said += f", of {parts[0]} and {parts[1]} parts, whose shots are drawn together"
    if source.contradictory:
        said += f" ({len(source.contradictory)} images of parts that are both are left out)"
    return said
