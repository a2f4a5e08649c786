"""What people decided about images: `decisions.parquet` in the audit's folder.

One row an image. A decision holds for the file as it was scanned (its sha256), so it survives a new scan of the
set and ends where the image is replaced. Each change raises the image's `revision`, and is refused to whoever
has not seen the latest: two tabs cannot overwrite each other unseen, and undo is a change like any other.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError, WriteError
from curate.reports.parquet import Audit
from curate.reports.place import DECISIONS, RUN_FILE

LONGEST_NOTE = 2000


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
    """What is to become of an image; UNDECIDED where a decision was withdrawn."""

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
    """A change by someone who had not seen the latest one, which is `current`."""

    def __init__(self, current: Decided) -> None:
        super().__init__("changed meanwhile")
        self.current = current


def decisions_of(audit: Audit) -> dict[str, Decided]:
    """Return the decisions that hold for an audit's images, by path; withdrawn ones are left out.

    Raises:
        InputError: `decisions.parquet` is damaged.
    """
    if audit.path is None:
        return {}
    decided = Decisions(audit.path, hashes_of(audit)).all()
    return {path: found for path, found in decided.items() if found.decision}


def hashes_of(audit: Audit) -> dict[str, str]:
    """Return the sha256 of every image by its path."""
    images = audit.tables["images"]
    return dict(zip(images["path"].to_pylist(), images["sha256"].to_pylist(), strict=True))


class Decisions:
    """The decisions on the images of one audit, on disk; any number of threads and processes may share them."""

    def __init__(self, folder: Path, hashes: Mapping[str, str]) -> None:
        """Look into `folder`; `hashes` are the sha256 of the audit's images by path."""
        self._folder, self._file, self._hashes, self._lock = folder, folder / DECISIONS, hashes, Lock()

    def all(self) -> dict[str, Decided]:
        """Return every decision that holds, by path, withdrawn ones too.

        Raises:
            InputError: the file is damaged.
        """
        return {
            row["path"]: Decided(decision=Decision(row["decision"]), note=row["note"], revision=row["revision"])
            for row in self._rows()
            if self._hashes.get(row["path"]) == row["sha256"]
        }

    def decide(self, path: str, decision: Decision, note: str, *, seen: int) -> Decided:
        """Change the decision on an image and write it to disk.

        Args:
            path: an image of the audit.
            seen: the revision that the change starts from, 0 for an image without a decision.

        Returns:
            The decision as it stands, with its new revision.

        Raises:
            Stale: another change came first; nothing is written.
            InputError: the file is damaged, or the audit has no such image.
            WriteError: it cannot be written.
        """
        if path not in self._hashes:
            raise InputError(f"{path}: no image of this audit")
        with self._lock, self._alone():
            current = self.all().get(path, Decided())
            if current.revision != seen:
                raise Stale(current)
            changed = Decided(decision=decision, note=note[:LONGEST_NOTE], revision=seen + 1)
            others = [row for row in self._rows() if row["path"] != path]
            mine = {"path": path, "sha256": self._hashes[path], **vars(changed), "decision": decision.value}
            self._write([*others, mine])
            return changed

    def _rows(self) -> list[dict[str, Any]]:
        try:
            with self._file.open("rb") as file:
                table = pq.read_table(file)
            rows: list[dict[str, Any]] = table.select(SCHEMA.names).cast(SCHEMA).to_pylist()
            return rows
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise InputError(f"{self._file}: cannot be read as decisions; move it away to start anew") from error

    def _write(self, rows: list[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["path"]), schema=SCHEMA)
        try:
            handle, name = tempfile.mkstemp(prefix=".curate-", suffix=".parquet", dir=self._folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    pq.write_table(table, file, compression="zstd")
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).chmod(0o644)
                os.replace(name, self._file)
            finally:
                with suppress(FileNotFoundError):
                    Path(name).unlink()
        except OSError as error:
            raise WriteError(f"{self._file}: the decision cannot be written ({error.strerror or error})") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes out, where the system can."""
        try:
            import fcntl
        except ImportError:  # Windows: one review page an audit
            yield
            return
        with (self._folder / RUN_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
