"""What all stages found about one set, handed on as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curate.findings import APART, NOT_JUDGED
from curate.records import Embeddings, ImageFacts, IntArray, Listing, Scores
from curate.reports.maps import KEPT_MAPS
from curate.verdicts.judge import Verdicts
from curate.verdicts.rounds import Refined

NOMINAL_IMAGES = 500
"""Kept images whose patches say what is usual."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A set that was judged.

    Attributes:
        listing: of N files.
        facts: (N,) what decoding learned.
        duplicates: (N,) number of the first image with the same pixels.
        embeddings, refined, verdicts: of the M images that could be read, aligned with each other.
    """

    listing: Listing
    facts: Sequence[ImageFacts]
    duplicates: IntArray
    embeddings: Embeddings
    refined: Refined
    verdicts: Verdicts

    @property
    def scores(self) -> Scores:
        """The hybrid score of the M images."""
        return self.refined.hybrid

    def path(self, index: int) -> str:
        """Return the path of readable image `index`, 0 to M - 1."""
        return self.listing.paths[int(self.embeddings.images[index])]

    @cached_property
    def nominal_level(self) -> float:
        """Return the median patch score of the kept images, up to 500 of them; 0 if none is kept."""
        kept = np.flatnonzero(~self.verdicts.flagged)[:NOMINAL_IMAGES]
        return float(np.median(np.concatenate([self.scores.maps[i].ravel() for i in kept]))) if len(kept) else 0.0

    def nearest_kept(self, index: int) -> list[int]:
        """Return the images, 0 to M - 1, that are most like image `index` and kept, nearest first.

        They are of its own nominal set, or of the one that it is ordinary in: there is what to hold it against.
        """
        elsewhere = self.refined.elsewhere.get(index)
        near = elsewhere.nearest if elsewhere else self.scores.neighbours[index]
        return [int(n) for n in near if n >= 0 and not self.verdicts.flagged[n]]

    @cached_property
    def kept_to_look_at(self) -> list[int]:
        """Return the kept images, 0 to M - 1, that a report may show with a map.

        Those with the highest scores, of classes that were judged, and those of groups apart, 120 of each at most.
        """
        found = self.verdicts
        codes = [{finding.code for finding in findings} for findings in found.findings]
        kept = np.flatnonzero(~found.flagged)
        apart = [i for i in kept.tolist() if APART in codes[i]]
        judged = kept[[NOT_JUDGED not in codes[i] for i in kept.tolist()]]
        _, first = np.unique(self.duplicates[self.embeddings.images[judged]], return_index=True)
        judged = judged[np.sort(first)]
        highest = judged[np.argsort(-found.anomaly_score[judged], kind="stable")][:KEPT_MAPS].tolist()
        return list(dict.fromkeys([*highest, *apart[:KEPT_MAPS]]))

    def worst_first(self) -> IntArray:
        """Return the flagged images, 0 to M - 1, the highest anomaly score first."""
        flagged = np.flatnonzero(self.verdicts.flagged)
        return flagged[np.argsort(-self.verdicts.anomaly_score[flagged], kind="stable")]
