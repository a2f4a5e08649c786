"""The shares of a proposed split: given by the user, or those that each label has now."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from curate.errors import UsageError

Counts = NDArray[np.float64]

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
EXAMPLE = "train=0.7,val=0.15,test=0.15"
ROUNDING = 1e-6
TRAIN = "train"


def parse_shares(text: str) -> dict[str, float]:
    """Return the share of each split, such as `train=0.8,test=0.2`, in its order.

    Raises:
        UsageError: not names with shares, a name twice, fewer than two, or shares that do not add up to 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (word.strip() for word in part.partition("="))
        share = _number(number)
        if not equals or not NAME.fullmatch(name) or not 0 < share < 1:
            raise UsageError(
                f"--shares {text}: {part.strip()!r} is not NAME=SHARE, the share above 0 and below 1; write {EXAMPLE}"
            )
        if name in shares:
            raise UsageError(f"--shares {text}: {name!r} occurs twice; name each split once")
        shares[name] = share
    total = sum(shares.values())
    if abs(total - 1) > ROUNDING:
        raise UsageError(f"--shares {text}: the shares add up to {total:.4g}; they must add up to 1")
    return shares


def _number(text: str) -> float:
    """Return a number, NaN if the text is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def wanted_counts(
    labels: Sequence[str], splits: Sequence[str], shares: Mapping[str, float] | None
) -> tuple[list[str], dict[str, Counts]]:
    """Return how many images of each label each split should have.

    Without given shares each label keeps those that it has now, so a defect that only the test split holds does not get
    into training. Given shares hold for every label, but a label that `train` does not hold now stays out of it.

    Args:
        labels, splits: (N,) of the images; a split "" is none.
        shares: of each split; None for those that there are.

    Returns:
        The S names of the splits; by label (S,) numbers of images, which add up to those of the label.

    Raises:
        UsageError: no shares are given, and there are fewer than two splits.
    """
    there = sorted(set(splits) - {""}, key=lambda split: (split != TRAIN, split))
    if shares is None and len(there) < 2:
        what = f"all lie in {there[0]!r}" if there else "have no split"
        raise UsageError(f"--resplit: the kept images {what}, which gives no shares; add --shares {EXAMPLE}")
    sizes = Counter(labels)
    pairs = Counter(zip(labels, splits, strict=True))
    all_now = Counter(splits)
    names = there if shares is None else list(shares)
    wanted: dict[str, Counts] = {}
    for label in sorted(sizes):
        now = {split: pairs[label, split] for split in there}
        chosen: Mapping[str, float] = now if any(now.values()) else {split: all_now[split] for split in there}
        if shares is not None:
            chosen = {name: 0.0 if name == TRAIN and now.get(name) == 0 else share for name, share in shares.items()}
        numbers = np.array([chosen[name] for name in names], np.float64)
        wanted[label] = sizes[label] * numbers / numbers.sum()
    return names, wanted
