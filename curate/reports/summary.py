"""The few figures of an audit that a person reads first."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from curate.audit.effective_verdicts import EFFECTIVE_VERDICT
from curate.audit.folder import REPORT
from curate.audit.parquet import Audit
from curate.audit.reviewed import review_counts
from curate.images.names import unicode_name
from curate.records import CLEAN, FLAGGED, Verdict
from curate.reports.budget import look_first_words
from curate.reports.power import found_words, planted_defects, unseen_words
from curate.reports.story import prune_command, review_command

WORST = 10


@dataclass(frozen=True)
class WorstImage:
    """One of the most anomalous images: its anomaly score (threshold 1), and why."""

    path: str
    score: float
    verdict: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the screen shows of an audit.

    Attributes:
        images: files found, also the unreadable ones.
        layout: how the dataset was read.
        look_first: what to look at before all else, one sentence; "" if nothing.
        verdicts: images by effective verdict, in the order keep ... rejected; those without images left out.
        review: what people decided, in words; "" if nothing.
        worst: flagged images that nobody decided on, most anomalous first, ten at most.
        power: what of the planted defects was found, a sentence each; none where none were planted.
        codes: how many images have each finding.
        next_steps: lines that say where the audit is and what to do.
        audit: its folder; "" if it was not written.
    """

    images: int
    layout: str
    look_first: str
    verdicts: dict[str, int]
    review: str
    worst: tuple[WorstImage, ...]
    power: tuple[str, ...]
    codes: dict[str, int]
    next_steps: tuple[str, ...]
    audit: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain values for `--format json`."""
        return asdict(self)


def summarise(audit: Audit) -> Summary:
    """Count an audit's verdicts and findings and pick its most anomalous images."""
    table = audit.tables["images"]
    verdicts = Counter(table[EFFECTIVE_VERDICT].to_pylist())
    codes = Counter(audit.tables["findings"]["code"].to_pylist())
    return Summary(
        images=table.num_rows,
        layout=str(audit.run.get("layout", "")),
        look_first=look_first_words(table),
        verdicts={v.value: verdicts[v.value] for v in Verdict if verdicts[v.value]},
        review=review_counts(audit).words,
        worst=_worst(audit),
        power=_power(audit),
        codes=dict(sorted(codes.items())),
        next_steps=_next_steps(audit, verdicts),
        audit=unicode_name(str(audit.path or "")),
    )


def _worst(audit: Audit) -> tuple[WorstImage, ...]:
    """Return the flagged images of highest anomaly score, each with its first scored finding."""
    reasons: dict[str, str] = {}
    findings = audit.tables["findings"]
    columns = (findings[name].to_pylist() for name in ("path", "message", "score"))
    for path, message, score in zip(*columns, strict=True):
        if score is not None:
            reasons.setdefault(path, message)
    images = audit.tables["images"].select(["path", "anomaly_score", EFFECTIVE_VERDICT]).to_pylist()
    flagged = [i for i in images if i[EFFECTIVE_VERDICT] in FLAGGED]
    flagged.sort(key=lambda i: (-i["anomaly_score"], i["path"]))
    return tuple(
        WorstImage(i["path"], i["anomaly_score"], i[EFFECTIVE_VERDICT], reasons.get(i["path"], ""))
        for i in flagged[:WORST]
    )


def _power(audit: Audit) -> tuple[str, ...]:
    defects = planted_defects(audit.run)
    return () if defects is None else tuple(filter(None, (found_words(defects), unseen_words(defects))))


def _next_steps(audit: Audit, verdicts: Counter[str]) -> tuple[str, ...]:
    name = unicode_name(str(audit.path))
    lines = [f"Audit: {name}"] if audit.path else []
    if audit.path and (audit.path / REPORT).is_file():
        page = unicode_name(str(audit.path / REPORT))
        lines.append(f"Open {page}: it shows the flagged images with heat maps, and nominal images beside them.")
    if audit.path and review_counts(audit).open:
        lines.append(f"Decide on the flagged images: {review_command(shlex.quote(name))}")
    if audit.path and sum(verdicts[verdict] for verdict in CLEAN) < audit.tables["images"].num_rows:
        lines.append(f"Write the cleaned set: {prune_command(shlex.quote(name))}")
    return tuple(lines)
