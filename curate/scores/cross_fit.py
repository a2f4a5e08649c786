"""Cross-fitting: which images each model of a run learns from, and which it scores."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from curate.records import BoolArray, IntArray


@dataclass(frozen=True)
class CrossFit:
    """The models of a run over N images.

    Attributes:
        folds: (N,) the fold of each image, from 0.
        learnable: (N,) whether an image may be learnt from.
        out_of_fold: model k learns from all folds but k, and scores fold k. False: one model learns from all images
            and scores them all.
    """

    folds: IntArray
    learnable: BoolArray
    out_of_fold: bool

    @property
    def fold_count(self) -> int:
        return int(self.folds.max(initial=-1)) + 1

    @property
    def model_count(self) -> int:
        return self.fold_count if self.out_of_fold else 1

    def model_of(self, image: int) -> int:
        """Return the model that scores an image."""
        return int(self.folds[image]) if self.out_of_fold else 0

    def scored_by(self, model: int) -> IntArray:
        """Return the images that a model scores."""
        return np.flatnonzero((self.folds == model) | (not self.out_of_fold))

    def learnt_by(self, model: int) -> IntArray:
        """Return the images that a model learns from."""
        return np.flatnonzero(self.learnable & ((self.folds != model) | (not self.out_of_fold)))

    def learning_from(self, learnable: BoolArray) -> CrossFit:
        """Return the same folds with other learnable images, (N,); unchanged if that left a model with nothing."""
        enough = all((learnable & (self.folds != fold)).any() for fold in range(self.fold_count))
        return replace(self, learnable=learnable.copy()) if enough else self

    def held_out_fold(self, groups: IntArray) -> tuple[int, IntArray]:
        """Return the fold whose learnable images are of most leakage groups, and one image of each of these groups."""
        learnable = np.flatnonzero(self.learnable)
        one_each = learnable[np.unique(groups[learnable], return_index=True)[1]]
        fold = int(np.bincount(self.folds[one_each], minlength=self.fold_count).argmax())
        return fold, one_each[self.folds[one_each] == fold]
