"""From scores to verdicts: which image is flagged, as what, and why, in words.

Images are fenced within their own class, or their kind within it. A flagged image is `mislabelled` where it is ordinary
in another class patch by patch (LBL003), or where its pooled vector lies there (LBL002), unless its patches are odd
there too and most of it is ordinary in its own class; else `near_ood` where most of it is unlike the set (OOD001); else
`mislabelled` by local evidence (LBL001). An image below the fence is `near_ood` where it was taken otherwise than the
rest (OOD003).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.findings import APART, HELD_BACK, KINDS, NOT_JUDGED, OTHERWISE
from curate.records import BoolArray, Finding, FloatArray, IntArray, Verdict
from curate.scores.by_label import label_rows
from curate.scores.elsewhere import POOLED_NEIGHBOURS, Elsewhere, Near
from curate.verdicts.fence import EVEN
from curate.verdicts.rounds import Refined, over_fence
from curate.verdicts.shots import Shot
from curate.verdicts.significance import Significance, significance

ORDINARY = 0.5
"""An image below half the height of a view's fence is ordinary to that view."""

IN_DOUBT = "; far out, though a long tail of nominal images would explain it too"
"""Said of a flagged image whose confidence is above one half."""

USUAL_SHARE, REACH_IMAGES = 0.9, 500
"""An image is unlike the set as a whole if half of its places are odder than this share of those of kept images."""


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What becomes of N images, and why.

    Attributes:
        verdict: N verdicts: `keep`, `mislabelled` or `near_ood`.
        anomaly_score: (N,) see `Refined.height`: 0 is the median image of the class, 1 its fence. Of an image that is
            flagged since it was taken otherwise than the rest, how far out that is.
        flagged: (N,) whether it is.
        significance: how sure that is.
        suggested_label: N labels; "" where nothing speaks for another label than the image's own.
        findings: N tuples, empty where nothing was found.
    """

    verdict: tuple[Verdict, ...]
    anomaly_score: FloatArray
    flagged: NDArray[np.bool_]
    significance: Significance
    suggested_label: tuple[str, ...]
    findings: tuple[tuple[Finding, ...], ...]

    def __post_init__(self) -> None:
        aligned = (self.anomaly_score, self.flagged, self.suggested_label, self.findings)
        if any(len(column) != len(self.verdict) for column in aligned):
            raise ValueError("arrays of the verdicts differ in length")
        self.anomaly_score.setflags(write=False)
        self.flagged.setflags(write=False)


def judge(refined: Refined, labels: Sequence[str], duplicates: IntArray) -> Verdicts:
    """Say of every image what becomes of it, and why.

    Args:
        refined: where the rounds ended, for N images.
        labels: N class names; "" where the source says nothing.
        duplicates: (N,) equal numbers for exact duplicates: together they count once.

    Returns:
        Verdicts aligned with the images.
    """
    height, flagged, sets = refined.height, refined.flagged, refined.sets
    sure = significance(refined.hybrid.values, sets.names, refined.fences)
    middle_height, wholly = odd_all_over(refined, duplicates)
    # a part of another class that is odd there too is still of that class, but a defect is not good for being rare
    near = {i: found for i, found in refined.near.items() if wholly[i] or not found.odd}
    strayed = {i: _near_other(labels[i], sets.label_of[found.label], found) for i, found in near.items()}
    strayed |= {
        i: _ordinary_in(labels[i], sets.label_of[found.label], found) for i, found in refined.elsewhere.items()
    }  # patches say more
    outcome: list[tuple[Verdict, tuple[Finding, ...]]] = [(Verdict.KEEP, ())] * len(labels)
    score = height.copy()
    for i in np.flatnonzero(flagged).tolist():
        doubt = IN_DOUBT if sure.confidence[i] > EVEN else ""
        shots = refined.shots.get(i, ())
        ordinary_but_for_them = bool(shots) and height[i] <= 1
        if i in strayed:
            outcome[i] = Verdict.MISLABELLED, (strayed[i][1],)
        elif wholly[i] or ordinary_but_for_them:
            whole = () if ordinary_but_for_them else (_unlike_all(float(height[i]), float(middle_height[i]), doubt),)
            but = "" if wholly[i] else "; what it shows is ordinary"
            outcome[i] = Verdict.NEAR_OOD, (*whole, *_otherwise(shots, but))
            score[i] = shots[0].height if ordinary_but_for_them else height[i]
        else:
            outcome[i] = Verdict.MISLABELLED, (_local(float(height[i]), refined.hybrid.maps[i], doubt),)
    for i, note in _all_notes(refined):
        outcome[i] = outcome[i][0], (*outcome[i][1], note)
    return Verdicts(
        verdict=tuple(verdict for verdict, _ in outcome),
        anomaly_score=score,
        flagged=flagged,
        significance=sure,
        suggested_label=tuple(strayed[i][0] if i in strayed else "" for i in range(len(labels))),
        findings=tuple(findings for _, findings in outcome),
    )


def odd_all_over(refined: Refined, duplicates: IntArray) -> tuple[FloatArray, BoolArray]:
    """Say which images are unlike their nominal set as a whole, by the median of their map.

    Args:
        refined, duplicates: see `judge`.

    Returns:
        (N,) the median's height above its own fence, measured as `Refined.height` is, and (N,) whether the image is.
    """
    # flow and student see a defect from afar; what is odd all over is asked of the view that compares patch by patch
    maps = next((view.maps for view in refined.views if view.scorer == "neighbours"), refined.hybrid.maps)
    middles = np.array([np.median(m) for m in maps], dtype=np.float32)
    method = next(iter(refined.fences.values())).method
    names = refined.sets.names
    _, height = over_fence(middles, names, duplicates, method)
    usual = usual_reach(maps, names, refined.flagged)
    return height, (height > 1) & (middles > np.array([usual[name] for name in names]))


def disagreements(heights: Mapping[str, FloatArray]) -> dict[int, Finding]:
    """Find the images that one view alone flags while another finds them ordinary.

    Args:
        heights: by view, (N,) 0 at the class's median, 1 at that view's own fence; nan where it cannot judge.
    """
    together = np.stack(list(heights.values()))
    odd = np.flatnonzero((np.fmax.reduce(together) > 1) & (np.fmin.reduce(together) < ORDINARY))
    found = {}
    for i in odd.tolist():
        told = ", ".join(f"{name} {values[i]:.1f}" for name, values in heights.items() if not np.isnan(values[i]))
        found[i] = Finding(code="OOD002", message=f"the views disagree, in units of their own fences: {told}")
    return found


def usual_reach(maps: Sequence[FloatArray], labels: Sequence[str], flagged: BoolArray) -> dict[str, float]:
    """Return, by label, the map value that `USUAL_SHARE` of the places of kept images stay below."""
    reach = {}
    for label, rows in label_rows(labels).items():
        kept = rows[~flagged[rows]][:REACH_IMAGES]
        places = np.concatenate([maps[row].ravel() for row in kept.tolist()]) if len(kept) else np.zeros(1)
        reach[label] = float(np.quantile(places, USUAL_SHARE))
    return reach


def _all_notes(refined: Refined) -> Iterator[tuple[int, Finding]]:
    """Yield the images of which something is said that does not flag them, each with the finding."""
    yield from disagreements(refined.view_heights).items()
    for i, size in refined.sets.apart.items():
        text = f"one of {size} images that are like each other and lie apart from the rest"
        yield i, Finding(code=APART, message=text)
    for name, rows in label_rows(refined.sets.names).items():
        yield from ((i, note) for note in _notes(refined, name) for i in rows.tolist())


def _notes(refined: Refined, name: str) -> list[Finding]:
    """Return what holds for all images of a nominal set.

    That it is a kind within its class, that it could not be judged, or that some of its images were held back.
    """
    notes = []
    if (count := refined.sets.kinds[refined.sets.label_of[name]]) > 1:
        text = f"the class holds {count} kinds of images that have little in common; judged as {name!r}"
        notes.append(Finding(code=KINDS, message=text))
    if refined.fences[name].note:
        text = f"{refined.fences[name].note}, so nothing of it is flagged"
        notes.append(Finding(code=NOT_JUDGED, message=text))
    if name in refined.held_back:
        notes.append(Finding(code=HELD_BACK, message=refined.held_back[name]))
    return notes


def _near_other(label: str, other: str, found: Near) -> tuple[str, Finding]:
    most_like = f"{found.votes} of the {POOLED_NEIGHBOURS} images most like it are {other!r}"
    return other, Finding(code="LBL002", message=f"labelled {label!r}, but {most_like}")


def _ordinary_in(label: str, other: str, found: Elsewhere) -> tuple[str, Finding]:
    message = f"labelled {label!r}, but ordinary among {other!r}: {found.odder:.0%} of its images are odder"
    return other, Finding(code="LBL003", message=message)


def _unlike_all(height: float, middle_height: float, doubt: str) -> Finding:
    message = (
        f"unlike the set as a whole: half of the image scores {middle_height:.1f} and more, its oddest place "
        f"{height:.1f}, where the fences are at 1{doubt}"
    )
    return Finding(code="OOD001", message=message)


def _otherwise(shots: Sequence[Shot], but: str) -> Iterator[Finding]:
    if not shots:
        return
    told = (
        f"{shot.measure} {_short(shot.value)} where four images in five have {_short(shot.low)} to {_short(shot.high)}"
        for shot in shots
    )
    called = " and ".join(shot.called for shot in shots)
    yield Finding(code=OTHERWISE, message=f"{called} than the set: {', '.join(told)}{but}")


def _short(value: float) -> str:
    return f"{float(f'{value:.3g}'):g}"


def _local(height: float, anomaly_map: FloatArray, doubt: str) -> Finding:
    rows, columns = anomaly_map.shape
    row, column = np.unravel_index(int(anomaly_map.argmax()), (rows, columns))
    message = (
        f"shows what others do not, scores {height:.1f} where the fence is 1, "
        f"at {(int(column) + 0.5) / columns:.0%} from the left, {(int(row) + 0.5) / rows:.0%} from the top{doubt}"
    )
    return Finding(code="LBL001", message=message)
