"""How each view judged each nominal set: `views.parquet`, one row a nominal set and view.

Older audits have the same facts nested in `run.json`; they are read into the same table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate.audit.schema import VIEWS


@dataclass(frozen=True, kw_only=True)
class View:
    """One view of one nominal set; the attributes are the columns of `schema.VIEWS`."""

    name: str
    threshold: float | None
    weight: float | None
    abstains: bool
    reason: str


def views_by_set(table: pa.Table) -> dict[str, dict[str, View]]:
    """Return the views of each nominal set, by name; `HYBRID` is the joined score. Rows without a name are left out."""
    views: dict[str, dict[str, View]] = {}
    for row in table.to_pylist():
        if row["nominal_set"] is None or row["view"] is None:
            continue
        views.setdefault(row["nominal_set"], {})[row["view"]] = View(
            name=row["view"],
            threshold=_number(row["threshold"]),
            weight=_number(row["weight"]),
            abstains=bool(row["abstains"]),
            reason=row["reason"] or "",
        )
    return views


def views_of_older_run(run: Mapping[str, Any]) -> pa.Table:
    """Return the table of an audit that has none, from `fences`, `votes` and `scorers` in its `run.json`.

    Values that older versions would not have written are left out, whatever they are.
    """
    judged = {(row["nominal_set"], row["view"]): row for row in _judged(run)}
    abstaining = [row for row in _abstaining(run) if (row["nominal_set"], row["view"]) not in judged]
    return pa.Table.from_pylist([*judged.values(), *abstaining], schema=VIEWS)


def _judged(run: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each view with a threshold: `fences[nominal_set][view]`, `votes[nominal_set][view]`."""
    votes = _mapping(run.get("votes"))
    for name, thresholds in _mapping(run.get("fences")).items():
        weights = _mapping(votes.get(name))
        for view, threshold in _mapping(thresholds).items():
            facts = _mapping(threshold)
            yield {
                "nominal_set": name,
                "view": view,
                "threshold": _number(facts.get("value")),
                "weight": _number(weights.get(view)),
                "abstains": False,
                "reason": _text(facts.get("note")),
            }


def _abstaining(run: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each view that gives a reason to abstain: `scorers[view][nominal_set]["mute"]`."""
    for view, by_set in _mapping(run.get("scorers")).items():
        for name, facts in _mapping(by_set).items():
            reason = _text(_mapping(facts).get("mute"))
            if reason:
                yield {"nominal_set": name, "view": view, "abstains": True, "reason": reason}


def _mapping(value: object) -> dict[str, object]:
    """Return a JSON object; empty if the value is none."""
    return {_text(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    """Return a text as valid Unicode: JSON may hold half of a surrogate pair, which Arrow refuses."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return None if math.isnan(value) else float(value)
    except OverflowError:  # JSON's integers have no limit
        return None
