"""The tables of an audit and its `run.json`, in memory and in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.reports.place import RUN_FILE, is_audit
from curate.reports.schema import LATER, SCHEMA_VERSION, TABLES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result of a scan.

    Attributes:
        tables: "images", "findings" and "duplicates" as Arrow tables; columns in `curate.reports.schema`.
        run: how the audit came about: version, settings, backbone, dataset fingerprint, timings.
        path: the folder it lies in; None while it was not written.
    """

    tables: Mapping[str, pa.Table]
    run: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image file found, also the unreadable ones."""
        return self.tables["images"].to_pandas()

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row per image and finding."""
        return self.tables["findings"].to_pandas()

    @cached_property
    def duplicates(self) -> pd.DataFrame:
        """One row per image that repeats an earlier one."""
        return self.tables["duplicates"].to_pandas()


def read_audit(folder: str | Path) -> Audit:
    """Read an audit from its folder. Needs no torch.

    Raises:
        InputError: the folder is no audit, a table is damaged or lacks a column, or a newer version wrote it.
    """
    folder = Path(folder)
    if not is_audit(folder):
        raise InputError(f"{folder}: not an audit (no {RUN_FILE}, no images.parquet); make one with `curate scan`")
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        tables = {name: _read_table(folder / f"{name}.parquet") for name in TABLES}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{folder}: a damaged audit ({_first_line(error)}); scan the dataset again") from error
    if not isinstance(run, dict):
        raise InputError(f"{folder}: a damaged audit ({RUN_FILE} holds no object); scan the dataset again")
    if run.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{folder}: schema version {run.get('schema_version')}, but this curate reads {SCHEMA_VERSION}; scan again"
        )
    tables = {name: _with_later_columns(table, TABLES[name]) for name, table in tables.items()}
    for name, table in tables.items():
        _refuse_columns(folder / f"{name}.parquet", table.schema, TABLES[name])
    return Audit(tables=tables, run=run, path=folder)


def _read_table(path: Path) -> pa.Table:
    with path.open("rb") as file:  # Arrow opens no path that is not UTF-8
        return pq.read_table(file, use_threads=False, pre_buffer=False)  # threads of Arrow may abort the exit


def _with_later_columns(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Return a table with the columns that came later: `nominal_set`, once each class was one, and those of `LATER`."""
    for name in wanted.names:
        if name == "nominal_set" and name not in table.column_names and "label" in table.column_names:
            table = table.append_column(wanted.field(name), table["label"])
        elif name in LATER and name not in table.column_names:
            table = table.append_column(wanted.field(name), pa.nulls(len(table), wanted.field(name).type))
    return table


def _refuse_columns(path: Path, there: pa.Schema, wanted: pa.Schema) -> None:
    """Refuse a table without a column that others rely on; columns beyond those are welcome."""
    types = dict(zip(there.names, there.types, strict=True))
    wrong = [field.name for field in wanted if types.get(field.name) != field.type]
    if wrong:
        raise InputError(f"{path}: lacks the column {wrong[0]!r} of type {wanted.field(wrong[0]).type}; scan again")


def write_audit(audit: Audit, folder: Path) -> None:
    """Write the tables and the run of an audit into a folder that is there; see `curate.reports.place`."""
    for name, table in audit.tables.items():
        with (folder / f"{name}.parquet").open("wb") as file:
            pq.write_table(table, file, compression="zstd")
    text = json.dumps(audit.run, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / RUN_FILE).write_text(text + "\n", encoding="utf-8")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
