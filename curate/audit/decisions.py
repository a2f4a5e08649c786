"""What people decided about images: `decisions.parquet` in the audit's folder.

One row an image. A decision holds for the file as it was scanned (its sha256): it survives a new scan of the set and
ends when the image is replaced. Each change raises the image's `revision`. A change that starts from an older revision
is refused, so two browser tabs cannot overwrite each other unnoticed. Undo is a change like any other.

A table written by hand needs `path` and `decision` only. Without `sha256` a decision holds for the file as scanned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.atomic_files import replacing_file
from curate.audit.folder import DECISIONS, RUN_FILE
from curate.audit.table_files import first_line, read_table
from curate.errors import InputError, WriteError

LONGEST_NOTE = 2000
REQUIRED = frozenset(("path", "decision"))


def _column(name: str, kind: pa.DataType, comment: str) -> pa.Field:
    return pa.field(name, kind, metadata={"comment": comment})


SCHEMA = pa.schema(
    (
        _column("path", pa.string(), "the image, as in images.parquet"),
        _column("sha256", pa.string(), "of the file that was judged; the decision holds for no other"),
        _column("decision", pa.string(), "keep, reject or unsure; empty if it was withdrawn"),
        _column("note", pa.string(), "free text"),
        _column("revision", pa.int32(), "how often decision or note were changed"),
    )
)


class Decision(StrEnum):
    """What a person decided about an image; UNDECIDED if the decision was withdrawn."""

    KEEP = "keep"
    REJECT = "reject"
    UNSURE = "unsure"
    UNDECIDED = ""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision on one image, with its note and the number of changes that led to it."""

    decision: Decision = Decision.UNDECIDED
    note: str = ""
    revision: int = 0


class Stale(Exception):
    """A change that did not start from the latest decision, which is `current`."""

    def __init__(self, current: Decided) -> None:
        super().__init__("another change came first")
        self.current = current


def settle_decisions(folder: Path) -> None:
    """Settle the decisions of an audit that is about to be replaced; see `Decisions.settle`.

    Raises:
        InputError, WriteError: likewise, or the audit is damaged.
    """
    if not (folder / DECISIONS).is_file():
        return
    try:
        images = read_table(folder / "images.parquet").select(["path", "sha256"]).to_pydict()
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise InputError(
            f"{folder}: a damaged audit ({first_line(error)}); move its {DECISIONS} away, or choose another -o"
        ) from error
    Decisions(folder, dict(zip(images["path"], images["sha256"], strict=True))).settle()


class Decisions:
    """The decisions on the images of one audit, on disk; any number of threads and processes may share them."""

    def __init__(self, folder: Path, hashes: Mapping[str, str]) -> None:
        """Read and write in `folder`; `hashes` are the sha256 of the audit's images by path."""
        self._folder, self._file, self._hashes, self._lock = folder, folder / DECISIONS, hashes, Lock()

    def all(self) -> dict[str, Decided]:
        """Return every decision that holds, by path, withdrawn ones too; the last row of an image counts.

        Raises:
            InputError: the file is damaged, lacks a column, names an image that the audit does not have, or holds
                another word than keep, reject, unsure.
        """
        return {row["path"]: self._decided(row) for row in self._rows() if self._holds(row)}

    def settle(self) -> None:
        """Write into a file made by hand which file each decision holds for, so that it holds for no later one.

        Raises:
            InputError: as for `all`.
            WriteError: it cannot be written.
        """
        with self._lock, self._exclusive():
            self.all()
            if self._file.is_file() and "sha256" not in read_table(self._file).column_names:
                self._write(self._rows())

    def decide(self, path: str, decision: Decision, note: str, *, seen: int) -> Decided:
        """Change the decision on an image and write it to disk.

        Args:
            path: an image of the audit.
            seen: the revision that the change starts from, 0 for an image without a decision.

        Returns:
            The decision as it stands, with its new revision.

        Raises:
            Stale: another change came first; nothing is written.
            InputError: as for `all`, or the audit has no such image.
            WriteError: it cannot be written.
        """
        if path not in self._hashes:
            raise InputError(f"{path}: not an image of this audit")
        with self._lock, self._exclusive():
            current = self.all().get(path, Decided())
            if current.revision != seen:
                raise Stale(current)
            changed = Decided(decision=decision, note=note[:LONGEST_NOTE], revision=seen + 1)
            others = [row for row in self._rows() if row["path"] != path]
            mine = {"path": path, "sha256": self._hashes[path], **vars(changed), "decision": decision.value}
            self._write([*others, mine])
            return changed

    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows of the file, all columns of `SCHEMA` filled in."""
        try:
            table = read_table(self._file)
            names = [name for name in SCHEMA.names if name in REQUIRED or name in table.column_names]
            rows = table.select(names).cast(pa.schema([SCHEMA.field(name) for name in names])).to_pylist()
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise InputError(
                f"{self._file}: cannot be read as decisions ({first_line(error)}); "
                "correct it, or move it away to start again"
            ) from error
        return [self._filled_in(row) for row in rows]

    def _filled_in(self, row: Mapping[str, Any]) -> dict[str, Any]:
        path = row["path"]
        if path is None or ("sha256" not in row and path not in self._hashes):
            raise InputError(f"{self._file}: {path!r} is not an image of the audit; remove that row")
        return {
            "path": path,
            "sha256": row.get("sha256", self._hashes.get(path)),
            "decision": row["decision"],
            "note": row.get("note") or "",
            "revision": row.get("revision") or 0,
        }

    def _holds(self, row: Mapping[str, Any]) -> bool:
        return row["path"] in self._hashes and self._hashes[row["path"]] == row["sha256"]

    def _decided(self, row: Mapping[str, Any]) -> Decided:
        if row["decision"] not in set(Decision):
            word = f"{row['decision']!r} for {row['path']!r}"
            raise InputError(f"{self._file}: {word} is none of keep, reject, unsure; correct that row")
        return Decided(decision=Decision(row["decision"]), note=row["note"], revision=row["revision"])

    def _write(self, rows: list[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["path"]), schema=SCHEMA)
        try:
            with replacing_file(self._file, durable=True) as file:
                pq.write_table(table, file, compression="zstd")
        except OSError as error:
            raise WriteError(f"{self._file}: the decision cannot be written ({error.strerror or error})") from error

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keep other processes out, where the system supports locks."""
        try:
            import fcntl
        except ImportError:  # Windows: one review page an audit
            yield
            return
        with (self._folder / RUN_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
