"""What is above the fence is not all rejected: a class keeps most of its images, whatever the scores say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from curate.records import BoolArray, FloatArray
from curate.scores.by_label import label_rows
from curate.verdicts.fence import Fence


def guarded(
    height: FloatArray, labels: Sequence[str], fences: Mapping[str, Fence], *, max_share: float, min_keep: int
) -> tuple[BoolArray, dict[str, str]]:
    """Say which images are rejected: those above the fence, but never too many of a class.

    Args:
        height: (N,) score, 1 at the fence of the class.
        labels: N class names.
        fences: by label.
        max_share, min_keep: see `RefineConfig`.

    Returns:
        (N,) whether an image is rejected, and a sentence for each class in which some above the fence are not.
    """
    flagged, held_back = height > 1, dict[str, str]()
    for label, rows in label_rows(labels).items():
        if fences[label].note:
            flagged[rows] = False
            continue
        above = rows[flagged[rows]]
        most = int(max_share * len(rows))
        if len(above) > most:
            flagged[above[np.argsort(-height[above], kind="stable")[most:]]] = False
            held_back[label] = f"{len(above)} of {len(rows)} images lie above the fence; the worst {most} are rejected"
        if flagged[rows].any() and len(rows) - int(flagged[rows].sum()) < min_keep:
            flagged[rows] = False
            held_back[label] = f"fewer than {min_keep} images would be left, so none is rejected"
    return flagged, held_back


def also_flagged(
    found: Mapping[int, float],
    what: str,
    labels: Sequence[str],
    flagged: BoolArray,
    held_back: dict[str, str],
    *,
    max_share: float,
    min_keep: int,
) -> BoolArray:
    """Flag images for another reason than their score too, the clearest first, but never too many of a class.

    Args:
        found: how clear the reason is, by image.
        what: they are, in words.
        labels: N class names.
        flagged: (N,) those above the fence; they count.
        held_back: by label; a sentence is added where some are not flagged.
        max_share, min_keep: see `RefineConfig`.

    Returns:
        (N,) whether an image is flagged.
    """
    flagged = flagged.copy()
    for label, rows in label_rows(labels).items():
        new = sorted((i for i in rows.tolist() if i in found and not flagged[i]), key=lambda i: -found[i])
        already = int(flagged[rows].sum())
        room = max(0, min(int(max_share * len(rows)), len(rows) - min_keep) - already) if label not in held_back else 0
        flagged[new[:room]] = True
        if len(new) > room:
            told = [held_back[label]] if label in held_back else []
            held_back[label] = "; ".join([*told, f"{len(new)} images {what}; {room} of them are rejected"])
    return flagged
