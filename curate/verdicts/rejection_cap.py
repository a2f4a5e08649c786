"""The rejection cap: a nominal set keeps most of its images, whatever their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curate.records import BoolArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class RejectionCap:
    """How many of a nominal set's images may be rejected.

    Attributes:
        max_share: the share of the set, 0-1, that is rejected at most.
        min_keep: a set that would keep fewer images is left alone.
    """

    max_share: float
    min_keep: int

    def reject(self, relative: FloatArray) -> tuple[BoolArray, str]:
        """Return (N,) which images are rejected, and a sentence if fewer than lie above the threshold.

        Args:
            relative: (N,) relative scores, 1 at the threshold; the highest are rejected first.
        """
        rejected, note = relative > 1, ""
        above = np.flatnonzero(rejected)
        most = int(self.max_share * len(relative))
        if len(above) > most:
            rejected[above[np.argsort(-relative[above], kind="stable")[most:]]] = False
            note = (
                f"{len(above)} of {_count(len(relative))} are above the threshold; "
                f"the {most} most anomalous are rejected"
            )
        if rejected.any() and len(relative) - int(rejected.sum()) < self.min_keep:
            rejected[:] = False
            note = f"fewer than {self.min_keep} images would be left, so none is rejected"
        return rejected, note

    def reject_also(
        self, reasons: Mapping[int, float], what: str, *, rejected: BoolArray, note: str
    ) -> tuple[BoolArray, str]:
        """Reject images for another reason than their score, the clearest first, within the same cap.

        Args:
            reasons: how clear the reason is, by image.
            what: the images are, in words: "in different lighting".
            rejected: (N,) those that are rejected already; they count.
            note: the sentence so far; where there is one, none is rejected for another reason.

        Returns:
            (N,) which images are rejected, and the sentence as it stands now.
        """
        rejected = rejected.copy()
        new = sorted((i for i in sorted(reasons) if not rejected[i]), key=lambda i: -reasons[i])
        most = min(int(self.max_share * len(rejected)), len(rejected) - self.min_keep)
        room = 0 if note else max(0, most - int(rejected.sum()))
        rejected[new[:room]] = True
        if len(new) > room:
            verb = "is" if room == 1 else "are"
            note = "; ".join(filter(None, [note, f"of {_count(len(new))} {what}, {room} {verb} rejected"]))
        return rejected, note


def _count(images: int) -> str:
    return f"{images} image" if images == 1 else f"{images} images"
