"""What becomes of each image once people have decided: two columns that every reader of an audit finds in `images`.

    decision            keep, reject or unsure; empty if nobody decided
    effective_verdict   keep or rejected where a person decided so, else the verdict of the scan: not_judged stays so
                        until somebody decides

No file holds them. They are made from `decisions.parquet` whenever an audit is read, so they cannot be out of date.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from curate.audit.decisions import Decided, Decision
from curate.records import Verdict

DECISION, EFFECTIVE_VERDICT = "decision", "effective_verdict"
DECIDED_COLUMNS = (DECISION, EFFECTIVE_VERDICT)


def with_decisions(images: pa.Table, decided: Mapping[str, Decided]) -> pa.Table:
    """Return `images` with the decision on each image.

    Args:
        images: as in `images.parquet`.
        decided: the decisions that hold, by path.
    """
    if not decided:  # without a list: pyarrow would import pandas to turn it into an array
        return _with_column(images, DECISION, pa.repeat("", len(images)))
    paths = images["path"].to_pylist()
    words = [decided[path].decision.value if path in decided else "" for path in paths]
    return _with_column(images, DECISION, pa.array(words, pa.string()))


def with_effective_verdicts(images: pa.Table) -> pa.Table:
    """Return `images` with both columns; where no decision is known, the image is undecided.

    A decision counts where the file could be read: what has no sha256 stays as the scan found it. A table without
    verdicts gets the decisions alone.
    """
    missing = DECISION not in images.column_names
    decision = pa.repeat("", len(images)) if missing else pc.fill_null(images[DECISION], "")
    images = _with_column(images, DECISION, decision)
    if not {"verdict", "sha256"} <= set(images.column_names):
        return images.drop_columns([EFFECTIVE_VERDICT]) if EFFECTIVE_VERDICT in images.column_names else images
    read = pc.fill_null(pc.not_equal(images["sha256"], ""), False)
    verdict = images["verdict"]
    for one, then in ((Decision.KEEP, Verdict.KEEP), (Decision.REJECT, Verdict.REJECTED)):
        verdict = pc.if_else(pc.and_(pc.equal(images[DECISION], one.value), read), then.value, verdict)
    return _with_column(images, EFFECTIVE_VERDICT, verdict)


def without_decisions(images: pa.Table) -> pa.Table:
    """Return `images` as in `images.parquet`: what may change later is written into no file."""
    return images.drop_columns([name for name in DECIDED_COLUMNS if name in images.column_names])


def _with_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    field = pa.field(name, pa.string())
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), field, values)
    return table.append_column(field, values)
