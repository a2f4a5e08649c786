"""The plan: what happens to every file of a judged set, decided before any file is touched.

Verdicts decide, and a person's decisions (`decisions.parquet` in the audit) override them. Images of splits that were
not judged go with the clean set, and masks and sidecar files go with their images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.audit.effective_verdicts import DECIDED_COLUMNS, DECISION, EFFECTIVE_VERDICT
from curate.audit.folder import DECISIONS
from curate.audit.parquet import Audit
from curate.audit.reviewed import SETTLED, decisions_of
from curate.errors import InputError
from curate.findings import Code
from curate.images.folders import IMAGE_SUFFIXES
from curate.records import CLEAN, Verdict
from curate.splits.modes import KeepShots

MIN_KEEP = 8
"""Images that a class must keep if the audit's settings do not say."""


class Action(StrEnum):
    """What happens to a file."""

    KEEP = "keep"
    REJECT = "reject"
    CARRY = "carry"
    """Not judged: it goes with the clean set."""
    LEAVE = "leave"
    """Unreadable, so it cannot be verified: it stays where it is and is not in the clean set."""


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One file of a plan: an image, or a mask or sidecar file of the image `mask_of`.

    `former_split` is the one before `--resplit`; None where the split stays as the dataset has it.
    """

    path: str
    sha256: str
    action: Action
    reason: str
    label: str = ""
    split: str = ""
    group: str = ""
    mask_of: str = ""
    former_split: str | None = field(default=None, repr=False)  # the digest of a plan is that of earlier versions


def _column(name: str, comment: str) -> pa.Field:
    return pa.field(name, pa.string(), metadata={"comment": comment})


PLAN = pa.schema(
    [
        _column("path", "POSIX path below the dataset root, as in images.parquet"),
        _column("sha256", "of the file's bytes, hex; empty if the file could not be read"),
        _column(
            "action", "keep, reject, carry (not judged, goes with the clean set) or leave (unreadable, not touched)"
        ),
        _column("reason", "why, one sentence"),
        _column("label", "as the layout or manifest says"),
        _column("split", "as the layout or manifest says; with --resplit the proposed one"),
        _column("group", "as the layout or manifest says"),
        _column("mask_of", "path of the image whose mask or sidecar file this is; empty for images"),
        _column("former_split", "as the layout or manifest says, where --resplit proposed another; else null"),
    ],
    metadata={"curate_schema_version": "1"},
)


def is_sidecar(path: str) -> bool:
    """Return whether a file that goes with an image is no mask."""
    return Path(path).suffix.lower() not in IMAGE_SUFFIXES


def plan_table(rows: Iterable[PlanRow]) -> pa.Table:
    """Return a plan as the table of `plan.parquet`."""
    rows = list(rows)
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=PLAN)


def judged_rows(audit: Audit) -> list[PlanRow]:
    """Return a row for every image of an audit, in its order.

    Raises:
        InputError: a verdict or the decisions cannot be used.
    """
    columns = ("path", "sha256", "verdict", "skip_reason", "suggested_label", "label", "split", "group")
    images = audit.tables["images"].select([*columns, *DECIDED_COLUMNS]).to_pylist()
    messages = _messages(audit)
    notes = {path: decided.note for path, decided in decisions_of(audit).items()}
    return [_row(image, messages.get(image["path"], ""), notes.get(image["path"], "")) for image in images]


def _row(image: Mapping[str, Any], message: str, note: str) -> PlanRow:
    action, reason = _by_verdict(image, message)
    if image[DECISION] in SETTLED and action is not Action.LEAVE:
        action = Action.KEEP if image[EFFECTIVE_VERDICT] == Verdict.KEEP else Action.REJECT
        reason = f"decided by hand: {note}" if note else "decided by hand"
    columns = {name: image[name] or "" for name in ("sha256", "label", "split", "group")}
    return PlanRow(path=image["path"], action=action, reason=reason, **columns)


def _by_verdict(image: Mapping[str, Any], message: str) -> tuple[Action, str]:
    try:
        verdict = Verdict(image["verdict"])
    except ValueError as error:
        allowed = ", ".join(Verdict)
        raise InputError(
            f"{image['path']}: the verdict {image['verdict']!r} is none of {allowed}; scan again"
        ) from error
    if not image["sha256"]:
        return Action.LEAVE, image["skip_reason"] or "the file could not be read"
    if verdict in CLEAN:
        return Action.KEEP, f"verdict {verdict.value}"
    suggested = f"looks like {image['suggested_label']!r}" if image["suggested_label"] else ""
    details = "; ".join(filter(None, (suggested, image["skip_reason"] or message)))
    return Action.REJECT, f"{verdict.value}: {details}" if details else verdict.value


def _messages(audit: Audit) -> dict[str, str]:
    """Return the message of each image's first finding with a score, else of its first duplicate finding, by path."""
    rows = audit.tables["findings"].select(["path", "code", "message", "score"]).to_pylist()
    scored = [row for row in rows if row["score"] is not None]
    duplicates = [row for row in rows if row["code"].startswith("DUP")]
    return {row["path"]: row["message"] for row in reversed([*scored, *duplicates])}


def unjudged_words(audit: Audit) -> tuple[str, ...]:
    """Return a sentence on the images that were neither judged nor decided on; none if there are none."""
    verdicts = audit.tables["images"][EFFECTIVE_VERDICT].to_pylist()
    count = verdicts.count(Verdict.NOT_JUDGED.value)
    if not count:
        return ()
    images = f"{count} image{' was' if count == 1 else 's were'}"
    return (f"{images} not judged ({Code.NOT_JUDGED}) and kept, since nothing speaks against them",)


def min_keep(audit: Audit) -> int:
    """Return how many images a class must keep according to the audit's settings."""
    value = (audit.run.get("settings") or {}).get("min_keep", MIN_KEEP)
    return value if isinstance(value, int) else MIN_KEEP


def refuse_small_classes(
    audit: Audit, rows: Iterable[PlanRow], *, force: bool, keep_shots: KeepShots = KeepShots.ALL
) -> tuple[str, ...]:
    """Return a sentence for each class that decisions or `keep_shots` leave with fewer than min_keep images.

    Raises:
        InputError: there is one, and `force` is not set; or no image is kept, even with `force`.
    """
    rows = list(rows)
    kept = Counter(row.label for row in rows if row.action is Action.KEEP)
    if not kept:
        raise InputError(f"{audit.path}: no image would be kept, so there is no split to write; change the decisions")
    images = audit.tables["images"]
    verdicts = zip(images["label"].to_pylist(), images["verdict"].to_pylist(), strict=True)
    by_verdict = Counter(label for label, verdict in verdicts if verdict in CLEAN)
    floor = min_keep(audit)
    small = tuple(
        f"class {label!r} would keep {kept[label]} of the {count} images with verdict keep, fewer than {floor}"
        for label, count in sorted(by_verdict.items())
        if kept[label] < min(floor, count)
    )
    if small and not force:
        file = (audit.path or Path()) / DECISIONS
        if keep_shots is not KeepShots.ALL:
            raise InputError(f"--keep-shots {keep_shots}: {small[0]}; keep all shots, change decisions, or add --force")
        raise InputError(f"{file}: {small[0]}; change the decisions, or add --force")
    return small
