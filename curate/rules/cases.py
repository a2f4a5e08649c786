"""The two cases of a rule: a few rows that keep it and a few that break it, made into an audit and judged.

A row names only the columns that matter; the rest is an ordinary, kept image. `times = 98` stands for as many rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from curate.errors import InputError
from curate.reports.parquet import Audit
from curate.reports.schema import TABLES
from curate.rules.check_pack import RUN, TIMES
from curate.rules.packs import Pack, Rule

MOST_ROWS = 100_000
ORDINARY: Mapping[str, Mapping[str, Any]] = {
    "images": {
        "split": "",
        "label": "",
        "nominal_set": "",
        "group": "",
        "width_px": 640,
        "height_px": 480,
        "mode": "L",
        "bit_depth": 8,
        "skip_reason": "",
        "anomaly_score": 0.0,
        "verdict": "keep",
        "suggested_label": "",
        "reasons": [],
        "nearest": [],
    },
    "findings": {"severity": "warning", "message": "an example", "neighbours": []},
    "duplicates": {"kind": "exact", "same_label": True},
    "rounds": {"label": "", "nominal_set": "", "round": 1, "images": 0, "kept": 0, "rejected": 0, "reinstated": 0},
}


def case_audit(pack: Pack, rule: Rule, case: str) -> Audit:
    """Return the audit that a rule's case stands for.

    Args:
        case: "kept" or "broken".

    Raises:
        InputError: a value that its column cannot hold.
    """
    rows: Mapping[str, list[dict[str, Any]]] = getattr(rule, case)
    try:
        tables = {name: pa.Table.from_pylist(_rows(name, rows.get(name, [])), schema=TABLES[name]) for name in TABLES}
    except (pa.ArrowException, TypeError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise InputError(f"{pack.place(rule.code, case)}: rule {rule.code}: {case}: {said}") from error
    told = (rows.get(RUN) or [{}])[0]
    known = {key.removeprefix("contamination_") if "_" in key else "estimate": value for key, value in told.items()}
    return Audit(tables=tables, run={"contamination": known, "fingerprint": case})


def _rows(table: str, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write each row out, as often as it says, and name the images that have no name."""
    made: list[dict[str, Any]] = []
    for row in given:
        times = row.get(TIMES, 1)
        if not isinstance(times, int) or not 0 <= times <= MOST_ROWS:
            raise ValueError(f"times = {times!r}: give a number up to {MOST_ROWS}")
        known = {**ORDINARY.get(table, {})} | {name: value for name, value in row.items() if name != TIMES}
        for _ in range(times):
            number = len(made)
            own = {"path": f"{number:03d}.png"} | ({"sha256": f"{number:064x}"} if table == "images" else {})
            own = own if "path" in TABLES[table].names else {}
            made.append(own | known)
    return made
