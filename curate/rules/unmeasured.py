"""What an audit does not tell, and why. A rule that reads such a column may be broken, but is never kept: it is skipped.

What was not looked for is not there either: without this, an audit of one split would pass every rule on leakage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.audit.parquet import Audit

MOST_UNDECIDABLE = 0.5
"""Where the second shots of more images than this would not be found, none found says nothing."""

Column = tuple[str, str]
"""A table that rules query, and its column."""

SPLIT_COLUMNS: tuple[Column, ...] = (
    ("images", "leaked"),
    ("images", "leaked_part"),
    ("duplicates", "other_split"),
    ("groups", "splits"),
)
PART_COLUMNS: tuple[Column, ...] = (("images", "leaked"), ("images", "leaked_part"), ("images", "conflicting_label"))


def unmeasured(audit: Audit) -> Mapping[Column, str]:
    """Return the columns that do not tell the whole truth in an audit, each with the reason."""
    splits, parts = _splits(audit), _parts(audit.run)
    reasons = dict.fromkeys(PART_COLUMNS, parts) if parts else {}
    return reasons | (dict.fromkeys(SPLIT_COLUMNS, splits) if splits else {})


def _splits(audit: Audit) -> str:
    """Return why no leak between splits can be seen, "" if one can."""
    count = len(set(audit.tables["images"]["split"].to_pylist()) - {"", None})
    return "" if count > 1 else "only one split was listed" if count else "no split was listed"


def _parts(run: Mapping[str, Any]) -> str:
    """Return why shots of the same part are not known, "" if they are."""
    search = run.get("same_part")
    if not isinstance(search, dict):
        return "shots of the same part were not looked for (--same-part)"
    undecidable = search.get("undecidable", 1.0)
    if search.get("threshold") is None or undecidable > MOST_UNDECIDABLE:
        return f"of {100 * undecidable:.0f} % of the images a second shot would not be found"
    return ""
