"""From scores to verdicts, first form: which image is flagged, as what, and why, in words.

Images are fenced within their own class. A flagged image is `mislabelled` where its pooled vector lies
among another class (LBL002); else `near_ood` where most of it is unlike the set (OOD001); else
`mislabelled` by local evidence (LBL001).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.records import Embeddings, Finding, FloatArray, IntArray, Scores, Verdict
from curate.scores.by_label import label_rows
from curate.scores.similar import similar_images
from curate.verdicts.fence import Fence, Method, fence

POOLED_NEIGHBOURS = 5
"""How many images, by pooled vectors, say to which class an image is near."""


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What becomes of N images, and why.

    Attributes:
        verdict: N verdicts: `keep`, `mislabelled` or `near_ood`.
        anomaly_score: (N,) score divided by the fence of the image's class: above 1 an image is flagged.
        flagged: (N,) whether it is.
        suggested_label: N labels; "" where nothing speaks for another label than the image's own.
        findings: N tuples, empty where nothing was found.
        facts: what the run should record: the fence of each class by its label (JSON values only).
    """

    verdict: tuple[Verdict, ...]
    anomaly_score: FloatArray
    flagged: NDArray[np.bool_]
    suggested_label: tuple[str, ...]
    findings: tuple[tuple[Finding, ...], ...]
    facts: dict[str, Any]

    def __post_init__(self) -> None:
        aligned = (self.anomaly_score, self.flagged, self.suggested_label, self.findings)
        if any(len(column) != len(self.verdict) for column in aligned):
            raise ValueError("arrays of the verdicts differ in length")
        self.anomaly_score.setflags(write=False)
        self.flagged.setflags(write=False)


def judge(
    scores: Scores,
    embeddings: Embeddings,
    labels: Sequence[str],
    duplicates: IntArray,
    *,
    method: Method = Method.VALLEY,
) -> Verdicts:
    """Judge every image of a set.

    Args:
        scores: of N images, each scored within its own class, not negative.
        embeddings: of the same images.
        labels: N class names; "" where the source says nothing.
        duplicates: (N,) equal numbers for exact duplicates: together they count once in the fence, and none
            vouches for another.
        method: of the fence.

    Returns:
        Verdicts aligned with `scores`.
    """
    fences, height = over_fence(scores.values, labels, duplicates, method)
    middles = np.array([np.median(m) for m in scores.maps], dtype=np.float32)
    _, middle_height = over_fence(middles, labels, duplicates, method)
    flagged = height > 1
    others = other_labels(embeddings, labels, duplicates, np.flatnonzero(flagged))
    outcome: list[tuple[Verdict, tuple[Finding, ...]]] = [(Verdict.KEEP, ())] * len(labels)
    for i in np.flatnonzero(flagged).tolist():
        if i in others:
            verdict, finding = _near_other(labels[i], *others[i])
        elif middle_height[i] > 1:
            verdict, finding = _unlike_all(float(height[i]), float(middle_height[i]))
        else:
            verdict, finding = _local(float(height[i]), scores.maps[i])
        outcome[i] = verdict, (finding,)
    for label, rows in label_rows(labels).items():
        if fences[label].note:
            note = Finding(code="SET001", message=f"{fences[label].note}, so nothing of this label is flagged")
            for i in rows.tolist():
                outcome[i] = Verdict.KEEP, (note,)
    return Verdicts(
        verdict=tuple(verdict for verdict, _ in outcome),
        anomaly_score=height,
        flagged=flagged,
        suggested_label=tuple(others[i][0] if i in others else "" for i in range(len(labels))),
        findings=tuple(findings for _, findings in outcome),
        facts={label: asdict(found) for label, found in fences.items()},
    )


def over_fence(
    values: FloatArray, labels: Sequence[str], duplicates: IntArray, method: Method
) -> tuple[dict[str, Fence], FloatArray]:
    """Fence the values of each class, and divide each value by its class's fence.

    Args:
        values: (N,) not negative.
        labels: N class names.
        duplicates: (N,) only the first of equal numbers counts.
        method: of the fence.

    Returns:
        The fence of each class, and (N,) values in units of it; 0 where the fence is 0.
    """
    fences, height = {}, np.zeros(len(values), dtype=np.float32)
    for label, rows in label_rows(labels).items():
        _, first = np.unique(duplicates[rows], return_index=True)
        found = fences[label] = fence(values[rows[first]], method)
        if found.value > 0:
            height[rows] = values[rows] / found.value
    return fences, height


def other_labels(
    embeddings: Embeddings, labels: Sequence[str], duplicates: IntArray, flagged: IntArray
) -> dict[int, tuple[str, int]]:
    """Find the flagged images that lie among another class.

    Returns:
        By image: the one other class that holds most of its nearest images by pooled vectors, and how many.
    """
    if len(set(labels)) < 2 or not len(flagged):
        return {}
    near = similar_images(embeddings, duplicates, POOLED_NEIGHBOURS, flagged).near
    out = {}
    for i, images in zip(flagged.tolist(), near.tolist(), strict=True):
        votes = Counter(labels[j] for j in images if j >= 0)
        name, count = votes.most_common(1)[0] if votes else ("", 0)
        if name and name != labels[i] and 2 * count > POOLED_NEIGHBOURS:
            out[i] = name, count
    return out


def _near_other(label: str, other: str, count: int) -> tuple[Verdict, Finding]:
    message = f"labelled {label!r}, but {count} of the {POOLED_NEIGHBOURS} images most like it are {other!r}"
    return Verdict.MISLABELLED, Finding(code="LBL002", message=message)


def _unlike_all(height: float, middle_height: float) -> tuple[Verdict, Finding]:
    message = (
        f"unlike the set as a whole: half of the image is {middle_height:.1f} times as far from others as is "
        f"usual at most, its oddest place {height:.1f} times"
    )
    return Verdict.NEAR_OOD, Finding(code="OOD001", message=message)


def _local(height: float, anomaly_map: FloatArray) -> tuple[Verdict, Finding]:
    rows, columns = anomaly_map.shape
    row, column = np.unravel_index(int(anomaly_map.argmax()), (rows, columns))
    message = (
        f"shows what others do not, {height:.1f} times the fence, "
        f"at {(int(column) + 0.5) / columns:.0%} from the left, {(int(row) + 0.5) / rows:.0%} from the top"
    )
    return Verdict.MISLABELLED, Finding(code="LBL001", message=message)
