"""Audits made of rows, as the cases of rules are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.audit.parquet import Audit, write_audit
from curate.audit.schema import SCHEMA_VERSION, TABLES
from curate.rules.cases import _rows
from curate.rules.check_pack import columns

PACK = """\
title = "Own"
[rules.LBL901]
title = "Mislabelled"
why = "Because."
cure = "Look."
severity = "error"
fact = "count"
of = "verdict = 'mislabelled'"
keep = "== 0"
kept = { images = [{}] }
broken = { images = [{ verdict = "mislabelled" }] }
"""


def make_audit(dataset: str = "/data", **rows: list[dict[str, Any]]) -> Audit:
    tables = {name: pa.Table.from_pylist(_rows(name, rows.get(name, [])), schema=columns(name)) for name in TABLES}
    return Audit(tables=tables, run={"schema_version": SCHEMA_VERSION, "dataset": dataset, "fingerprint": "f1"})


def save_audit(folder: Path, dataset: str = "/data", **rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_audit(make_audit(dataset, **rows), folder)
    return folder


def flagged(count: int, of: int = 20) -> list[dict[str, Any]]:
    return [{"times": of - count}, {"times": count, "verdict": "mislabelled", "reasons": ["LBL001"]}]
