"""Which images belong to another class? Two ways to see it.

*Ordinary elsewhere.* A folder of defects holds many looks, so its fence lies far above a good part that strayed into
it. But the good part is ordinary among the good ones, and a defect is not. So each image is held, by the scorer
`neighbours`, against the *tightest* class, the one whose own images score lowest in the middle; it belongs there where
it scores no higher than the median of that class's own images. (Of a class of several kinds of images, each kind is
asked.) A loose class cannot vouch: nearly everything is
ordinary in it, and a faint bend would be taken for a scratch.

*Near another class.* Of the images that are odd in their own class, those whose nearest images by pooled vectors are
mostly of one other class. A pooled vector does not see a small defect: whether the patches are odd there is said too.

Ours. By construction half of the strayed images are found, those more ordinary than the median: measured (four sets, a
tenth of each folder of defects really good; examples/bench/good_among_defects.py) 25 of 51 are, and 16 of 461 true
defects are called good, 12 of them on magnetic_tile, where many are too faint to be seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from curate.embeddings.threads import one_core_each
from curate.records import BoolArray, Embeddings, FloatArray, IntArray, Progress, no_progress
from curate.scores.by_label import label_rows
from curate.scores.kinds import NominalSets
from curate.scores.neighbours import NeighboursConfig, against
from curate.scores.similar import similar_images

FEWEST = 16
"""Kept images that a class must have to vouch for an image of another."""

SHOWN = 5
"""Images of that class that are named, to look at."""

POOLED_NEIGHBOURS = 5
"""How many images, by pooled vectors, say to which class an image is near."""


@dataclass(frozen=True)
class Elsewhere:
    """An image that is ordinary among another class.

    Attributes:
        label: that class, or the kind within it: a nominal set.
        odder: share of its own kept images, 0-1, that score higher: from 0.5 on.
        nearest: images of it that are kept and most like this one, nearest first, `SHOWN` at most.
    """

    label: str
    odder: float
    nearest: tuple[int, ...] = ()


@dataclass(frozen=True)
class Near:
    """An image whose pooled vector lies among another class.

    Attributes:
        label: that class, or the kind within it: a nominal set.
        votes: how many of the `POOLED_NEIGHBOURS` images most like it are of that class: more than half.
        odd: whether its patches are odd among that class too; None where the view that says so did not look.
    """

    label: str
    votes: int
    odd: bool | None


def near_another(embeddings: Embeddings, sets: NominalSets, duplicates: IntArray, flagged: IntArray) -> dict[int, Near]:
    """Find the flagged images that lie among another class by their pooled vectors.

    Args:
        embeddings: of N images.
        sets: of the images.
        duplicates: (N,) equal numbers for exact duplicates: none vouches for another.
        flagged: (F,) rows.

    Returns:
        By image; `odd` is None.
    """
    if len(set(sets.label_of.values())) < 2 or not len(flagged):
        return {}
    near = similar_images(embeddings, duplicates, POOLED_NEIGHBOURS, flagged).near
    found = {}
    for i, images in zip(flagged.tolist(), near.tolist(), strict=True):
        votes = Counter(sets.names[j] for j in images if j >= 0)
        name, count = votes.most_common(1)[0] if votes else (sets.names[i], 0)
        label = sets.label_of[name]
        if label and label != sets.label_of[sets.names[i]] and 2 * count > POOLED_NEIGHBOURS:
            found[i] = Near(name, count, odd=None)
    return found


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a set, asked by the scorer `neighbours` about images of one another.

    Attributes:
        embeddings: of N images.
        kin: (N,) see `Scorer.score`.
        sets: of the images; kinds of one class are not held against each other.
        kept: (N,) whether an image vouches for its class: it is not flagged in it.
        configs: by class, the settings with which `neighbours` scored it: the place counts in one that lies alike.
    """

    embeddings: Embeddings
    kin: IntArray
    sets: NominalSets
    kept: BoolArray
    configs: Mapping[str, NeighboursConfig]

    def ordinary(self, own: FloatArray, *, progress: Progress = no_progress) -> dict[int, Elsewhere]:
        """Find the images of looser classes that are as ordinary in the tightest class as half of its own.

        Args:
            own: (N,) score by `neighbours`, each image among its own class.
            progress: called with the number of images just finished; N in all where there is more than one class.

        Returns:
            By image. Nothing where there is one class only, or no class has sixteen kept images that differ in score.
        """
        rows, label_of = label_rows(self.sets.names), self.sets.label_of
        if len(set(label_of.values())) < 2:
            return {}
        known = {label: own[part[self.kept[part]]] for label, part in rows.items()}
        middles = {label: float(np.median(v)) for label, v in known.items() if len(v) >= FEWEST and np.ptp(v) > 0}
        if not middles:
            progress(len(own))
            return {}
        tightest = label_of[min(middles, key=middles.__getitem__)]
        others = [part for name, part in rows.items() if label_of[name] != tightest]
        belongs: dict[int, Elsewhere] = {}
        for number, name in enumerate(name for name in sorted(middles) if label_of[name] == tightest):
            looser = [part for part in others if np.median(own[part]) > middles[name]]
            asked = np.concatenate([np.zeros(0, dtype=np.int64), *looser])
            told = progress if number == 0 else no_progress
            told(len(own) - len(asked))
            values = self._against(asked, name, progress=told)
            found = values <= middles[name]  # false for one that could not be compared
            near = similar_images(self.embeddings, self.kin, SHOWN, asked[found], allowed=self._vouching(name)).near
            for image, value, like in zip(asked[found].tolist(), values[found].tolist(), near.tolist(), strict=True):
                one = Elsewhere(name, float((known[name] > value).mean()), tuple(n for n in like if n >= 0))
                belongs[image] = max(belongs.get(image, one), one, key=lambda where: where.odder)
        return belongs

    def odd_there(self, found: Mapping[int, Near], fences: Mapping[str, float]) -> dict[int, Near]:
        """Say of images that lie among another class whether their patches are odd there.

        Args:
            found: see `near_another`.
            fences: by class, of its own images' scores by `neighbours`; without one that could be fenced nothing is
                said.
        """
        told = dict(found)
        for label in sorted({near.label for near in found.values()} & fences.keys()):
            asked = np.array([i for i, near in found.items() if near.label == label], dtype=np.int64)
            for i, value in zip(asked.tolist(), self._against(asked, label).tolist(), strict=True):
                told[i] = replace(found[i], odd=None if np.isnan(value) else value > fences[label])
        return told

    def _vouching(self, label: str) -> BoolArray:
        return np.asarray(self.kept & [own == label for own in self.sets.names], dtype=np.bool_)

    def _against(self, asked: IntArray, label: str, *, progress: Progress = no_progress) -> FloatArray:
        with one_core_each("elsewhere") as pool:
            bank = self._vouching(label)
            return against(self.embeddings, self.kin, asked, bank, self.configs[label], pool, progress=progress)
