"""The tables that rules query, in a locked DuckDB: no files, no network, no change of settings, no long queries.

    images       one row per file                     findings    one row per image and finding
    duplicates   one row per duplicate, both images         rounds      one row per nominal set and round
    classes      one row per label                    groups      one row per serial, lot, camera
    run          one row: the whole set

`findings` and `duplicates` carry split, label, "group" and content of their image. `images` says which images share
something with another split: `leaked` (pixels, "group" or part), `leaked_part` (the part), and which show the same part
as an image of another label: `conflicting_label`. See `unmeasured` for audits that do not tell. `images` has
`effective_verdict` and `decision` (see `curate.audit.effective_verdicts`), and `decided`: a person keeps or rejects it.
`contamination_undecided` in `run` is the lower bound of the contamination less the share of the judged images that are
decided, at least 0: each of these is one anomalous image at most, so at least that share is left. Source: ours.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from curate.audit.decisions import Decision
from curate.audit.parquet import Audit
from curate.audit.schema import LATER, TABLES
from curate.errors import CouldNotFinish
from curate.findings import Code

SECONDS = 20.0
"""The time limit for all rules of a pack together; the shipped packs stay far below it."""
MEMORY = "1GB"
LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "memory_limit": MEMORY,
    "threads": "2",
}
JUDGED = LATER | frozenset(
    (
        "nominal_set",
        "anomaly_score",
        "confidence",
        "p_value",
        "q_value",
        "verdict",
        "suggested_label",
        "round_rejected",
        "nearest",
        "pca_1",
        "pca_2",
    )
)
"""Columns of `images`, beside every `score_...`, that only a scan with a backbone fills."""

IMAGES = f"""
CREATE VIEW images AS SELECT *,
  CASE WHEN sha256 <> '' THEN sha256 ELSE 'path:' || path END AS content,
  list_has_any(reasons, ['{Code.LEAKED_PIXELS}', '{Code.LEAKED_PART}', '{Code.LEAKED_GROUP}']) AS leaked,
  list_contains(reasons, '{Code.LEAKED_PART}') AS leaked_part,
  list_contains(reasons, '{Code.CONFLICTING_SHOTS}') AS conflicting_label,
  decision IN ('{Decision.KEEP}', '{Decision.REJECT}') AS decided FROM arrow_images"""
FINDINGS = """
CREATE VIEW findings AS SELECT f.*, i.split, i.label, i."group", i.content
FROM arrow_findings f JOIN images i USING (path)"""
DUPLICATES = """
CREATE VIEW duplicates AS SELECT d.*, i.split, i.label, i."group", i.content,
  o.split AS other_split, o.label AS other_label, o."group" AS other_group
FROM arrow_duplicates d JOIN images i ON i.path = d.path JOIN images o ON o.path = d.duplicate_of"""
CLASSES = """
CREATE VIEW classes AS SELECT label, CAST(count(*) AS INTEGER) AS images,
  CAST(count(*) FILTER (skip_reason = '') AS INTEGER) AS readable,
  CAST(count(*) / sum(count(*)) OVER () AS DOUBLE) AS share,
  CAST(count(DISTINCT split) AS INTEGER) AS splits FROM images GROUP BY label"""
GROUPS = """
CREATE VIEW groups AS SELECT "group", CAST(count(*) AS INTEGER) AS images,
  CAST(count(DISTINCT split) AS INTEGER) AS splits,
  CAST(count(DISTINCT label) AS INTEGER) AS labels FROM images WHERE "group" <> '' GROUP BY "group" """
CONTAMINATION = """
CREATE TABLE contamination AS SELECT CAST(? AS DOUBLE) AS contamination,
  CAST(? AS DOUBLE) AS contamination_low, CAST(? AS DOUBLE) AS contamination_high"""
RUN = f"""
CREATE VIEW run AS SELECT CAST(count(*) AS INTEGER) AS images,
  CAST(count(*) FILTER (skip_reason = '') AS INTEGER) AS readable,
  CAST(count(DISTINCT label) AS INTEGER) AS labels, CAST(count(DISTINCT split) AS INTEGER) AS splits,
  any_value(c.contamination) AS contamination, any_value(c.contamination_low) AS contamination_low,
  any_value(c.contamination_high) AS contamination_high,
  any_value(c.contamination_low) - least(any_value(c.contamination_low), coalesce(
    count(*) FILTER (decided AND NOT coalesce(list_contains(reasons, '{Code.NOT_JUDGED}'), false))
      / nullif(count(*) FILTER (skip_reason = ''), 0), 0)) AS contamination_undecided
  FROM contamination c LEFT JOIN images ON true"""
VIEWS = (IMAGES, FINDINGS, DUPLICATES, CLASSES, GROUPS, RUN)
TABLE_NAMES = ("images", "findings", "duplicates", "rounds", "classes", "groups", "run")

Connection = duckdb.DuckDBPyConnection


@contextmanager
def engine(audit: Audit) -> Iterator[Connection]:
    """Open the tables of an audit, locked, for the length of a block; queries that run too long are stopped.

    Raises:
        CouldNotFinish: the block took longer than `SECONDS`, or more memory than `MEMORY`.
    """
    con = duckdb.connect(":memory:", config=dict(LOCKED))
    alarm = threading.Timer(SECONDS, con.interrupt)
    alarm.daemon = True
    try:
        _fill(con, audit)
        con.execute("SET python_enable_replacements = false").fetchall()
        con.execute("SET lock_configuration = true").fetchall()
        alarm.start()
        yield con
    except duckdb.InterruptException as error:
        raise CouldNotFinish(
            f"the rules took longer than {SECONDS:.0f} s; simplify the expressions of the pack"
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise CouldNotFinish(
            f"the rules needed more than {MEMORY} of memory; simplify the pack's expressions"
        ) from error
    finally:
        alarm.cancel()
        con.close()


def _fill(con: Connection, audit: Audit) -> None:
    for name in ("images", "findings", "duplicates"):
        con.register(f"arrow_{name}", audit.tables[name])
    if "rounds" in audit.tables:
        con.register("rounds", audit.tables["rounds"])
    # values go in by the query: pyarrow would import pandas to turn a list into an array
    con.execute(CONTAMINATION, contamination(audit.run)).fetchall()
    for view in VIEWS:
        con.execute(view).fetchall()


def contamination(run: Mapping[str, Any]) -> list[float | None]:
    """Return the estimate of the whole set's contamination, and its interval; None where the run has none."""
    estimate = run.get("contamination")
    values = [estimate.get(key) for key in ("estimate", "low", "high")] if isinstance(estimate, dict) else [None] * 3
    return [value if isinstance(value, int | float) else None for value in values]


def fill_names(con: Connection, table: str, column: str, *, names: Sequence[str]) -> None:
    """Replace the content of a table of one column by names."""
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {quoted(table)} AS SELECT unnest(?::VARCHAR[]) AS {quoted(column)}",
        [list(names)],
    ).fetchall()


def without_judgement(table: pa.Table) -> pa.Table:
    """Return the columns of `images` that need no backbone: a rule that reads another is an error, never a pass."""
    return table.drop_columns([n for n in table.column_names if n in JUDGED or n.startswith("score_")])


def empty_audit(*, judged: bool = True) -> Audit:
    """Return an audit without rows, to check rules before there is data."""
    # not schema.empty_table(), which imports pandas
    tables = {name: pa.Table.from_batches([], schema) for name, schema in TABLES.items()}
    if not judged:
        tables = {"images": without_judgement(tables["images"])} | {n: tables[n] for n in ("findings", "duplicates")}
    return Audit(tables=tables, run={})


def columns_of(con: Connection, table: str) -> dict[str, str]:
    """Return the columns that rules may name in a table, with their types; {} if it is not there."""
    try:
        rows = con.execute(f"DESCRIBE SELECT * FROM {quoted(table)}").fetchall()
    except duckdb.CatalogException:
        return {}
    return {str(row[0]).lower(): str(row[1]) for row in rows}


def fetch(con: Connection, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    return con.execute(query, list(values)).fetchall()


def quoted(name: str) -> str:
    """Return a name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'
