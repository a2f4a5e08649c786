"""The few figures of an audit that a person reads first."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from curate.images.names import unicode_name
from curate.records import Verdict
from curate.reports.parquet import Audit
from curate.reports.place import REPORT

WORST = 10


@dataclass(frozen=True)
class Worst:
    """One of the worst images: its score against the fence at 1, and why."""

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
        verdicts: images by verdict, in the order keep ... unreadable; those without images left out.
        worst: flagged images, worst first, ten at most.
        codes: how many images have each finding.
        next_steps: lines that say where the audit is and what to do.
    """

    images: int
    layout: str
    verdicts: dict[str, int]
    worst: tuple[Worst, ...]
    codes: dict[str, int]
    next_steps: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for `--format json`."""
        return asdict(self)


def summarise(audit: Audit) -> Summary:
    """Count an audit's verdicts and findings and pick its worst images."""
    table = audit.tables["images"]
    verdicts = Counter(table["verdict"].to_pylist())
    codes = Counter(audit.tables["findings"]["code"].to_pylist())
    return Summary(
        images=table.num_rows,
        layout=str(audit.run.get("layout", "")),
        verdicts={v.value: verdicts[v.value] for v in Verdict if verdicts[v.value]},
        worst=_worst(audit),
        codes=dict(sorted(codes.items())),
        next_steps=_next_steps(audit, verdicts),
    )


def _worst(audit: Audit) -> tuple[Worst, ...]:
    """Return the flagged images of highest anomaly score, each with its first scored finding."""
    reasons: dict[str, str] = {}
    findings = audit.tables["findings"]
    scored = zip(*(findings[c].to_pylist() for c in ("path", "message", "score")), strict=True)
    for path, message, score in scored:
        if score is not None:
            reasons.setdefault(path, message)
    images = audit.tables["images"].select(["path", "anomaly_score", "verdict"]).to_pylist()
    flagged = [i for i in images if i["verdict"] in (Verdict.MISLABELLED, Verdict.NEAR_OOD)]
    flagged.sort(key=lambda i: (-i["anomaly_score"], i["path"]))
    return tuple(
        Worst(i["path"], i["anomaly_score"], i["verdict"], reasons.get(i["path"], "")) for i in flagged[:WORST]
    )


def _next_steps(audit: Audit, verdicts: Counter[str]) -> tuple[str, ...]:
    lines = [f"Audit: {unicode_name(str(audit.path))}"] if audit.path else []
    if audit.path and (audit.path / REPORT).is_file():
        page = unicode_name(str(audit.path / REPORT))
        lines.append(f"Look at {page}: the flagged images, where each is odd, nominal ones beside it.")
    if verdicts[Verdict.KEEP] < audit.tables["images"].num_rows:
        lines.append(
            "Then read findings.parquet; the rows of images.parquet with verdict == 'keep' are the cleaned set."
        )
    return tuple(lines)
