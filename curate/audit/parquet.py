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

from curate.audit.decisions import Decisions
from curate.audit.effective_verdicts import with_decisions, with_effective_verdicts, without_decisions
from curate.audit.folder import DECISIONS, RUN_FILE, is_audit
from curate.audit.schema import LATER, READABLE_VERSIONS, SCHEMA_VERSION, TABLES
from curate.audit.table_files import first_line, read_table
from curate.audit.views import View, views_by_set, views_of_older_run
from curate.errors import InputError
from curate.findings import Code
from curate.records import Verdict

if TYPE_CHECKING:
    import pandas as pd

VIEWS_TABLE = "views"
SCORE_PREFIX = "score_"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result of a scan.

    Examples:
        >>> audit = curate.read_audit("parts-audit")
        >>> audit.images.query("effective_verdict in ['keep', 'not_judged']")["path"].size  # the cleaned set
        21
        >>> audit.findings.query("code == 'LBL001'")["path"].tolist()  # local anomalies
        ['03.png', '11.png', '12.png']
        >>> audit.views[""]["neighbours"].abstains  # by nominal set; this set has no labels
        False

    Attributes:
        tables: Arrow tables by name: "images", "findings", "duplicates", "rounds", "views", "meta_set" and "maps";
            `curate.audit.schema` describes their columns. "images" also has `decision` and `effective_verdict`: what
            people had decided when the audit was read.
        run: how the audit came about: version, settings, backbone, dataset fingerprint, timings.
        path: the folder it lies in; None if it was not written.
    """

    tables: Mapping[str, pa.Table]
    run: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def __post_init__(self) -> None:
        """Give the images their effective verdicts: an audit is never without."""
        if "images" in self.tables:
            images = with_effective_verdicts(self.tables["images"])
            object.__setattr__(self, "tables", {**self.tables, "images": images})

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image file in the dataset, unreadable ones included.

        Beside the columns of `images.parquet`: `decision`, and `effective_verdict`, in which it stands above `verdict`.
        """
        return self.tables["images"].to_pandas()

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row per image and finding."""
        return self.tables["findings"].to_pandas()

    @cached_property
    def duplicates(self) -> pd.DataFrame:
        """One row per image that repeats an earlier one, and per pair of shots of the same part."""
        return self.tables["duplicates"].to_pandas()

    @cached_property
    def views(self) -> dict[str, dict[str, View]]:
        """How each view judged each nominal set, by the set's name and the view's; "hybrid" is the joined score."""
        return views_by_set(self.tables[VIEWS_TABLE]) if VIEWS_TABLE in self.tables else {}


def read_audit(folder: str | Path) -> Audit:
    """Read an audit from its folder. Needs no torch.

    Examples:
        >>> audit = curate.read_audit("parts-audit")
        >>> len(audit.images)
        24

    Raises:
        InputError: the folder is not an audit, a table is damaged, missing or lacks a column, or a newer curate wrote
            it; or its decisions cannot be used.
    """
    folder = Path(folder)
    if not is_audit(folder) and not _is_newer(folder):
        raise InputError(f"{folder}: not an audit (no {RUN_FILE}, no images.parquet); make one with `curate scan`")
    try:
        run = _read_run(folder)
        tables = {name: _read_table(folder, name, run) for name in TABLES}
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        raise InputError(f"{folder}: a damaged audit ({first_line(error)}); scan the dataset again") from error
    tables = {name: _with_later_columns(table, TABLES[name]) for name, table in tables.items()}
    tables["images"] = _with_not_judged(tables["images"])
    for name, table in tables.items():
        _refuse_columns(folder / f"{name}.parquet", table.schema, TABLES[name])
    _refuse_verdicts(folder, tables["images"])
    return Audit(tables=tables | {"images": decided_images(tables["images"], folder)}, run=run, path=folder)


def decided_images(images: pa.Table, folder: Path) -> pa.Table:
    """Return `images` with the decisions of a folder that hold for them.

    Raises:
        InputError: the decisions cannot be used.
    """
    if not (folder / DECISIONS).is_file():
        return with_decisions(images, {})
    hashes = dict(zip(images["path"].to_pylist(), images["sha256"].to_pylist(), strict=True))
    return with_decisions(images, Decisions(folder, hashes).all())


def _read_run(folder: Path) -> dict[str, Any]:
    run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    if not isinstance(run, dict):
        raise ValueError(f"{RUN_FILE} holds no object")
    version = run.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{folder}: written by a newer curate (schema version {version}, this one reads {SCHEMA_VERSION}); "
            "upgrade curate"
        )
    if version not in READABLE_VERSIONS:
        raise InputError(
            f"{folder}: schema version {version!r}, but this curate reads {SCHEMA_VERSION}; scan the dataset again"
        )
    return run


def _read_table(folder: Path, name: str, run: Mapping[str, Any]) -> pa.Table:
    path = folder / f"{name}.parquet"
    if name == VIEWS_TABLE and "fences" in run and not path.is_file():  # written before there was this table
        return views_of_older_run(run)
    return read_table(path)


def _with_later_columns(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Return a table with the columns that older audits lack.

    `nominal_set` is the label there: each class was one nominal set. The others are null: those of `LATER`, and the
    scores of scorers that came later.
    """
    for name in wanted.names:
        if name in table.column_names:
            continue
        if name == "nominal_set" and "label" in table.column_names:
            table = table.append_column(wanted.field(name), table["label"])
        elif name in LATER or name.startswith(SCORE_PREFIX):
            table = table.append_column(wanted.field(name), pa.nulls(len(table), wanted.field(name).type))
    return table


def _with_not_judged(images: pa.Table) -> pa.Table:
    """Return `images` with the verdict `not_judged`, which audits of earlier versions wrote as `keep`."""
    if not {"verdict", "reasons"} <= set(images.column_names):
        return images
    verdicts = [
        Verdict.NOT_JUDGED.value if verdict == Verdict.KEEP and Code.NOT_JUDGED in (reasons or ()) else verdict
        for verdict, reasons in zip(images["verdict"].to_pylist(), images["reasons"].to_pylist(), strict=True)
    ]
    at = images.column_names.index("verdict")
    return images.set_column(at, images.schema.field(at), pa.array(verdicts, type=images.schema.field(at).type))


def _refuse_verdicts(folder: Path, images: pa.Table) -> None:
    of_scans = [verdict for verdict in Verdict if verdict is not Verdict.REJECTED]
    unknown = sorted(set(images["verdict"].to_pylist()) - {*of_scans, None})
    if unknown:
        raise InputError(
            f"{folder}: the verdict {unknown[0]!r} is none of {', '.join(of_scans)}; if a newer curate wrote the "
            "audit, upgrade curate, otherwise scan the dataset again"
        )


def _is_newer(folder: Path) -> bool:
    """Return whether a folder without the tables that there are now says that a newer curate wrote it."""
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    version = run.get("schema_version") if isinstance(run, dict) else None
    return isinstance(version, int) and version > SCHEMA_VERSION


def _refuse_columns(path: Path, there: pa.Schema, wanted: pa.Schema) -> None:
    """Refuse a table without a column that others rely on; additional columns are welcome."""
    types = dict(zip(there.names, there.types, strict=True))
    wrong = [field.name for field in wanted if types.get(field.name) != field.type]
    if wrong:
        raise InputError(f"{path}: lacks the column {wrong[0]!r} of type {wanted.field(wrong[0]).type}; scan again")


def write_audit(audit: Audit, folder: Path) -> None:
    """Write the tables and the run of an audit into an existing folder; see `curate.audit.folder`.

    What people decided stays in `decisions.parquet`, and is in no table.
    """
    for name, whole in audit.tables.items():
        table = without_decisions(whole) if name == "images" else whole
        with (folder / f"{name}.parquet").open("wb") as file:
            pq.write_table(table, file, compression="zstd")
    text = json.dumps(audit.run, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / RUN_FILE).write_text(text + "\n", encoding="utf-8")
