"""The manifests that a clean folder needs to be read as its source was."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.images import manifests
from curate.records import Layout
from curate.splits.lists import clean_images, manifest
from curate.splits.plan import Row

MANIFEST_FILE, FILES_LIST = "manifest.csv", "files.txt"


def texts(layout: str, root: Path, rows: Sequence[Row]) -> dict[str, bytes]:
    """Return what a clean folder holds beside its files, by name.

    Hugging Face's metadata are the source's own, all columns, without the rows of images that are not of the clean set.

    Raises:
        InputError: the source's metadata cannot be read any more.
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
    """Return files as `curate scan -` reads them: one a line, or a NUL after each where a name has a line break."""
    names = [os.fsencode(file) for file in files]
    end = b"\0" if any(b"\n" in name or b"\r" in name for name in names) else b"\n"
    return b"".join(name + end for name in names)


def _filtered(file: Path, root: Path, clean: set[str]) -> bytes:
    try:
        if file.suffix == ".parquet":
            return _parquet(file, root, clean)
        text = file.read_text(encoding="utf-8-sig")
        return _jsonl(text, file, root, clean) if file.suffix == ".jsonl" else _csv(text, file, root, clean)
    except (OSError, ValueError, KeyError, csv.Error, pa.ArrowException) as error:
        raise InputError(f"{file}: cannot be read any more ({error}): nothing was touched") from error


def _is_clean(told: object, file: Path, root: Path, clean: set[str]) -> bool:
    name = os.path.relpath(os.path.normpath(file.parent / str(told)), root)
    return name.replace(os.sep, "/") in clean


def _jsonl(text: str, file: Path, root: Path, clean: set[str]) -> bytes:
    lines = [line for line in text.split("\n") if line.strip()]
    return "".join(
        f"{line}\n" for line in lines if _is_clean(json.loads(line)["file_name"], file, root, clean)
    ).encode()


def _csv(text: str, file: Path, root: Path, clean: set[str]) -> bytes:
    head = text.partition("\n")[0]
    delimiter = max(manifests.DELIMITERS, key=head.count)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    at = [cell.strip() for cell in rows[0]].index("file_name")
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerows([rows[0], *(row for row in rows[1:] if _is_clean(row[at], file, root, clean))])
    return out.getvalue().encode()


def _parquet(file: Path, root: Path, clean: set[str]) -> bytes:
    with file.open("rb") as stream:
        table = pq.read_table(stream, use_threads=False, pre_buffer=False)
    mask = [_is_clean(name, file, root, clean) for name in table["file_name"].to_pylist()]
    out = pa.BufferOutputStream()
    pq.write_table(table.filter(pc.equal(pa.array(mask, type=pa.bool_()), True)), out)
    return bytes(out.getvalue())
