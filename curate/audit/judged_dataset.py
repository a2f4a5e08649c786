"""A judged dataset: what an audit is written from. Here alone nominal sets are put together again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from curate.audit.maps import KEPT_MAPS
from curate.findings import Code
from curate.partition.nominal_sets import NominalSet
from curate.records import Embeddings, Finding, FloatArray, ImageFacts, IntArray, Listing, MetaSet
from curate.same_part.find import SamePart
from curate.verdicts.judge import JudgedImages, Verdicts
from curate.verdicts.significance import Significance

NOMINAL_IMAGES = 500
"""Kept images whose patches say what is usual."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class JudgedDataset:
    """A dataset that was judged.

    Attributes:
        listing: of N files.
        facts: (N,) what decoding learned.
        duplicates: (N,) number of the first image with the same pixels.
        embeddings: of the M images that could be read.
        images: what was found about these M images.
        same_part: which of them show the same part; None if it was not looked for.
    """

    listing: Listing
    facts: Sequence[ImageFacts]
    duplicates: IntArray
    embeddings: Embeddings
    images: JudgedImages
    same_part: SamePart | None = None

    def path(self, index: int) -> str:
        """Return the path of readable image `index`, 0 to M - 1."""
        return self.listing.paths[int(self.embeddings.images[index])]

    def together(self, parts: Iterable[Iterable[T]], empty: T) -> list[T]:
        """Return the values of each nominal set's images in the order of the M images."""
        values = [empty] * len(self.embeddings)
        for one, part in zip(self.images.sets, parts, strict=True):
            for row, value in zip(one.rows.tolist(), part, strict=True):
                values[row] = value
        return values

    def array(self, parts: Iterable[FloatArray]) -> FloatArray:
        """Return numbers of each nominal set's images in the order of the M images, (M,) float32."""
        values = np.zeros(len(self.embeddings), dtype=np.float32)
        for one, part in zip(self.images.sets, parts, strict=True):
            values[one.rows] = part
        return values

    @cached_property
    def verdicts(self) -> Verdicts:
        """The verdicts on the M images."""
        parts = self.images.verdicts
        flagged, uncertain = np.zeros((2, len(self.embeddings)), dtype=np.bool_)
        for one, part in zip(self.images.sets, parts, strict=True):
            flagged[one.rows], uncertain[one.rows] = part.flagged, part.uncertain
        nothing: tuple[Finding, ...] = ()
        return Verdicts(
            verdict=tuple(self.together((part.verdict for part in parts), parts[0].verdict[0])),
            anomaly_score=self.array(part.anomaly_score for part in parts),
            flagged=flagged,
            significance=Significance(
                p_value=self.array(part.significance.p_value for part in parts),
                q_value=self.array(part.significance.q_value for part in parts),
                confidence=self.array(part.significance.confidence for part in parts),
                fdr_bound=self.array(part.significance.fdr_bound for part in parts),
            ),
            uncertain=uncertain,
            suggested_label=tuple(self.together((part.suggested_label for part in parts), "")),
            findings=tuple(self.together((part.findings for part in parts), nothing)),
        )

    @cached_property
    def maps(self) -> list[FloatArray]:
        """The joined anomaly map of each of the M images, (rows, columns) of its patch grid."""
        return self.together((one.joined.maps for one in self.images.judged), np.zeros((0, 0), dtype=np.float32))

    @cached_property
    def view_maps(self) -> dict[str, list[FloatArray]]:
        """The anomaly map of each of the M images by each view that ran, by scorer."""
        nothing = np.zeros((0, 0), dtype=np.float32)
        by_set = [{view.scorer: view.maps for view in one.views} for one in self.images.judged]
        return {name: self.together((maps[name] for maps in by_set), nothing) for name in by_set[0]}

    @cached_property
    def neighbours(self) -> list[list[int]]:
        """The images, 0 to M - 1, most similar to each of the M images, nearest first."""
        parts = zip(self.images.sets, self.images.judged, strict=True)
        nothing: list[int] = []
        return self.together(
            ([_rows_of(one, near) for near in result.joined.neighbours] for one, result in parts), nothing
        )

    @cached_property
    def meta_set(self) -> MetaSet | None:
        """The meta-sets of all nominal sets: at each epoch of any, what each held then; None if none keeps one."""
        parts = [
            (one.rows, result.joined.meta_set)
            for one, result in zip(self.images.sets, self.images.judged, strict=True)
            if result.joined.meta_set is not None
        ]
        epochs = sorted({epoch for _, part in parts for epoch in part.epochs})
        members = tuple(
            np.sort(np.concatenate([rows[part.held_at(epoch)] for rows, part in parts])) for epoch in epochs
        )
        return MetaSet(epochs=tuple(epochs), members=members) if parts else None

    @cached_property
    def nominal_level(self) -> float:
        """Return the median patch score of the kept images, up to 500 of them; 0 if none is kept."""
        kept = np.flatnonzero(~self.verdicts.flagged)[:NOMINAL_IMAGES]
        return float(np.median(np.concatenate([self.maps[i].ravel() for i in kept]))) if len(kept) else 0.0

    def nearest_kept(self, index: int) -> list[int]:
        """Return the kept images, 0 to M - 1, that are most similar to image `index`, nearest first.

        They are of its own nominal set, or of the one that it is ordinary in: there is what to compare it with.
        """
        ordinary = self.images.checks.ordinary.get(index) if self.verdicts.flagged[index] else None
        near = ordinary.nearest if ordinary else self.neighbours[index]
        return [n for n in near if not self.verdicts.flagged[n]]

    @cached_property
    def kept_to_review(self) -> list[int]:
        """Return the kept images, 0 to M - 1, that a report may show with a map.

        Those with the highest scores, of nominal sets that were judged, and those of small groups apart, 120 of each at
        most.
        """
        verdicts = self.verdicts
        codes = [{finding.code for finding in findings} for findings in verdicts.findings]
        kept = np.flatnonzero(~verdicts.flagged)
        apart = [i for i in kept.tolist() if Code.SMALL_GROUP_APART in codes[i]]
        judged = kept[[Code.NOT_JUDGED not in codes[i] for i in kept.tolist()]]
        _, first = np.unique(self.duplicates[self.embeddings.images[judged]], return_index=True)
        judged = judged[np.sort(first)]
        highest = judged[np.argsort(-verdicts.anomaly_score[judged], kind="stable")][:KEPT_MAPS].tolist()
        return list(dict.fromkeys([*highest, *apart[:KEPT_MAPS]]))

    def worst_first(self) -> IntArray:
        """Return the flagged images, 0 to M - 1, the highest anomaly score first."""
        flagged = np.flatnonzero(self.verdicts.flagged)
        return flagged[np.argsort(-self.verdicts.anomaly_score[flagged], kind="stable")]


def _rows_of(nominal_set: NominalSet, indices: IntArray) -> list[int]:
    """Return the images that indices in a nominal set mean; -1 means none."""
    return [int(nominal_set.rows[i]) for i in indices.tolist() if i >= 0]
