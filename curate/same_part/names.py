"""Proposes groups from file names: the regular expression that agrees best with the pairs found.

    paths, pairs -> patterns -> how well each agrees -> the best, if it agrees well enough

**Criterion.** Names and search both say of any two images whether they are of one part. The adjusted Rand index says
how well both agree: 0 as by chance, 1 in all pairs. A lot or a camera joins many images that no pair joins, a running
number none that are joined: both are near 0. An expression is proposed if its index is at least half-way between chance
and full agreement, and if the pairs on which both agree are at least five, in at least two groups: fewer are no series.
Of expressions that agree about as well as the best, one with the fewest captures is taken: a folder that the name does
not need splits some wrong pair by chance. Then the index decides, then the length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from curate.images.name_groups import captured
from curate.records import BoolArray, IntArray
from curate.same_part.name_patterns import patterns

LEAST_INDEX, AS_WELL = 0.5, 0.05
LEAST_PAIRS, LEAST_GROUPS = 5, 2
SAMPLED = 200
"""Pairs whose names give the patterns, and on which all of them are tried."""
TRIED = 50
"""Patterns that are tried on all images: those that agree best with the sampled pairs."""
CAPTURE = re.compile(r"(?<!\\)\((?!\?)")


@dataclass(frozen=True, kw_only=True)
class ProposedGroup:
    """A regular expression that makes groups of names.

    Attributes:
        regex: in RE2's syntax, as `curate scan --group-from` takes it.
        agree: how many of the pairs found it joins.
        found: how many pairs were found.
        named: how many pairs of images it joins, also those that were not found.
    """

    regex: str
    agree: int
    found: int
    named: int

    def index(self, images: int) -> float:
        """Return the adjusted Rand index of names and search among a number of images.

        Source: Hubert and Arabie 1985, Eq. 5. Differs: the pairs found need not be a partition.
        """
        chance = self.found * self.named / max(images * (images - 1) / 2, 1)
        most = (self.found + self.named) / 2
        return (self.agree - chance) / (most - chance) if most > chance else 0.0


def propose_group(paths: Sequence[str], pairs: IntArray, comparable: BoolArray) -> ProposedGroup | None:
    """Return the regular expression whose groups agree best with the pairs found; None if none agrees well enough.

    Args:
        paths: of M images, POSIX.
        pairs: (P, 2) rows of images that show the same part.
        comparable: (M,) images of which a pair could be found; no others count.

    Source: ours; the criterion stands at the head of this module.
    """
    rows = np.flatnonzero(comparable)
    place = np.full(len(comparable), -1, np.int64)
    place[rows] = np.arange(len(rows))
    found = np.unique(np.sort(place[pairs], axis=1), axis=0) if len(pairs) else pairs
    found = found[(found[:, 0] >= 0) & (found[:, 0] < found[:, 1])]
    if len(found) < LEAST_PAIRS:
        return None
    names = [paths[row] for row in rows.tolist()]
    proposals = [_proposal(regex, names, found) for regex in _worth_trying(names, found)]
    scored = [(one.index(len(names)), one) for one in proposals if one is not None]
    best = max((index for index, _ in scored), default=0.0)
    if best < LEAST_INDEX:
        return None
    as_well = [
        (len(CAPTURE.findall(one.regex)), -index, len(one.regex), one.regex, one)
        for index, one in scored
        if index > best - AS_WELL
    ]
    return min(as_well)[-1]


def _worth_trying(names: Sequence[str], found: IntArray) -> list[str]:
    """Return the patterns that agree best with the search among the images of some of the pairs.

    The share of agreement there, 2 agree / (found + named), is about as high as the index among all images, or higher.
    """
    rows = np.unique(found[np.linspace(0, len(found) - 1, min(len(found), SAMPLED)).astype(np.int64)])
    among = np.searchsorted(rows, found[np.isin(found, rows).all(axis=1)])
    some = [names[row] for row in rows.tolist()]
    shares: list[tuple[float, int, str]] = []
    for regex in patterns(some):
        agree, named, _ = _agreement(regex, some, among)
        shares.append((-2 * agree / (len(among) + named), len(regex), regex))
    return [regex for share, _, regex in islice(sorted(shares), TRIED) if -share >= LEAST_INDEX]


def _proposal(regex: str, names: Sequence[str], found: IntArray) -> ProposedGroup | None:
    agree, named, groups = _agreement(regex, names, found)
    if agree < LEAST_PAIRS or groups < LEAST_GROUPS:
        return None
    return ProposedGroup(regex=regex, agree=agree, found=len(found), named=named)


def _agreement(regex: str, names: Sequence[str], found: IntArray) -> tuple[int, int, int]:
    """Return how many pairs both name and search join, how many the names join, and the groups of the former."""
    texts = captured(names, regex)
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(text, len(numbers)) if text else -1 for text in texts], np.int64)
    sizes = np.bincount(groups[groups >= 0])
    first, other = groups[found].T
    both = first[(first == other) & (first >= 0)]
    return len(both), int((sizes * (sizes - 1) // 2).sum()), len(np.unique(both))
