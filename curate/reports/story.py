"""The first screen of a report in words: what was found, how sure, with which settings, what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curate.findings import NOT_JUDGED, FindingText, catalogue
from curate.images.names import printable, unicode_name
from curate.records import Verdict
from curate.reports.cards import FLAGGED, Pages, nominal_set, number, why_mute

VERDICT_WORDS: Mapping[str, str] = {
    Verdict.KEEP: "kept",
    Verdict.MISLABELLED: "mislabelled",
    Verdict.NEAR_OOD: "unlike the set",
    Verdict.DUPLICATE: "copies",
    Verdict.UNREADABLE: "unreadable",
}


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """A finding that does not flag an image by itself: its text, how many images have it, the first of them."""

    text: FindingText
    images: int
    example: str


def headline(pages: Pages) -> str:
    """Return the verdict on the set in one sentence."""
    counts = verdicts(pages)
    flagged = sum(counts[verdict] for verdict in FLAGGED)
    readable = len(pages.images) - counts[Verdict.UNREADABLE]
    if not flagged:
        what = f"Nothing stands out among the {_count(readable, 'image')} that can be read"
    else:
        kinds = [
            f"{counts[Verdict.MISLABELLED]:,} by a local defect or a wrong label" * bool(counts[Verdict.MISLABELLED]),
            f"{counts[Verdict.NEAR_OOD]:,} unlike the set" * bool(counts[Verdict.NEAR_OOD]),
        ]
        verb = "does" if flagged == 1 else "do"
        what = f"{flagged:,} of {_count(readable, 'image')} {verb} not look nominal: {_join(kinds)}"
    rest = [
        f"{_count(counts[Verdict.DUPLICATE], 'copy', 'copies')} of another image" * bool(counts[Verdict.DUPLICATE]),
        f"{_count(counts[Verdict.UNREADABLE], 'file')} that cannot be read" * bool(counts[Verdict.UNREADABLE]),
    ]
    more = _join(rest)
    return f"{what}; besides, {more}." if more else f"{what}."


def unjudged(pages: Pages) -> str:
    """Return the classes that were too small to be judged as one sentence; "" if there is none."""
    labels = {
        nominal_set(pages.images[pages.row_of[path]])
        for path, found in pages.findings.items()
        if path in pages.row_of and any(finding["code"] == NOT_JUDGED for finding in found)
    }
    names = ", ".join(label_words(label) for label in sorted(labels)[:5])
    return f"Too few images to judge: {names}{', and more' if len(labels) > 5 else ''}." if labels else ""


def verdicts(pages: Pages) -> Counter[str]:
    """Return how many images have each verdict."""
    return Counter(image["verdict"] for image in pages.images)


def contamination(run: Mapping[str, Any]) -> str:
    """Return the estimated share of anomalous images with its interval; "" where the audit has none."""
    found = run.get("contamination") or {}
    estimate, low, high = (number(found.get(key)) for key in ("estimate", "low", "high"))
    if estimate is None:
        return ""
    return percent(estimate) + (f" ({percent(low)} to {percent(high)})" if low is not None and high is not None else "")


def settings(pages: Pages) -> list[tuple[str, str]]:
    """Return the settings that a reader must know to judge the result, name and value."""
    run = pages.audit.run
    chosen, backbone = run.get("settings", {}), run.get("backbone", {})
    fence = chosen.get("fence")
    rows = [
        ("dataset", printable(str(run.get("dataset", "")))),
        ("read as", printable(str(run.get("recognised", "")))),
        ("judged apart", _kinds_words(pages) or "classes alone (--no-kinds)" * (chosen.get("kinds") is False)),
        ("views", ", ".join(_view_words(run, view) for view in sorted(run.get("scorers", {}))) or "none"),
        ("fence", f"{fence}, up to {_count(int(chosen.get('rounds', 1)), 'round')}" if fence else ""),
        ("rounds ended", printable(str(run.get("rounds_ended", "")))),
        ("false discovery rate", "" if chosen.get("fdr") is None else percent(chosen["fdr"])),
        ("at most rejected", "" if chosen.get("max_share") is None else f"{percent(chosen['max_share'])} of a class"),
        ("backbone", f"{backbone.get('name', '')} at {run.get('long_px', '?')} px"),
        ("seed", str(chosen.get("seed", ""))),
        ("curate", str(run.get("curate", ""))),
    ]
    return [(name, value) for name, value in rows if value]


def _kinds_words(pages: Pages) -> str:
    """Say of how many kinds the images of each class are; "" where all are of one."""
    found: dict[str, set[str]] = {}
    for image in pages.images:
        if number(image["anomaly_score"]) is not None:
            found.setdefault(image["label"], set()).add(nominal_set(image))
    told = [
        f"{len(sets)} kinds of images in {label_words(label) if label else 'the set'}"
        for label, sets in found.items()
        if len(sets) > 1
    ]
    return ", ".join(sorted(told)[:5]) + (", and more" if len(told) > 5 else "")


def _view_words(run: Mapping[str, Any], view: str) -> str:
    """Return a view's name, and in how many classes it has no say."""
    told = run.get("scorers")
    by_label = told.get(view) if isinstance(told, Mapping) else None
    labels = list(by_label) if isinstance(by_label, Mapping) else []
    mute = [label for label in labels if why_mute(run, label, view)]
    if not mute:
        return view
    reason = printable(why_mute(run, mute[0], view))
    where = "" if len(labels) == 1 else f" in {len(mute)} of {len(labels)} classes; in {label_words(mute[0])}"
    return f"{view} (no say{where}: {reason})"


def next_steps(pages: Pages) -> list[tuple[str, str]]:
    """Return what to do now: a sentence and the command for it, which may be empty."""
    audit = shlex.quote(unicode_name(str(pages.audit.path or "AUDIT")))
    counts, steps = verdicts(pages), list[tuple[str, str]]()
    if pages.flagged:
        steps.append(("Look at the flagged images below, the worst come first, and decide on each:", review(audit)))
    if counts[Verdict.KEEP] < len(pages.images):
        steps.append(("Write the cleaned set (it obeys your decisions, and can be undone):", f"curate prune {audit}"))
    if counts[Verdict.UNREADABLE]:
        steps.append(("Copy the unreadable files again from their source, or remove them.", ""))
    if any(not pair["same_label"] for pair in pages.duplicates):
        steps.append(("Equal images carry different labels: one of the two is wrong. See the copies below.", ""))
    if pages.apart:
        told = f"{_count(len(pages.apart), 'image')} such as {printable(pages.apart[0])} lie apart in a group (SET004)"
        steps.append((f"{told}: another product, view or lamp? Look whether they belong here.", ""))
    if pages.more:
        steps.append(
            (
                f"By the estimated contamination, about {_count(pages.more, 'image')} more may be anomalous than are "
                "flagged: look at the kept images with the highest scores (below; all by anomaly_score in "
                "images.parquet); reject the defects among them, or move them to where they belong and scan again.",
                "" if pages.flagged else review(audit),
            )
        )
    return steps or [("Nothing needs to be done: train on the set as it is.", "")]


def review(audit: str) -> str:
    """Return the command that opens the review page."""
    return f"curate review {audit}"


def noticed(pages: Pages) -> list[Noticed]:
    """Return what was seen of files that is no reason to flag them: code by code."""
    paths: dict[str, list[str]] = {}
    for path, found in pages.findings.items():
        if path in pages.row_of and pages.images[pages.row_of[path]]["verdict"] != Verdict.UNREADABLE:
            for finding in found:
                if finding["score"] is None and not finding["code"].startswith("DUP"):
                    paths.setdefault(finding["code"], []).append(path)
    known = catalogue()
    return [
        Noticed(text=known[code], images=len(having), example=printable(min(having)))
        for code, having in sorted(paths.items())
        if code in known
    ]


def label_words(label: str) -> str:
    """Return how a label is shown."""
    return printable(label) if label else "(no label)"


def percent(share: float) -> str:
    """Return a share, 0-1, in per cent: one decimal below ten."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == round(value) else f"{value:.1f} %"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _join(parts: list[str]) -> str:
    return " and ".join(part for part in parts if part)
