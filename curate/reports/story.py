"""The first screen of a report in words: the result, its uncertainty, the settings, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curate.audit.effective_verdicts import EFFECTIVE_VERDICT
from curate.audit.schema import EXACT
from curate.findings import Code, FindingText, catalogue
from curate.images.names import printable, unicode_name
from curate.records import CLEAN, FLAGGED, Layout, Verdict
from curate.reports.audit_rows import AuditRows, nominal_set, p_values
from curate.reports.budget import look_first_words
from curate.reports.numbers import counted, finite, percent

VERDICT_WORDS: Mapping[str, str] = {
    Verdict.KEEP: "kept",
    Verdict.NOT_JUDGED: "not judged",
    Verdict.MISLABELLED: "mislabelled",
    Verdict.NEAR_OOD: "unlike the set",
    Verdict.DUPLICATE: "duplicates",
    Verdict.UNREADABLE: "unreadable",
    Verdict.REJECTED: "rejected by hand",
}
NAMED = 5
"""Nominal sets that a sentence names; it says that there are more."""


@dataclass(frozen=True, kw_only=True)
class OtherFinding:
    """A finding that does not flag an image by itself: its text, how many images have it, the first of them."""

    text: FindingText
    images: int
    example: str


def headline(rows: AuditRows) -> str:
    """Return the result for the set in one or two sentences."""
    counts = Counter(image["verdict"] for image in rows.images)
    review = f" Review: {rows.review.words}." if rows.review.words else ""
    flagged = sum(counts[verdict] for verdict in FLAGGED)
    readable = len(rows.images) - counts[Verdict.UNREADABLE]
    if flagged:
        reasons = [
            f"{counts[Verdict.MISLABELLED]:,} for a local defect or a wrong label" * bool(counts[Verdict.MISLABELLED]),
            f"{counts[Verdict.NEAR_OOD]:,} as unlike the set" * bool(counts[Verdict.NEAR_OOD]),
        ]
        verb = "is" if flagged == 1 else "are"
        result = f"{flagged:,} of {counted(readable, 'image')} {verb} flagged: {_join(reasons)}."
    elif readable and counts[Verdict.NOT_JUDGED] == readable:
        return f"None of the {counted(readable, 'readable image')} could be judged.{review}"
    else:
        result = f"No image is flagged among {counted(readable, 'readable image')}."
    others = [
        f"{counted(counts[Verdict.NOT_JUDGED], 'image')} not judged" * bool(counts[Verdict.NOT_JUDGED]),
        counted(counts[Verdict.DUPLICATE], "duplicate") * bool(counts[Verdict.DUPLICATE]),
        counted(counts[Verdict.UNREADABLE], "unreadable file") * bool(counts[Verdict.UNREADABLE]),
    ]
    return f"{result} Also: {_join(others)}.{review}" if any(others) else f"{result}{review}"


def unjudged(rows: AuditRows) -> str:
    """Return the nominal sets that could not be judged, and why the first could not, in a sentence; "" if all were."""
    messages = {
        nominal_set(rows.images[rows.row_of[path]]): printable(finding["message"])
        for path, findings in rows.findings.items()
        if path in rows.row_of
        for finding in findings
        if finding["code"] == Code.NOT_JUDGED
    }
    if not messages:
        return ""
    names = sorted(messages)
    return f"Not judged: {_some([label_words(name) for name in names])}. {messages[names[0]]}."


def verdicts(rows: AuditRows) -> Counter[str]:
    """Return how many images have each effective verdict."""
    return Counter(image[EFFECTIVE_VERDICT] for image in rows.images)


def contamination(run: Mapping[str, Any]) -> str:
    """Return the estimated share of anomalous images with its interval; "" where the audit has none."""
    estimated = run.get("contamination") or {}
    estimate, low, high = (finite(estimated.get(key)) for key in ("estimate", "low", "high"))
    if estimate is None:
        return ""
    return percent(estimate) + (f" ({percent(low)} to {percent(high)})" if low is not None and high is not None else "")


def settings(rows: AuditRows) -> list[tuple[str, str]]:
    """Return the settings that a reader must know to judge the result, name and value."""
    run = rows.audit.run
    chosen, backbone = run.get("settings", {}), run.get("backbone", {})
    threshold = chosen.get("threshold", chosen.get("fence"))
    pairs = [
        ("dataset", printable(str(run.get("dataset", "")))),
        ("read as", printable(str(run.get("recognised", "")))),
        ("subpopulations", _subpopulations(rows)),
        ("views", ", ".join(_view_words(rows, view) for view in rows.views) or "none"),
        ("threshold", f"{threshold}, up to {counted(int(chosen.get('rounds', 1)), 'round')}" if threshold else ""),
        ("rounds ended", _rounds_ended(rows)),
        ("p- and q-values", _p_values(rows)),
        ("trusted images", _trusted(run)),
        ("expected contamination", printable(str(chosen.get("expected") or ""))),
        ("false discovery rate", "" if chosen.get("fdr") is None else percent(chosen["fdr"])),
        ("rejection cap", "" if chosen.get("max_share") is None else f"{percent(chosen['max_share'])} of a class"),
        ("backbone", f"{backbone.get('name', '')} at {run.get('long_px', '?')} px"),
        ("seed", str(chosen.get("seed", ""))),
        ("curate", str(run.get("curate", ""))),
    ]
    return [(name, value) for name, value in pairs if value]


def _p_values(rows: AuditRows) -> str:
    """Return what p- and q-values rest on; by nominal set, where they differ; "" where none has any."""
    judged = [image for image in rows.images if finite(image["p_value"]) is not None]
    kinds = {name: p_values(rows.audit, name) for name in sorted({nominal_set(image) for image in judged})}
    if len(set(kinds.values())) < 2:
        return next(iter(kinds.values()), "")
    return _some([f"{kind} in {label_words(name)}" for name, kind in kinds.items()])


def _trusted(run: Mapping[str, Any]) -> str:
    """Return how many images are known to be nominal; "" where none is."""
    trusted = run.get("trusted")
    if not isinstance(trusted, Mapping):
        return ""
    own, outside = (int(finite(trusted.get(name)) or 0) for name in ("images", "outside"))
    return f"{own:,} of the dataset, {outside:,} outside it"


def _subpopulations(rows: AuditRows) -> str:
    """Return how many subpopulations each class has; "" where each has one."""
    sets: dict[str, set[str]] = {}
    for image in rows.images:
        if finite(image["anomaly_score"]) is not None:
            sets.setdefault(image["label"], set()).add(nominal_set(image))
    parts = [
        f"{len(names)} in {label_words(label) if label else 'the set'}"
        for label, names in sets.items()
        if len(names) > 1
    ]
    chosen = rows.audit.run.get("settings", {})
    off = chosen.get("subpopulations", chosen.get("kinds")) is False  # older audits call them kinds
    return _some(sorted(parts)) or "not looked for (--no-subpopulations)" * off


def _rounds_ended(rows: AuditRows) -> str:
    """Return why the rounds ended, for each nominal set that says so; older audits hold one sentence for all."""
    ended = rows.audit.run.get("rounds_ended") or ""
    if not isinstance(ended, Mapping):
        return printable(str(ended))
    sentences = {str(name): printable(str(sentence)) for name, sentence in ended.items() if sentence}
    if len(rows.scores) < 2:
        return next(iter(sentences.values()), "")
    return _some([f"{label_words(name)}: {sentence}" for name, sentence in sorted(sentences.items())], "; ")


def _view_words(rows: AuditRows, view: str) -> str:
    """Return a view's name, and in how many nominal sets it abstains."""
    by_set = {name: views[view] for name, views in rows.audit.views.items() if view in views}
    abstaining = [name for name in by_set if by_set[name].abstains]
    if not abstaining:
        return view
    reason, where = printable(by_set[abstaining[0]].reason), ""
    if len(by_set) > 1:
        where = f" in {len(abstaining)} of {len(by_set)} nominal sets, such as {label_words(abstaining[0])}"
    return f"{view} (abstains{where}: {reason})" if reason else f"{view} (abstains{where})"


def next_steps(rows: AuditRows) -> list[tuple[str, str]]:
    """Return what to do now: a sentence and the command for it, which may be empty."""
    audit = shlex.quote(unicode_name(str(rows.audit.path or "AUDIT")))
    counts, steps = verdicts(rows), _review_steps(rows, review_command(audit))
    if sum(counts[verdict] for verdict in CLEAN) < len(rows.images):
        steps.append(("Write the cleaned set. Your decisions apply, and you can undo it:", prune_command(audit)))
    if counts[Verdict.NOT_JUDGED]:
        steps.append((f"{catalogue()[Code.NOT_JUDGED].cure}", "curate rule SET001"))
    if counts[Verdict.UNREADABLE]:
        one = counts[Verdict.UNREADABLE] == 1
        files, them = ("file", "it") if one else ("files", "them")
        steps.append((f"Copy the unreadable {files} again from the source, or remove {them}.", ""))
    if any(pair["kind"] == EXACT and not pair["same_label"] for pair in rows.duplicates):
        steps.append(
            ("Correct the labels of duplicates that have different labels. They are listed under Duplicates.", "")
        )
    if rows.in_small_groups:
        steps.append((_small_groups_words(rows), ""))
    steps += _named_groups(rows)
    if rows.anomalies_not_flagged:
        steps.append((_not_flagged_words(rows), "" if rows.flagged or rows.look_first else review_command(audit)))
    return steps or [("Nothing to do: train on the set as it is.", "")]


def _review_steps(rows: AuditRows, command: str) -> list[tuple[str, str]]:
    """Return the steps that a person decides in: the uncertain images, then the flagged ones."""
    steps = []
    if rows.look_first:
        words = look_first_words(rows.audit.tables["images"])
        steps.append((f"{words} The review begins with them:", command))
    if rows.review.open:
        words = _review_words(rows)
        steps.append((words.removesuffix(":") + ".", "") if rows.look_first else (words, command))
    return steps


def _named_groups(rows: AuditRows) -> list[tuple[str, str]]:
    """Return the step that takes groups from the files' names, if the audit proposes it."""
    run = rows.audit.run
    searched = run.get("same_part")
    proposed = searched.get("proposed_group") if isinstance(searched, Mapping) else None
    if not isinstance(proposed, Mapping) or not isinstance(proposed.get("regex"), str):
        return []
    agree, found, named = (int(finite(proposed.get(name)) or 0) for name in ("agree", "found", "named"))
    words = (
        f"The names of the files join {agree:,} of the {counted(found, 'pair')} found to be of the same part, and "
        f"{counted(max(named - agree, 0), 'pair')} more. To make groups of them, so that images of a group do not "
        "speak for each other:"
    )
    folder = run.get("layout") not in (Layout.MANIFEST, Layout.FILE_LIST)
    dataset = shlex.quote(printable(str(run.get("dataset", "")))) if folder else "DATASET"
    return [(words, f"curate scan {dataset} --group-from {shlex.quote(printable(proposed['regex']))}")]


def _small_groups_words(rows: AuditRows) -> str:
    images = counted(len(rows.in_small_groups), "image")
    return (
        f"Check whether {images}, such as {printable(rows.in_small_groups[0])}, belong in this set: they form small "
        "groups apart from the rest (SET004), perhaps another product, view or lighting."
    )


def _not_flagged_words(rows: AuditRows) -> str:
    more = counted(rows.anomalies_not_flagged, "more image")
    return (
        f"Review the kept images with the highest scores: by the estimated contamination, about {more} may be "
        "anomalous than are flagged. This page shows the highest; images.parquet has all (anomaly_score). Reject "
        "defects; move images of another class to their folder and scan again."
    )


def _review_words(rows: AuditRows) -> str:
    if rows.review.open == len(rows.flagged):
        return "Review the flagged images, most anomalous first, and decide on each:"
    return f"Finish the review; {rows.review.open:,} of {counted(len(rows.flagged), 'flagged image')} to decide on:"


def prune_command(audit: str) -> str:
    """Return the command that writes the cleaned set."""
    return f"curate prune {audit} --apply copy"


def review_command(audit: str) -> str:
    """Return the command that opens the review page."""
    return f"curate review {audit}"


def other_findings(rows: AuditRows) -> list[OtherFinding]:
    """Return the findings that are no reason to flag a readable file, code by code."""
    paths: dict[str, list[str]] = {}
    for path, findings in rows.findings.items():
        if path in rows.row_of and rows.images[rows.row_of[path]]["verdict"] != Verdict.UNREADABLE:
            for finding in findings:
                if finding["score"] is None and not finding["code"].startswith("DUP"):
                    paths.setdefault(finding["code"], []).append(path)
    texts = catalogue()
    return [
        OtherFinding(text=texts[code], images=len(having), example=printable(min(having)))
        for code, having in sorted(paths.items())
        if code in texts
    ]


def label_words(label: str) -> str:
    """Return how a label is shown."""
    return printable(label) if label else "(no label)"


def _join(parts: list[str]) -> str:
    return " and ".join(part for part in parts if part)


def _some(parts: list[str], separator: str = ", ") -> str:
    """Return the first few parts, and that there are more."""
    return separator.join(parts[:NAMED]) + (f"{separator}and more" if len(parts) > NAMED else "")
