"""Compare two audits of one dataset value by value, as a refactoring must leave them.

    python examples/bench/same_audits.py BEFORE AFTER

Every column of every table that both have is compared exactly, floats bit by bit; messages are words and are left out,
and so is the order of the rows of findings and rounds. The thresholds and weights of views are compared through
`Audit.views`, which reads them from `run.json` of older audits. Prints a line for each column that differs, with the
largest difference; exits 1 if there is one.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

from curate.audit.parquet import Audit, read_audit

KEYS = {
    "images": ("path",),
    "findings": ("path", "code", "message"),
    "duplicates": ("path", "duplicate_of"),
    "rounds": ("nominal_set", "round"),
    "meta_set": ("epoch", "path"),
    "maps": ("path",),
    "views": ("nominal_set", "view"),
}
WORDS = frozenset(("message", "reason"))


def rows_of(audit: Audit, table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = [{name: plain(name, value) for name, value in row.items()} for row in audit.tables[table].to_pylist()]
    return {tuple(row[key] for key in KEYS[table]): row for row in rows}


def plain(name: str, value: Any) -> Any:
    """Return a value as both versions write it: subpopulations had another name, weights four digits."""
    if name == "nominal_set":
        return re.sub(r"\bkind (\d+ of \d+)", r"subpopulation \1", value)
    return round(value, 4) if name == "weight" and value is not None else value


def difference(before: Any, after: Any) -> float:
    """Return 0 for equal values, how far two numbers or two lists of numbers differ, infinity for all else."""
    if before == after or (before is None and after is None):
        return 0.0
    if isinstance(before, float) and isinstance(after, float):
        return 0.0 if math.isnan(before) and math.isnan(after) else abs(before - after)
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return max(map(difference, before, after), default=0.0)
    return math.inf


def compare(before: Audit, after: Audit) -> list[str]:
    lines = []
    for table in KEYS:
        old, new = rows_of(before, table), rows_of(after, table)
        if old.keys() != new.keys():
            some = sorted(map(str, old.keys() ^ new.keys()))[:3]
            lines.append(f"{table}: {len(old)} rows before, {len(new)} after; such as {', '.join(some)}")
        shared = [key for key in old if key in new]
        names = [name for name in (old[shared[0]] if shared else {}) if name in new[shared[0]] and name not in WORDS]
        for name in names:
            gaps = [gap for key in shared if (gap := difference(old[key][name], new[key][name]))]
            if gaps:
                lines.append(f"{table}.{name}: {len(gaps)} of {len(shared)} values differ, by {max(gaps):.3g} at most")
    for key, value in before.run["contamination"].items():
        if value != after.run["contamination"][key]:
            lines.append(f"run.contamination.{key}: {value} before, {after.run['contamination'][key]} after")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    args = parser.parse_args()
    before, after = read_audit(args.before), read_audit(args.after)
    lines = compare(before, after)
    values = sum(table.num_rows * table.num_columns for table in after.tables.values())
    print("\n".join([f"{args.before} and {args.after}: {values} values, {len(lines)} columns differ", *lines]))
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
