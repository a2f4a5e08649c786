"""The protocol: which images a contaminated training set holds, and which test it.

One test set for all shares and seeds; a defective image used as noise never stands in it; the share is defective /
all of the training set. The draws are those of a script that writes them as folders (`make_noisy.py`), image for
image and name for name, so that a scan of such a folder and a cell of the bench agree to the last digit.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.bench.sets import GOOD, LabelledSet
from curate.errors import UsageError
from curate.records import BoolArray, IntArray

TEST_SEED = 1
"""The test set depends on the labelled set alone."""

MOST = 0.5
NEAR = 0.02
"""A share counts as had if the realised one is so near to it."""

FEWEST = 8
OFFERED = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One contaminated training set of N images, in the order in which a scan lists them.

    Attributes:
        share, seed: as asked for.
        rows: (N,) rows of the labelled set.
        names: N paths that say nothing of the truth.
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
    """Rows of a labelled set: for the test, and to draw training sets from."""

    test_good: tuple[int, ...]
    test_bad: tuple[int, ...]
    good: tuple[int, ...]
    bad: tuple[int, ...]


def pools(source: LabelledSet, test_share: float) -> Pools:
    """Part a set into a fixed test set and what training sets are drawn from; `test_share` is 0-1, of each kind."""
    good = [row for row, nominal in enumerate(source.nominal) if nominal]
    bad = [row for row, nominal in enumerate(source.nominal) if not nominal]
    fixed = random.Random(TEST_SEED)  # noqa: S311  a protocol, not a secret
    fixed.shuffle(good)
    fixed.shuffle(bad)
    held_good, held_bad = int(len(good) * test_share), int(len(bad) * test_share)
    return Pools(
        test_good=tuple(good[:held_good]),
        test_bad=tuple(bad[:held_bad]),
        good=tuple(good[held_good:]),
        bad=tuple(bad[held_bad:]),
    )


def draw(source: LabelledSet, share: float, seed: int, *, images: int = 200, test_share: float = 0.4) -> Draw:
    """Draw one training set.

    Args:
        source: the labelled set.
        share: of images that do not belong, 0-0.5.
        seed: of the draw; 0 is a seed.
        images: how many are wanted; fewer where the set runs out.
        test_share: share of each kind that is kept for the test.
    """
    left = pools(source, test_share)
    lot = random.Random(seed)  # noqa: S311
    if source.by_class:
        return _swapped(source, left.good, share, seed, images, lot)
    good, bad = list(left.good), list(left.bad)
    lot.shuffle(good)
    lot.shuffle(bad)
    nominal, noisy = counts(share, images, len(good), len(bad))
    chosen = good[:nominal] + bad[:noisy]
    wrong = [False] * nominal + [True] * noisy
    return _in_order(source, share, seed, chosen, [GOOD] * len(chosen), wrong)


def counts(share: float, images: int, good: int, bad: int) -> tuple[int, int]:
    """Return how many nominal and defective images a training set of a share gets from what there is."""
    noisy = min(round(images * share), bad)
    wanted = images - noisy if share == 0 else round(noisy * (1 - share) / share)
    nominal = min(wanted, good)
    if share and nominal < wanted:
        noisy = round(nominal * share / (1 - share))
    return nominal, noisy


def _swapped(
    source: LabelledSet, rows: Sequence[int], share: float, seed: int, images: int, lot: random.Random
) -> Draw:
    """Draw equally from all classes, and give a share of each class's images the label of another."""
    classes = sorted(set(source.labels))
    chosen, labels, wrong = list[int](), list[str](), list[bool]()
    for name in classes:
        own = [row for row in rows if source.labels[row] == name]
        lot.shuffle(own)
        own = own[: images // len(classes)]
        swapped = round(share * len(own))
        others = [other for other in classes if other != name]
        chosen += own
        labels += [lot.choice(others) for _ in range(swapped)] + [name] * (len(own) - swapped)
        wrong += [True] * swapped + [False] * (len(own) - swapped)
    return _in_order(source, share, seed, chosen, labels, wrong)


def _in_order(
    source: LabelledSet, share: float, seed: int, rows: Sequence[int], labels: Sequence[str], wrong: Sequence[bool]
) -> Draw:
    names = [f"{label}/{_name(source, row, seed)}" for row, label in zip(rows, labels, strict=True)]
    order = sorted(range(len(rows)), key=names.__getitem__)
    return Draw(
        share=share,
        seed=seed,
        rows=np.array([rows[i] for i in order], dtype=np.int64),
        names=tuple(names[i] for i in order),
        labels=tuple(labels[i] for i in order),
        wrong=np.array([wrong[i] for i in order], dtype=np.bool_),
    )


def _name(source: LabelledSet, row: int, seed: int) -> str:
    digest = hashlib.sha256(f"{seed}:{source.relative(row)}".encode()).hexdigest()
    return digest[:12] + source.files[row].suffix.lower()


def check_shares(source: LabelledSet, shares: Sequence[float], *, images: int, test_share: float) -> None:
    """Refuse shares that a set cannot give.

    Raises:
        UsageError: a share out of range, or one that comes out otherwise; it says which could be had.
    """
    for share in shares:
        if not 0 <= share <= MOST:
            raise UsageError(f"--shares {share:g}: shares lie between 0 and {MOST}: beyond, the noise would be nominal")
        if not _had(source, share, images, test_share):
            could = ", ".join(f"{offer:g}" for offer in OFFERED if _had(source, offer, images, test_share))
            left = pools(source, test_share)
            raise UsageError(
                f"--shares {share:g}: cannot be had from {source.root}, which leaves {len(left.good)} nominal and "
                f"{len(left.bad)} defective images for training; could be had: {could or 'none'}"
            )


def _had(source: LabelledSet, share: float, images: int, test_share: float) -> bool:
    drawn = draw(source, share, 0, images=images, test_share=test_share)
    noise = bool(drawn.wrong.any()) == (share > 0)
    return len(drawn.rows) >= FEWEST and noise and abs(drawn.realised - share) <= NEAR
