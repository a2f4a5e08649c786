"""The one protocol of all scorers."""

from __future__ import annotations

from typing import Protocol

from curate.records import Embeddings, IntArray, Progress, Scores, no_progress


class Scorer(Protocol):
    """Says how anomalous each image of a set is, by models that have not seen the image."""

    @property
    def name(self) -> str:
        """The name of the column `score_<name>` in the audit."""
        ...

    def score(self, embeddings: Embeddings, kin: IntArray, *, progress: Progress = no_progress) -> Scores:
        """Score every image of a set.

        Args:
            embeddings: of N images.
            kin: (N,) images with equal numbers are kin (exact duplicates, one group): none of them may
                speak for another.
            progress: called with the number of images just finished; N in all.

        Returns:
            Scores of N images, aligned with `embeddings`.
        """
        ...
