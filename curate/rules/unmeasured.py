"""What an audit does not tell, and why: a rule that reads it may be broken, but is never kept. It is skipped.

What was not looked for is not there either: without this, an audit of one split would pass every rule on leakage.
"""

from __future__ import annotations

from collections.abc import Mapping

from curate.audit.effective_verdicts import EFFECTIVE_VERDICT
from curate.audit.leakage_groups import unfound_parts
from curate.audit.parquet import Audit
from curate.records import Verdict

CASE = "case"
"""A key of `run` of a rule's case: it names no more labels and groups than the rule needs."""

Column = tuple[str, str]
"""A table that rules query, and its column."""

SPLIT_COLUMNS: tuple[Column, ...] = (
    ("images", "leaked"),
    ("images", "leaked_part"),
    ("duplicates", "other_split"),
    ("groups", "splits"),
)
LABEL_COLUMNS: tuple[Column, ...] = (
    ("images", "suggested_label"),
    ("images", "conflicting_label"),
    ("duplicates", "same_label"),
    ("duplicates", "other_label"),
    ("groups", "labels"),
)
GROUP_COLUMNS: tuple[Column, ...] = (
    ("groups", "group"),
    ("groups", "images"),
    ("groups", "splits"),
    ("groups", "labels"),
    ("duplicates", "other_group"),
)
ESTIMATES = ("contamination", "contamination_low", "contamination_high")
JUDGED_COLUMNS: tuple[Column, ...] = (
    *(("run", name) for name in ESTIMATES),
    *(("rounds", name) for name in (*ESTIMATES, "fence", "q1", "q3", "kept", "rejected", "reinstated")),
)
"""Columns of tables that have no row for each image, which tell less where images were not judged."""
UNDECIDED_COLUMNS: tuple[Column, ...] = (("run", "contamination_undecided"),)
"""Such columns that leave out what people decided on: images that were not judged, too."""
PART_COLUMNS: tuple[Column, ...] = (("images", "leaked"), ("images", "leaked_part"), ("images", "conflicting_label"))


def unmeasured(audit: Audit) -> Mapping[Column, str]:
    """Return the columns that do not tell the whole truth in an audit, each with the reason."""
    reasons: dict[Column, str] = {}
    whole_set = CASE not in audit.run
    for columns, reason in (
        (JUDGED_COLUMNS, _not_judged(audit, "verdict")),
        (UNDECIDED_COLUMNS, _not_judged(audit, EFFECTIVE_VERDICT)),
        (PART_COLUMNS, unfound_parts(audit.run)),
        (LABEL_COLUMNS, _fewer_than_two(audit, "label") if whole_set else ""),
        (GROUP_COLUMNS, "no image has a group" if whole_set and not _values(audit, "group") else ""),
        (SPLIT_COLUMNS, _fewer_than_two(audit, "split")),
    ):
        reasons |= dict.fromkeys(columns, reason) if reason else {}
    return reasons


def not_judged_words(unknown: int, rows: int) -> str:
    """Return that images were not judged, in half a sentence."""
    return (
        f"{unknown} of {rows} image{'' if rows == 1 else 's'} {'was' if unknown == 1 else 'were'} not judged (SET001)"
    )


def _not_judged(audit: Audit, column: str) -> str:
    images = audit.tables["images"]
    verdicts = images[column].to_pylist() if column in images.column_names else []
    unknown = verdicts.count(Verdict.NOT_JUDGED.value)
    return not_judged_words(unknown, images.num_rows) if unknown else ""


def _fewer_than_two(audit: Audit, column: str) -> str:
    """Return why nothing can be seen between two labels or splits, "" if something can."""
    count = len(_values(audit, column))
    return "" if count > 1 else f"only one {column} was listed" if count else f"no {column} was listed"


def _values(audit: Audit, column: str) -> set[str]:
    return set(audit.tables["images"][column].to_pylist()) - {"", None}
