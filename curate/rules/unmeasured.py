"""What an audit does not tell, and why: a rule that reads it may be broken, but is never kept. It is skipped.

What was not looked for is not there either: without this, an audit of one split would pass every rule on leakage.
"""

from __future__ import annotations

from collections.abc import Mapping

from curate.audit.leakage_groups import unfound_parts
from curate.audit.parquet import Audit

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
    splits, parts = _splits(audit), unfound_parts(audit.run)
    reasons = dict.fromkeys(PART_COLUMNS, parts) if parts else {}
    return reasons | (dict.fromkeys(SPLIT_COLUMNS, splits) if splits else {})


def _splits(audit: Audit) -> str:
    """Return why no leak between splits can be seen, "" if one can."""
    count = len(set(audit.tables["images"]["split"].to_pylist()) - {"", None})
    return "" if count > 1 else "only one split was listed" if count else "no split was listed"
