from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from curate.audit.parquet import Audit, read_audit, write_audit
from curate.audit.schema import LATER, SCHEMA_VERSION, TABLES
from curate.errors import InputError
from tests.audit.drawn_audit import draw_audit


def empty_audit() -> Audit:
    tables = {name: schema.empty_table() for name, schema in TABLES.items()}
    return Audit(tables=tables, run={"schema_version": SCHEMA_VERSION})


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_an_audit_is_written_and_read_in_a_folder_whose_name_is_not_utf8(tmp_path: Path):
    folder = tmp_path / os.fsdecode(b"o\xff")
    folder.mkdir()
    write_audit(empty_audit(), folder)
    assert read_audit(folder).run == {"schema_version": SCHEMA_VERSION}


@pytest.mark.parametrize(
    "run", ["[]", "null", "3", "{", "[" * 100_000, '{"schema_version": 1}', '{"schema_version": "99"}', "{}"]
)
def test_a_run_that_cannot_be_used_is_one_sentence(tmp_path: Path, run: str):
    write_audit(empty_audit(), tmp_path)
    (tmp_path / "run.json").write_text(run)
    with pytest.raises(InputError, match=r"^[^\n]*scan the dataset again$"):
        read_audit(tmp_path)


def test_an_audit_of_a_newer_version_says_to_upgrade_whatever_its_tables_are(tmp_path: Path):
    write_audit(empty_audit(), tmp_path)
    (tmp_path / "run.json").write_text('{"schema_version": 99}')
    (tmp_path / "findings.parquet").unlink()
    with pytest.raises(InputError, match=r"newer curate .*schema version 99.*upgrade curate"):
        read_audit(tmp_path)


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {"images"}))
def test_a_table_that_is_missing_or_damaged_is_one_sentence(tmp_path: Path, name: str):
    write_audit(empty_audit(), tmp_path)
    (tmp_path / f"{name}.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"^[^\n]*a damaged audit [^\n]*scan the dataset again$"):
        read_audit(tmp_path)
    (tmp_path / f"{name}.parquet").unlink()
    with pytest.raises(InputError, match=r"a damaged audit .*; scan the dataset again"):
        read_audit(tmp_path)


@pytest.mark.parametrize("name", TABLES)
def test_a_column_that_is_missing_or_has_another_type_is_named(tmp_path: Path, name: str):
    audit = empty_audit()
    whole = audit.tables[name]
    column = whole.column_names[0]
    binary = whole.set_column(0, column, pa.array([], pa.binary()))
    for table in (whole.drop_columns([column]), binary):
        write_audit(Audit(tables={**audit.tables, name: table}, run=audit.run), tmp_path)
        with pytest.raises(InputError, match=rf"{name}\.parquet: lacks the column '{column}' of type string"):
            read_audit(tmp_path)


def test_in_an_audit_without_nominal_sets_each_class_is_one(tmp_path: Path):
    audit = draw_audit(tmp_path)
    older = {name: audit.tables[name].drop_columns(["nominal_set"]) for name in ("images", "rounds")}
    write_audit(replace(audit, tables={**audit.tables, **older}), tmp_path / "audit")
    read = read_audit(tmp_path / "audit").tables
    for table in (read["images"], read["rounds"]):
        assert table["nominal_set"].to_pylist() == table["label"].to_pylist()


def test_an_audit_older_than_a_column_is_read_with_nulls_there(tmp_path: Path):
    audit = draw_audit(tmp_path)
    later = (LATER & set(audit.tables["images"].column_names)) | {"score_student"}
    older = audit.tables["images"].drop_columns(sorted(later))
    write_audit(replace(audit, tables={**audit.tables, "images": older}), tmp_path / "audit")
    read = read_audit(tmp_path / "audit").tables["images"]
    assert all(read[name].null_count == len(read) > 0 for name in later)
    wrong = older.append_column("brightness", pa.array(["dark"] * len(older)))
    write_audit(replace(audit, tables={**audit.tables, "images": wrong}), tmp_path / "audit")
    with pytest.raises(InputError, match="lacks the column 'brightness' of type float"):
        read_audit(tmp_path / "audit")
    wrong = older.append_column("score_student", pa.array(["high"] * len(older)))
    write_audit(replace(audit, tables={**audit.tables, "images": wrong}), tmp_path / "audit")
    with pytest.raises(InputError, match="lacks the column 'score_student' of type float"):
        read_audit(tmp_path / "audit")


def test_an_additional_column_is_welcome(tmp_path: Path):
    audit = empty_audit()
    more = audit.tables["images"].append_column("later", pa.array([], pa.int32()))
    write_audit(Audit(tables={**audit.tables, "images": more}, run=audit.run), tmp_path)
    assert "later" in read_audit(tmp_path).images
    assert json.loads((tmp_path / "run.json").read_text()) == audit.run
