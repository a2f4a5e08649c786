"""From a judged nominal set to verdicts: which image is flagged, as what, and why, in words.

A rejected image is `mislabelled` where it is ordinary in another class patch by patch (LBL003), or where its pooled
vector lies there (LBL002), unless its patches are anomalous there too and most of it is nominal in its own class; else
`near_ood` where it is anomalous as a whole (OOD001); else `mislabelled` by a local anomaly (LBL001). An image below the
threshold is `mislabelled` where it is ordinary in another class, and `near_ood` where it is an acquisition outlier
(OOD003). A trusted image is never flagged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curate.findings import Code
from curate.partition.nominal_sets import NominalSet
from curate.records import BoolArray, Finding, FloatArray, IntArray, Verdict
from curate.verdicts.acquisition import AcquisitionOutlier
from curate.verdicts.judged_set import JudgedSet, LabelChecks, NearOtherClass, OrdinaryElsewhere
from curate.verdicts.rejection_cap import RejectionCap
from curate.verdicts.significance import Significance, significance, uncertain
from curate.verdicts.threshold import EVEN, TELLS_FROM, find_threshold, first_of_each, relative_scores

ORDINARY = 0.5
"""A view finds an image ordinary below this score relative to its threshold."""

POOLED_NEIGHBOURS = 5
"""How many of the most similar images say to which class an image is near."""

IN_DOUBT = "; a long tail of nominal images would explain it too"
"""Said of a flagged image whose confidence is above one half."""

USUAL_SHARE, MOST_MAPS = 0.9, 500
"""An image is anomalous as a whole if half of its map is above this share of the maps of (so many) kept images."""

PATCH_VIEW = "neighbours"
"""The view that compares patch by patch: flow and student raise the scores around a defect as well."""


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What becomes of the N images of a nominal set, and why.

    Attributes:
        verdict: N verdicts: `keep`, `mislabelled` or `near_ood`; `not_judged` in place of `keep` where the set could
            not be judged.
        anomaly_score: (N,) 0 at the median of the set, 1 at its threshold; of an image that is flagged as an
            acquisition outlier alone, how far outside it lies.
        flagged: (N,) whether it is.
        significance: how sure that is.
        uncertain: (N,) whether it is less sure than not: kept though more likely anomalous, or flagged by its score
            though more likely nominal.
        suggested_label: N labels; "" where nothing speaks for another label than the image's own.
        findings: N tuples, empty where nothing was found.
    """

    verdict: tuple[Verdict, ...]
    anomaly_score: FloatArray
    flagged: BoolArray
    significance: Significance
    uncertain: BoolArray
    suggested_label: tuple[str, ...]
    findings: tuple[tuple[Finding, ...], ...]

    def __post_init__(self) -> None:
        aligned = (self.anomaly_score, self.flagged, self.uncertain, self.suggested_label, self.findings)
        if any(len(column) != len(self.verdict) for column in aligned):
            raise ValueError("arrays of the verdicts differ in length")
        self.anomaly_score.setflags(write=False)
        self.flagged.setflags(write=False)
        self.uncertain.setflags(write=False)


@dataclass(frozen=True, kw_only=True)
class JudgedImages:
    """A dataset that was judged: its nominal sets, and of each of them, in the same order, what was found.

    Attributes:
        sets: the nominal sets; together their `rows` are all images.
        judged: where refinement ended.
        checks: what the checks across classes found.
        verdicts: what becomes of the images.
    """

    sets: tuple[NominalSet, ...]
    judged: tuple[JudgedSet, ...]
    checks: LabelChecks
    verdicts: tuple[Verdicts, ...]


def decide(
    judged: JudgedSet, nominal_set: NominalSet, checks: LabelChecks, *, duplicates: IntArray, cap: RejectionCap
) -> Verdicts:
    """Say of every image of a nominal set what becomes of it, and why.

    Args:
        judged: where refinement ended.
        nominal_set: of the N images.
        checks: by index in the set; see `LabelChecks.within`.
        duplicates: (N,) equal numbers for exact duplicates: together they count once.
        cap: what may be rejected at most.
    """
    flagged, cap_note = _flagged(judged, checks, cap)
    as_a_whole, whole_relative = anomalous_as_a_whole(judged, duplicates, flagged)
    sure = significance(judged.joined.values, judged.threshold, duplicates=duplicates, trusted=judged.trusted)
    other_label = _other_label(nominal_set.label, checks, as_a_whole)
    unflagged = Verdict.NOT_JUDGED if judged.threshold.note else Verdict.KEEP
    verdicts, score = [unflagged] * len(flagged), judged.relative.copy()
    findings: list[tuple[Finding, ...]] = [()] * len(flagged)
    for i in np.flatnonzero(flagged).tolist():
        relative, doubt = float(judged.relative[i]), IN_DOUBT if sure.confidence[i] > EVEN else ""
        outliers = judged.acquisition_outliers.get(i, ())
        if i in other_label:
            verdicts[i], findings[i] = Verdict.MISLABELLED, (other_label[i][1],)
        elif outliers and relative <= 1:
            verdicts[i], score[i] = Verdict.NEAR_OOD, outliers[0].relative
            findings[i] = (_outlier(outliers, nominal=not as_a_whole[i]),)
        elif as_a_whole[i]:
            verdicts[i], whole = Verdict.NEAR_OOD, _unlike_set(relative, float(whole_relative[i]), doubt)
            findings[i] = (whole, *([_outlier(outliers, nominal=False)] if outliers else []))
        else:
            verdicts[i], findings[i] = Verdict.MISLABELLED, (_local(relative, judged.joined.maps[i], doubt),)
    unsure = uncertain(sure.confidence, flagged=flagged, above=judged.relative > 1)
    for i, note in (*_kept_in_doubt(judged, sure, unsure & ~flagged), *_notes(judged, nominal_set, cap_note)):
        findings[i] = (*findings[i], note)
    return Verdicts(
        verdict=tuple(verdicts),
        anomaly_score=score,
        flagged=flagged,
        significance=sure,
        uncertain=unsure,
        suggested_label=tuple(
            other_label[i][0] if i in other_label and flagged[i] else "" for i in range(len(flagged))
        ),
        findings=tuple(findings),
    )


def _other_label(label: str, checks: LabelChecks, as_a_whole: BoolArray) -> dict[int, tuple[str, Finding]]:
    """Return by image the label that it seems to have, and why; patches count more than pooled vectors.

    An image near another class and anomalous there too is of that class only if it is anomalous as a whole in its own:
    a rare defect is not good for being rare.
    """
    near = {
        i: _near_other(label, check)
        for i, check in checks.near.items()
        if not check.anomalous or (as_a_whole[i] and check.votes is None)
    }
    return near | {i: _ordinary_elsewhere(label, check) for i, check in checks.ordinary.items()}


def _flagged(judged: JudgedSet, checks: LabelChecks, cap: RejectionCap) -> tuple[BoolArray, str]:
    """Return (N,) whether an image is flagged: by its score, its class or its acquisition; and the cap's sentence."""
    reasons = {
        "that are ordinary in another class": {i: check.share_above for i, check in checks.ordinary.items()},
        "in different lighting or focus": {
            i: of_image[0].relative for i, of_image in judged.acquisition_outliers.items()
        },
    }
    may_be_flagged = judged.may_be_flagged
    contradicted = {i: one.votes for i, one in checks.near.items() if one.votes is not None and not one.anomalous}
    whole_class = RejectionCap(max_share=cap.max_share, min_keep=0)  # a small class must not keep a wrong label
    flagged, note = whole_class.reject_also(
        {i: votes for i, votes in contradicted.items() if may_be_flagged[i]},
        "whose label is contradicted",
        rejected=judged.rejected,
        note=judged.cap_note,
    )
    for what, by_image in reasons.items():
        clear = {i: how for i, how in by_image.items() if may_be_flagged[i]}
        flagged, note = cap.reject_also(clear, what, rejected=flagged, note=note)
    return flagged, note


def anomalous_as_a_whole(judged: JudgedSet, duplicates: IntArray, flagged: BoolArray) -> tuple[BoolArray, FloatArray]:
    """Say which images are anomalous not in one place, but in half of their map.

    Returns:
        (N,) whether an image is, and (N,) the median of its map relative to the threshold of all medians.
    """
    maps = next((view.maps for view in judged.views if view.scorer == PATCH_VIEW), judged.joined.maps)
    medians = np.array([np.median(one) for one in maps], dtype=np.float32)
    threshold = find_threshold(medians[first_of_each(duplicates)], judged.threshold.method)
    relative = relative_scores(medians, duplicates, threshold)
    return (relative > 1) & (medians > usual_level(maps, flagged)), relative


def usual_level(maps: Sequence[FloatArray], flagged: BoolArray) -> float:
    """Return the map value that `USUAL_SHARE` of the positions of kept images stay below."""
    kept = np.flatnonzero(~flagged)[:MOST_MAPS].tolist()
    values = np.concatenate([maps[i].ravel() for i in kept]) if kept else np.zeros(1)
    return float(np.quantile(values, USUAL_SHARE))


def disagreements(view_relative: Mapping[str, FloatArray]) -> dict[int, Finding]:
    """Find the images that one view alone flags while another finds them ordinary.

    Args:
        view_relative: by active view, (N,) its scores relative to its own threshold.
    """
    together = np.stack(list(view_relative.values()))
    findings = {}
    for i in np.flatnonzero((together.max(axis=0) > 1) & (together.min(axis=0) < ORDINARY)).tolist():
        scores = ", ".join(f"{name} {values[i]:.1f}" for name, values in view_relative.items())
        message = f"The views disagree; their scores, each relative to its threshold of 1: {scores}"
        findings[i] = Finding(code=Code.VIEWS_DISAGREE, message=message)
    return findings


def _notes(judged: JudgedSet, nominal_set: NominalSet, cap_note: str) -> Iterator[tuple[int, Finding]]:
    """Yield the images of which something is noted that does not flag them, each with the finding."""
    yield from disagreements(judged.view_relative).items()
    for i in np.flatnonzero(nominal_set.group_sizes).tolist():
        size = nominal_set.group_sizes[i]
        text = f"One of {size} similar images that lie apart from the rest"
        yield i, Finding(code=Code.SMALL_GROUP_APART, message=text)
    for note in _notes_on_set(judged, nominal_set, cap_note):
        yield from ((i, note) for i in range(len(judged.relative)))


def _notes_on_set(judged: JudgedSet, nominal_set: NominalSet, cap_note: str) -> Iterator[Finding]:
    """Yield what holds for all images of a nominal set: subpopulations, not judged, cap reached, defects unseen."""
    if nominal_set.subpopulations > 1:
        count = nominal_set.subpopulations
        text = f"The class holds {count} subpopulations that have little in common; judged as {nominal_set.name!r}"
        yield Finding(code=Code.SUBPOPULATIONS, message=text)
    if judged.threshold.note:
        where = f"In {nominal_set.name!r}: " if nominal_set.name else ""
        yield Finding(code=Code.NOT_JUDGED, message=f"{where}{judged.threshold.note}, so none of them was judged")
    if judged.trusted_note:
        text = f"{judged.trusted_note}, so p- and q-values are model-based"
        yield Finding(code=Code.FEW_TRUSTED, message=text)
    if cap_note:
        yield Finding(code=Code.REJECTION_CAPPED, message=cap_note)
    if judged.threshold.cannot_tell:
        text = (
            f"A planted defect adds less than {TELLS_FROM:g} standard deviations of the nominal scores, so real "
            "defects may be there, unseen"
        )
        yield Finding(code=Code.DEFECTS_UNSEEN, message=text)


def _kept_in_doubt(judged: JudgedSet, sure: Significance, which: BoolArray) -> Iterator[tuple[int, Finding]]:
    """Yield the kept images that are likelier anomalous than nominal: in doubt, or for being trusted."""
    trusted_above = (judged.relative > 1) & ~judged.may_be_flagged
    for i in np.flatnonzero(which).tolist():
        if trusted_above[i]:
            text = f"Trusted, and kept for that, though its score is {judged.relative[i]:.1f} (threshold 1)"
            yield i, Finding(code=Code.TRUSTED_ABOVE, message=text)
            continue
        message = (
            f"Kept, but not surely nominal: confidence {sure.confidence[i]:.2f}, score "
            f"{judged.relative[i]:.2f} (threshold 1)"
        )
        yield i, Finding(code=Code.UNCERTAIN, message=message)


def _near_other(label: str, check: NearOtherClass) -> tuple[str, Finding]:
    similar = f"{check.neighbours} of the {POOLED_NEIGHBOURS} most similar images are {check.label!r}"
    if check.votes is not None:
        similar = f"{check.votes:.0%} of the votes of similar images are for {check.label!r}"
    return check.label, Finding(code=Code.NEAR_OTHER_CLASS, message=f"Labelled {label!r}, but {similar}")


def _ordinary_elsewhere(label: str, check: OrdinaryElsewhere) -> tuple[str, Finding]:
    share = f"{check.share_above:.0%} of its images have a higher score there"
    message = f"Labelled {label!r}, but ordinary in {check.label!r}: {share}"
    return check.label, Finding(code=Code.ORDINARY_IN_OTHER_CLASS, message=message)


def _unlike_set(relative: float, whole_relative: float, doubt: str) -> Finding:
    message = (
        f"Anomalous as a whole, score {relative:.1f} (threshold 1); half of the image scores {whole_relative:.1f} or "
        f"more (threshold 1){doubt}"
    )
    return Finding(code=Code.UNLIKE_SET, message=message)


def _outlier(outliers: Sequence[AcquisitionOutlier], *, nominal: bool) -> Finding:
    """Return what differs; `nominal` says that what the image shows is nominal."""
    difference = " and ".join(one.difference for one in outliers)
    values = ", ".join(
        f"{one.measure} {_short(one.value)} (four images in five: {_short(one.low)} to {_short(one.high)})"
        for one in outliers
    )
    but = "; what it shows is nominal" if nominal else ""
    message = f"{difference[:1].upper()}{difference[1:]} than the set: {values}{but}"
    return Finding(code=Code.ACQUISITION_OUTLIER, message=message)


def _short(value: float) -> str:
    return f"{float(f'{value:.3g}'):g}"


def _local(relative: float, anomaly_map: FloatArray, doubt: str) -> Finding:
    message = f"Local anomaly {position_in_words(anomaly_map)}, score {relative:.1f} (threshold 1){doubt}"
    return Finding(code=Code.LOCAL_ANOMALY, message=message)


def position_in_words(anomaly_map: FloatArray) -> str:
    """Return where the highest value of a map lies: "near the left edge", "near the top right corner"."""
    row, column = np.unravel_index(int(anomaly_map.argmax()), anomaly_map.shape)
    down, across = (int(row) + 0.5) / anomaly_map.shape[0], (int(column) + 0.5) / anomaly_map.shape[1]
    vertical = "top" if down < 1 / 3 else "bottom" if down > 2 / 3 else ""
    horizontal = "left" if across < 1 / 3 else "right" if across > 2 / 3 else ""
    if vertical and horizontal:
        return f"near the {vertical} {horizontal} corner"
    return f"near the {vertical or horizontal} edge" if vertical or horizontal else "near the centre"
