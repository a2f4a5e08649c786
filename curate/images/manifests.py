"""Manifests (CSV, JSONL, Parquet with a column `path`) and Hugging Face's `metadata.*` (column `file_name`).

Paths are relative to the manifest's folder and stay inside it: a `..` that leaves it and an absolute path elsewhere are
refused, by name only. Links inside the folder may lead anywhere: the folder's owner made them. A row whose file is
missing is kept; decoding reports it.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet

from curate.errors import InputError
from curate.images.names import unicode_name

SUFFIXES = (".csv", ".jsonl", ".parquet")
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


def read_manifest(path: Path) -> list[ManifestRow]:
    """Return the rows of a manifest.

    Raises:
        InputError: the file's type, encoding, columns, a row or a path is wrong; says which line.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a dataset is a folder or a manifest ({', '.join(SUFFIXES)}), and this is neither")
    return _rows(path, "path")


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
        with path.open("rb") as file:
            if path.suffix == ".parquet":  # the schema is at the end
                file.seek(max(0, path.stat().st_size - PEEK_BYTES))
                return b"file_name" in file.read()
            return b"file_name" in file.readline(PEEK_BYTES)
    except OSError:
        return False


def read_metadata(root: Path, files: Sequence[Path]) -> list[ManifestRow]:
    """Return the rows of all metadata files, named below `root`; errors as for `read_manifest`."""
    return [
        row._replace(name=(file.parent.relative_to(root) / row.name).as_posix())
        for file in files
        for row in _rows(file, "file_name")
    ]


def _rows(path: Path, key: str) -> list[ManifestRow]:
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    homes = (os.path.normpath(path.parent.absolute()), os.fspath(path.parent.resolve()))
    rows: list[ManifestRow] = []
    locations: dict[str, Location] = {}
    for location, cells in readers[path.suffix.lower()](path, key):
        where = f"{path}, {location}"
        name = _inside(_cell(cells, key, where), homes, where)
        if name in locations:
            raise InputError(f"{where}: {name!r} is listed already in {locations[name]}: remove one of them")
        locations[name] = location
        rows.append(ManifestRow(name, *(_short(_cell(cells, column, where), column, where) for column in CELLS)))
        if rows[-1].trusted.strip().lower() not in TRUSTED:
            raise InputError(f"{where}: trusted is {rows[-1].trusted!r}: write true or false")
    if not rows:
        raise InputError(f"{path}: the manifest has no rows: list at least one image")
    return rows


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
    return unicode_name(text)


def _inside(name: str, homes: tuple[str, str], where: str) -> str:
    """Return a row's path below the manifest's folder, "/" between folders.

    Args:
        homes: that folder, as it was named and with links resolved.
    """
    if not name.strip():
        raise InputError(f"{where}: the path is empty: name an image or remove the row")
    full = os.path.normpath(Path(homes[0], name))
    for folder in homes:
        if full.startswith(folder.rstrip(os.sep) + os.sep):
            return os.path.relpath(full, folder).replace(os.sep, "/")
    raise InputError(f"{where}: {name!r} leads out of the manifest's folder: move the manifest above the images")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check its permissions") from error


def _read_text(path: Path) -> str:
    data = _read_bytes(path)
    try:
        return data.decode("utf-8-sig")
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
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=head.count), strict=True)
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
            columns = [cell.strip() for cell in cells]
            _check_columns(key, columns, path)
        elif cells:
            if len(cells) != len(columns):
                raise InputError(
                    f"{path}, {location}: {len(cells)} cells where the header has {len(columns)}: complete it"
                )
            yield location, dict(zip(columns, cells, strict=True))


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
