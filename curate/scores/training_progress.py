"""Progress of a scorer that trains before it judges: what is counted are images, and the bar moves from the start."""

from __future__ import annotations

import threading

from curate.records import Progress


class TrainingProgress:
    """Tells N images, in whole numbers and N in all: half, rounded up, by steps of training, the others as judged.

    Folds may train while others judge, each in its own thread. Where fewer steps are taken than were foreseen (a fold
    is too small to train on), judging makes up for them.
    """

    def __init__(self, progress: Progress, images: int, steps: int) -> None:
        """Foresee so many steps of training; without any, all images are told as they are judged."""
        self._progress, self._lock = progress, threading.Lock()
        self._images, self._steps = max(1, images), max(1, steps)
        self._trainings_share = (images + 1) // 2 if steps else 0
        self._taken = self._judged = self._told = 0

    def trained(self, steps: int = 1) -> None:
        """Take note of steps of training."""
        with self._lock:
            self._taken = min(self._taken + steps, self._steps)
            self._tell()

    def judged(self, images: int = 1) -> None:
        """Take note of images that are finished."""
        with self._lock:
            self._judged += images
            self._tell()

    def _tell(self) -> None:
        share, judged = self._trainings_share, self._judged
        by_training = max(share * self._taken // self._steps, share * judged // self._images)
        reached = by_training + (self._images - share) * judged // self._images
        if reached > self._told:
            self._progress(reached - self._told)
            self._told = reached
