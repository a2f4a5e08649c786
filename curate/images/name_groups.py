"""Groups from names: what a regular expression captures of each file's path.

RE2 reads the expression, as Arrow ships it: whatever the expression, which may come from a settings file of somebody
else, its time is linear in the length of the path. So there is no look-around and no back reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import UsageError

MOST_CAPTURES = 9
"""Captures that count: RE2 numbers no more in a replacement."""
BETWEEN = "/"


def captured(paths: Sequence[str], regex: str) -> list[str]:
    """Return what a regular expression captures of each path, "" where it does not match.

    Several captures are joined by "/"; an expression without captures gives what it matches.

    Args:
        paths: POSIX paths; the first match in each counts.
        regex: in the syntax of RE2.

    Raises:
        ValueError: RE2 cannot read the expression.
    """
    names = pa.array(paths, pa.string())
    found = pc.match_substring_regex(names, regex).to_pylist()
    count = _captures(regex)
    whole = rf"(?s:\A.*?)(?:{regex if count else f'({regex})'})(?s:.*\z)"
    columns = [
        pc.replace_substring_regex(names, whole, rf"\{number}").to_pylist() for number in range(1, max(count, 1) + 1)
    ]
    rows = zip(found, zip(*columns, strict=True), strict=True)
    return [BETWEEN.join(texts) if match and any(texts) else "" for match, texts in rows]


def _captures(regex: str) -> int:
    """Return how many captures an expression that RE2 can read has, nine at most."""
    for number in range(1, MOST_CAPTURES + 1):
        try:
            pc.replace_substring_regex(pa.array([""]), regex, rf"\{number}")
        except pa.ArrowInvalid:
            return number - 1
    return MOST_CAPTURES


def groups_from(paths: Sequence[str], regex: str) -> tuple[str, ...]:
    """Return the group of each file by its path, "" for none.

    Args:
        paths: POSIX paths below the dataset's root.
        regex: see `captured`.

    Raises:
        UsageError: it is no regular expression, matches no path, captures nothing, or the same of every path.
    """
    option = f"--group-from {regex!r}"
    try:
        groups = tuple(captured(paths, regex))
    except ValueError as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise UsageError(f"{option}: RE2 cannot read it ({reason}); correct the regular expression") from error
    if not any(groups):
        raise UsageError(
            f"{option}: captures nothing of any of the {len(paths)} paths, such as {paths[0]}; "
            "name what tells the parts apart"
        )
    if len(paths) > 1 and len(set(groups)) == 1:
        raise UsageError(
            f"{option}: puts all {len(paths)} images into the group {groups[0]!r}, so no image could be judged by "
            "another; capture what differs from part to part"
        )
    return groups
