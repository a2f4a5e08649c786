"""Manifests (CSV, JSONL, Parquet with a column `path`) and Hugging Face's `metadata.*` (column `file_name`).

Paths are relative to the manifest's folder, or `root`, and stay inside it: a `..` that leaves it and an absolute path
elsewhere are refused, by name only. `table_paths` and `table_texts` say how paths and cells are read. Links inside the
folder may lead anywhere: the folder's owner made them. A row whose file is missing is kept; decoding reports it.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet

from curate.errors import InputError
from curate.images.names import unicode_name
from curate.images.table_paths import TablePaths
from curate.images.table_texts import EMPTY_WORDS, NO_NAME_WORDS, cell_text, decode_text, whole_numbers

SUFFIXES = (".csv", ".jsonl", ".parquet")
FILE_NAME = "file_name"
METADATA = tuple(f"metadata{suffix}" for suffix in SUFFIXES)
SPLIT_FOLDERS = ("train", "test", "validation", "valid", "val")
DELIMITERS = ",;\t"
PEEK_BYTES = 2**20
CELLS = ("label", "split", "group", "trusted")
TRUSTED = {
    "": None,
    **dict.fromkeys(("true", "yes", "1", "1.0"), True),
    **dict.fromkeys(("false", "no", "0", "0.0"), False),
}
MOST_CHARACTERS = 1000

Location = str
"""Of a row in its manifest: "line 3" or "row 3"."""


class ManifestRow(NamedTuple):
    """One row: the file's name below the root with "/" between folders; "" where a column is missing.

    `trusted` is a key of `TRUSTED` in any case.
    """

    name: str
    label: str
    split: str
    group: str
    trusted: str = ""


def read_manifest(path: Path, root: Path | None = None) -> list[ManifestRow]:
    """Return the rows of a manifest.

    Args:
        root: the folder of the images, which relative paths begin at; None for the manifest's own.

    Raises:
        InputError: the file's type, encoding, columns, a row or a path is wrong; says which line.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a dataset is a folder or a manifest ({', '.join(SUFFIXES)}), and this is neither")
    return _rows(path, "path", root)


def metadata_files(root: Path) -> list[Path]:
    """Return the Hugging Face metadata files of a folder: those in it, else those in its split folders."""
    for folders in ([root], [root / name for name in SPLIT_FOLDERS]):
        files = [folder / name for folder in folders for name in METADATA if (folder / name).is_file()]
        if files:
            return files
    return []


def names_files(path: Path) -> bool:
    """Return whether a `metadata.*` has the column `file_name`; other tools write files of that name without it."""
    try:
        if path.suffix == ".parquet":
            with path.open("rb") as file:
                return FILE_NAME in pa.parquet.read_schema(file).names
        with path.open("rb") as file:
            return FILE_NAME in _first_columns(file.readline(PEEK_BYTES), path.suffix)
    except (OSError, ValueError, pa.ArrowException, csv.Error, RecursionError):
        return False


def _first_columns(line: bytes, suffix: str) -> Collection[str]:
    """Return the columns that the first line of a table names."""
    head = decode_text(line if not line.startswith(codecs.BOM_UTF16_LE) else line + b"\0")
    if suffix == ".csv":
        delimiter = max(DELIMITERS, key=head.count)
        return [cell.strip() for cell in next(csv.reader([head.rstrip("\r\n")], delimiter=delimiter), [])]
    first = json.loads(head)
    return first if isinstance(first, dict) else ()


def read_metadata(root: Path, files: Sequence[Path]) -> list[ManifestRow]:
    """Return the rows of all metadata files, named below `root`; errors as for `read_manifest`.

    Rows of two files about one image are one row where they agree; "" agrees with anything.

    Raises:
        InputError: they do not.
    """
    rows: dict[str, ManifestRow] = {}
    origins: dict[str, Path] = {}
    for file in files:
        for row in _rows(file, FILE_NAME):
            name = (file.parent.relative_to(root) / row.name).as_posix()
            joined = _agreed(rows.get(name), row._replace(name=name))
            if joined is None:
                both = f"{origins[name]} and {file.name}"
                raise InputError(f"{both}: both list {name!r}, and differ: remove one of the files or the rows")
            rows[name], origins[name] = joined, origins.get(name, file)
    return list(rows.values())


def _agreed(one: ManifestRow | None, other: ManifestRow) -> ManifestRow | None:
    """Return two rows about one image as one, None if they differ."""
    if one is None:
        return other
    cells = [(a, b) for a, b in zip(one, other, strict=True)]
    return ManifestRow(*(a or b for a, b in cells)) if all(a == b or not a or not b for a, b in cells) else None


def _rows(path: Path, key: str, root: Path | None = None) -> list[ManifestRow]:
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    paths = TablePaths(path.parent) if root is None else TablePaths(root, f"--root {root}")
    rows: list[ManifestRow] = []
    locations: dict[str, Location] = {}
    for location, cells in readers[path.suffix.lower()](path, key):
        where = f"{path}, {location}"
        name = paths.name(_cell(cells, key, where), where)
        if name in locations:
            raise InputError(f"{where}: {name!r} is listed already in {locations[name]}: remove one of them")
        locations[name] = location
        rows.append(ManifestRow(name, *(_short(_cell(cells, column, where), column, where) for column in CELLS)))
        if rows[-1].trusted.strip().lower() not in TRUSTED:
            raise InputError(f"{where}: trusted is {rows[-1].trusted!r}: write true or false")
    if not rows:
        raise InputError(f"{path}: the manifest has no rows: list at least one image")
    columns = [whole_numbers(column) for column in zip(*(row[1:] for row in rows), strict=True)]
    return [ManifestRow(row.name, *cells) for row, cells in zip(rows, zip(*columns, strict=True), strict=True)]


def _cell(cells: Mapping[str, Any], column: str, where: str) -> str:
    """Return a cell as text: "" for none and NaN, "1" for 1.0 (a column with gaps is of floats), "true" for True."""
    value = cells.get(column)
    if value is None or value != value:  # noqa: PLR0124  NaN alone differs from itself
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if not isinstance(value, str | int | float):
        raise InputError(f"{where}: {column} is {type(value).__name__}: give a text or a number")
    return str(value)


def _short(text: str, column: str, where: str) -> str:
    """Return a label, split or group as valid Unicode."""
    if len(text) > MOST_CHARACTERS:
        raise InputError(
            f"{where}: {column} has {len(text)} characters, and {MOST_CHARACTERS} are allowed: give a short name"
        )
    return unicode_name(cell_text(text, EMPTY_WORDS if column == "label" else NO_NAME_WORDS))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check its permissions") from error


def _read_text(path: Path) -> str:
    data = _read_bytes(path)
    try:
        return decode_text(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8: save the manifest as UTF-8") from error


def _check_columns(key: str, columns: Sequence[str], path: Path) -> None:
    if key not in columns:
        present = ", ".join(columns) or "none"
        raise InputError(f"{path}, line 1: there is no column {key!r} (columns: {present}): add or rename it")
    twice = next((name for name, count in Counter(columns).items() if name and count > 1), None)
    if twice is not None:
        raise InputError(f"{path}, line 1: the column {twice!r} occurs twice: remove or rename one of them")


def _read_csv(path: Path, key: str) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    text = _read_text(path)
    head = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=head.count)
    blanks = (
        re.search(rf'{delimiter} +"', text) is not None
    )  # before a quoted cell; others are kept until they are read
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=blanks)
    columns: list[str] | None = None
    while True:
        location = f"line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{path}, {location}: not valid CSV ({error}): quote the cells properly") from error
        if cells is None:
            return
        if columns is None:
            columns = _known_columns([cell.strip() for cell in cells], key)
            _check_columns(key, columns, path)
        elif cells:
            if len(cells) != len(columns):
                raise InputError(
                    f"{path}, {location}: {len(cells)} cells where the header has {len(columns)}: complete it"
                )
            yield location, dict(zip(columns, cells, strict=True))


def _known_columns(columns: list[str], key: str) -> list[str]:
    """Return columns with those that are read here in lower case, if that makes none of them occur twice."""
    lower = [column.lower() if column.lower() in (key, *CELLS) else column for column in columns]
    return columns if any(lower.count(name) > 1 for name in (key, *CELLS)) else lower


def _read_jsonl(path: Path, key: str) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not valid JSON ({_first_line(error)}): correct it") from error
        if not isinstance(cells, dict) or not isinstance(cells.get(key), str):
            raise InputError(f"{path}, line {number}: not an object with a text {key!r}: one object a line")
        yield f"line {number}", cells


def _read_parquet(path: Path, key: str) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    try:
        with pa.parquet.ParquetFile(pa.BufferReader(_read_bytes(path))) as file:
            _check_columns(key, file.schema_arrow.names, path)
            columns = [column for column in (key, *CELLS) if column in file.schema_arrow.names]
            start = 0
            for batch in file.iter_batches(columns=columns):
                for number, cells in enumerate(batch.to_pylist(), start + 1):
                    yield f"row {number}", cells
                start += batch.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a Parquet file that can be read ({_first_line(error)}): write it again"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:120]
