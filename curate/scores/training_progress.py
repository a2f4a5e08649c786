"""Progress of a scorer that trains before it scores: it is counted in images, and the bar moves from the start."""

from __future__ import annotations

import threading

from curate.progress import Progress


class TrainingProgress:
    """Reports N images, in whole numbers and N in all: half, rounded up, by training steps, the others as scored.

    Folds may train while others score, each in its own thread. If training takes fewer steps than expected (a fold is
    too small to train on), scored images make up for them.
    """

    def __init__(self, progress: Progress, images: int, steps: int) -> None:
        """Expect so many training steps; with none, every image is reported when it is scored."""
        self._progress, self._lock = progress, threading.Lock()
        self._images, self._steps = max(1, images), max(1, steps)
        self._images_by_training = (images + 1) // 2 if steps else 0
        self._steps_taken = self._scored = self._reported = 0

    def trained(self, steps: int = 1) -> None:
        """Count training steps."""
        with self._lock:
            self._steps_taken = min(self._steps_taken + steps, self._steps)
            self._report()

    def judged(self, images: int = 1) -> None:
        """Count images that are finished."""
        with self._lock:
            self._scored += images
            self._report()

    def _report(self) -> None:
        share, scored = self._images_by_training, self._scored
        by_training = max(share * self._steps_taken // self._steps, share * scored // self._images)
        reached = by_training + (self._images - share) * scored // self._images
        if reached > self._reported:
            self._progress(reached - self._reported)
            self._reported = reached
