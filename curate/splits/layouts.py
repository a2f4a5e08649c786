"""The manifests that a clean folder needs to be read in the same layout as its source."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.audit.table_files import read_table
from curate.errors import InputError
from curate.images import manifests
from curate.records import Layout
from curate.splits.lists import clean_images, manifest
from curate.splits.plan import PlanRow

MANIFEST_FILE, FILES_LIST = "manifest.csv", "files.txt"

IsClean = Callable[[object], bool]
"""Whether a `file_name` of a metadata file is an image of the clean set."""


def texts(layout: str, root: Path, rows: Sequence[PlanRow]) -> dict[str, bytes]:
    """Return the manifests of a clean folder, by name.

    For Hugging Face they are the source's own metadata files with all columns, filtered to the clean set.

    Raises:
        InputError: the source's metadata can no longer be read.
    """
    images = clean_images(rows)
    if layout == Layout.MANIFEST:
        return {MANIFEST_FILE: manifest(images)}
    if layout == Layout.HUGGINGFACE:
        clean = {row.path for row in images}
        files = manifests.metadata_files(root)
        return {file.relative_to(root).as_posix(): _filtered(file, root, clean) for file in files}
    return {}


def file_list(files: Sequence[Path]) -> bytes:
    """Return a list of files for `curate scan -`: one a line, or each ended by NUL if a name has a line break."""
    names = [os.fsencode(file) for file in files]
    end = b"\0" if any(b"\n" in name or b"\r" in name for name in names) else b"\n"
    return b"".join(name + end for name in names)


def _filtered(file: Path, root: Path, clean: set[str]) -> bytes:
    """Return a metadata file of Hugging Face's layout without the rows of other images than `clean`."""

    def is_clean(file_name: object) -> bool:
        path = os.path.relpath(os.path.normpath(file.parent / str(file_name)), root)
        return path.replace(os.sep, "/") in clean

    try:
        if file.suffix == ".parquet":
            return _parquet(file, is_clean)
        text = file.read_text(encoding="utf-8-sig")
        return _jsonl(text, is_clean) if file.suffix == ".jsonl" else _csv(text, is_clean)
    except (OSError, ValueError, KeyError, csv.Error, pa.ArrowException) as error:
        raise InputError(f"{file}: can no longer be read ({error}); nothing was touched, scan again") from error


def _jsonl(text: str, is_clean: IsClean) -> bytes:
    lines = [line for line in text.split("\n") if line.strip()]
    return "".join(f"{line}\n" for line in lines if is_clean(json.loads(line)["file_name"])).encode()


def _csv(text: str, is_clean: IsClean) -> bytes:
    header = text.partition("\n")[0]
    delimiter = max(manifests.DELIMITERS, key=header.count)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    column = [cell.strip() for cell in rows[0]].index("file_name")
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerows([rows[0], *(row for row in rows[1:] if is_clean(row[column]))])
    return out.getvalue().encode()


def _parquet(file: Path, is_clean: IsClean) -> bytes:
    table = read_table(file)
    mask = [is_clean(name) for name in table["file_name"].to_pylist()]
    out = pa.BufferOutputStream()
    pq.write_table(table.filter(pa.array(mask, type=pa.bool_())), out)
    return bytes(out.getvalue())
