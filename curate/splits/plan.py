"""The plan: what becomes of every file of a judged set, decided before anything is touched.

Verdicts decide, and a person's decisions (`decisions.parquet` in the audit) stand above them. Images of splits that
were not judged, and the masks of images, go along.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.records import Verdict
from curate.reports.decisions import Decision, hashes_of
from curate.reports.parquet import Audit
from curate.reports.place import DECISIONS

MIN_KEEP = 8
"""Images that a class keeps where an audit does not say."""


class Action(StrEnum):
    """What becomes of a file."""

    KEEP = "keep"
    REJECT = "reject"
    CARRY = "carry"
    """Not judged: it goes along with the clean set."""
    LEAVE = "leave"
    """It could not be read, so nothing can be verified: it stays where it is and is not of the clean set."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file of a plan: an image, or the mask of the image `mask_of`."""

    path: str
    sha256: str
    action: Action
    reason: str
    label: str = ""
    split: str = ""
    group: str = ""
    mask_of: str = ""


def _column(name: str, comment: str) -> pa.Field:
    return pa.field(name, pa.string(), metadata={"comment": comment})


PLAN = pa.schema(
    [
        _column("path", "POSIX path below the dataset root, as in images.parquet"),
        _column("sha256", "of the file's bytes, hex; empty if the file could not be read"),
        _column("action", "keep, reject, carry (not judged, goes along) or leave (could not be read, not touched)"),
        _column("reason", "why, one sentence"),
        _column("label", "as the layout or manifest says"),
        _column("split", "as the layout or manifest says"),
        _column("group", "as the layout or manifest says"),
        _column("mask_of", "path of the image that this file is the mask of; empty for images"),
    ],
    metadata={"curate_schema_version": "1"},
)


def plan_table(rows: Iterable[Row]) -> pa.Table:
    """Return a plan as the table of `plan.parquet`."""
    rows = list(rows)
    return pa.table({name: [str(getattr(row, name)) for row in rows] for name in PLAN.names}, schema=PLAN)


def judged_rows(audit: Audit) -> list[Row]:
    """Return a row for every image of an audit, in its order.

    Raises:
        InputError: a verdict or the decisions cannot be used.
    """
    columns = ("path", "sha256", "verdict", "skip_reason", "suggested_label", "label", "split", "group")
    images = audit.tables["images"].select(list(columns)).to_pylist()
    messages = _messages(audit)
    decisions = read_decisions(audit)
    unknown = decisions.keys() - {image["path"] for image in images}
    if unknown:
        raise InputError(f"{_decisions_file(audit)}: {min(unknown)!r} is not an image of the audit: remove that row")
    return [_row(image, messages.get(image["path"], ""), decisions.get(image["path"])) for image in images]


def _row(image: Mapping[str, Any], message: str, decided: tuple[Decision, str] | None) -> Row:
    action, reason = _verdict_says(image, message)
    if decided is not None and action is not Action.LEAVE and decided[0] is not Decision.UNSURE:
        action = Action(decided[0].value)
        reason = f"decided by hand: {decided[1]}" if decided[1] else "decided by hand"
    more = {name: image[name] or "" for name in ("sha256", "label", "split", "group")}
    return Row(path=image["path"], action=action, reason=reason, **more)


def _verdict_says(image: Mapping[str, Any], message: str) -> tuple[Action, str]:
    try:
        verdict = Verdict(image["verdict"])
    except ValueError as error:
        allowed = ", ".join(Verdict)
        raise InputError(
            f"{image['path']}: the verdict {image['verdict']!r} is none of {allowed}: scan again"
        ) from error
    if not image["sha256"]:
        return Action.LEAVE, image["skip_reason"] or "the file could not be read"
    if verdict is Verdict.KEEP:
        return Action.KEEP, "verdict keep"
    suggested = f"looks like {image['suggested_label']!r}" if image["suggested_label"] else ""
    said = image["skip_reason"] or message
    return Action.REJECT, ": ".join([verdict.value, *filter(None, ["; ".join(filter(None, [suggested, said]))])])


def _messages(audit: Audit) -> dict[str, str]:
    """Return the first finding that has a score, else the first of copies, by path."""
    table = audit.tables["findings"].select(["path", "code", "message", "score"]).to_pylist()
    found: dict[str, str] = {}
    for row in table:
        if row["score"] is not None:
            found.setdefault(row["path"], row["message"])
    for row in table:
        if row["code"].startswith("DUP"):
            found.setdefault(row["path"], row["message"])
    return found


def _decisions_file(audit: Audit) -> Path:
    return (audit.path or Path()) / DECISIONS


def read_decisions(audit: Audit) -> dict[str, tuple[Decision, str]]:
    """Return what a person decided, with the note, by path; the last row of an image counts.

    Left out are decisions that were withdrawn, and those on a file that has changed or gone since.

    Raises:
        InputError: the file is damaged, lacks a column, or holds another word than keep, reject, unsure.
    """
    file = _decisions_file(audit)
    if audit.path is None or not file.is_file():
        return {}
    try:
        with file.open("rb") as stream:
            table = pq.read_table(stream, use_threads=False, pre_buffer=False)
        rows = table.select(["path", "decision", *sorted({"note", "sha256"} & set(table.schema.names))]).to_pylist()
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: cannot be used ({said}): save the decisions again") from error
    decisions: dict[str, tuple[Decision, str]] = {}
    hashes = hashes_of(audit)
    for row in rows:
        if row["decision"] == Decision.UNDECIDED or row.get("sha256", hashes.get(row["path"])) != hashes.get(
            row["path"]
        ):
            continue  # withdrawn, or made on a file that is no longer of the set: see curate.reports.decisions
        if row["decision"] not in set(Decision) or not isinstance(row["path"], str):
            told = f"{row['decision']!r} for {row['path']!r}"
            raise InputError(f"{file}: {told} is none of keep, reject, unsure: correct that row")
        decisions[row["path"]] = (Decision(row["decision"]), str(row.get("note") or ""))
    return decisions


def min_keep(audit: Audit) -> int:
    """Return how many images a class must keep, as the audit's settings say."""
    value = (audit.run.get("settings") or {}).get("min_keep", MIN_KEEP)
    return value if isinstance(value, int) else MIN_KEEP


def refuse_small_classes(audit: Audit, rows: Iterable[Row], *, force: bool) -> tuple[str, ...]:
    """Return a sentence for each class that decisions leave with fewer than min_keep images.

    Raises:
        InputError: there is one, and `force` is not set; or no image at all is kept, whatever is forced.
    """
    rows = list(rows)
    kept = Counter(row.label for row in rows if row.action is Action.KEEP)
    if not kept:
        raise InputError(f"{audit.path}: not one image would be kept: there is nothing to make a split of")
    images = audit.tables["images"]
    said = zip(images["label"].to_pylist(), images["verdict"].to_pylist(), strict=True)
    by_verdict = Counter(label for label, verdict in said if verdict == Verdict.KEEP)
    floor = min_keep(audit)
    small = tuple(
        f"class {label!r} would keep {kept[label]} of {count} images that its verdicts keep, fewer than {floor}"
        for label, count in sorted(by_verdict.items())
        if kept[label] < min(floor, count)
    )
    if small and not force:
        raise InputError(f"{_decisions_file(audit)}: {small[0]}: change the decisions, or add --force")
    return small
