"""The two cases of a rule, rows that keep it and rows that break it, as audits.

A row names only the columns that matter; the others are those of an ordinary, kept image. `times = 98` repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from curate.audit.parquet import Audit
from curate.audit.schema import TABLES
from curate.errors import InputError
from curate.rules.check_pack import RUN, TIMES, columns
from curate.rules.rule import Pack, Rule
from curate.rules.unmeasured import CASE

MOST_ROWS = 100_000
SEARCHED = {"threshold": 6.0, "undecidable": 0.0}
"""What `run.json` says of a search for shots of the same part that can find them."""
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
    """Return the audit of a rule's case.

    Args:
        case: "kept" or "broken".

    Raises:
        InputError: a value that its column cannot hold.
    """
    rows: Mapping[str, list[dict[str, Any]]] = getattr(rule, case)
    try:
        tables = {name: pa.Table.from_pylist(_rows(name, rows.get(name, [])), schema=columns(name)) for name in TABLES}
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{pack.place(rule.code, case)}: rule {rule.code}: {case}: {reason}") from error
    told = (rows.get(RUN) or [{}])[0]
    estimate = {key.removeprefix("contamination_") if "_" in key else "estimate": value for key, value in told.items()}
    run = {"contamination": estimate, "fingerprint": case, "same_part": SEARCHED, CASE: case}
    return Audit(tables=tables, run=run)


def _rows(table: str, short_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Repeat each row as often as it says, and name the images that have no name."""
    rows: list[dict[str, Any]] = []
    for row in short_rows:
        times = row.get(TIMES, 1)
        if not isinstance(times, int) or not 0 <= times <= MOST_ROWS:
            raise ValueError(f"times = {times!r}: give a number up to {MOST_ROWS}")
        values = {**ORDINARY.get(table, {})} | {name: value for name, value in row.items() if name != TIMES}
        for _ in range(times):
            number = len(rows)
            own = {"path": f"{number:03d}.png"} | ({"sha256": f"{number:064x}"} if table == "images" else {})
            own = own if "path" in TABLES[table].names else {}
            rows.append(own | values)
    return rows
