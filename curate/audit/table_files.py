"""Reading one Parquet file of an audit or a split."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file.

    Raises:
        OSError, ValueError, pyarrow.ArrowException: it cannot be read.
    """
    with path.open("rb") as file:  # Arrow opens no path that is not UTF-8
        return pq.read_table(file, use_threads=False, pre_buffer=False)  # threads of Arrow may abort the exit


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
