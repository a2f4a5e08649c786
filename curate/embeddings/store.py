"""The content-addressed cache: what was computed once for a file or an image is never computed again.

A `Shelf` is an append-only folder of Arrow files. Each row has a 32-byte key, the sha256 of all that the
row depends on; a key is written once and never changed. A shard is written beside its place and renamed,
so a killed run leaves whole shards or none, and two scans may write to one shelf at the same time.
Rows are read a record batch at a time, never mapped, so memory does not grow with the shelf.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from curate.errors import WriteError

KEY_BYTES = 32
SHARD_BYTES = 64 << 20
SHARD_ROWS = 2_000

Place = tuple[int, int, int]
"""Shard, record batch in it, row in that."""

log = logging.getLogger(__name__)


def content_key(*parts: object) -> bytes:
    """Return the sha256 of JSON-able parts: equal parts, equal key."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).digest()


class Shelf:
    """One append-only table on disk, addressed by key. Safe to use from several threads.

    Args:
        folder: where the shards lie; made when first written to.
        schema: of the rows; its first column is `key`, binary of 32 bytes.
        heavy: the last column's name where it is large: `read` leaves it on disk, `heavy` fetches it.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, heavy: str = "") -> None:
        self.folder, self.schema, self.heavy_column = folder, schema, heavy
        self._light = [i for i, name in enumerate(schema.names) if name != heavy]
        self._places: dict[bytes, Place] = {}
        self._shards: list[Path] = []
        self._pending: list[pa.RecordBatch] = []
        self._lock = threading.RLock()
        self._read_light = _BatchReader(self._light)
        self._read_whole = _BatchReader(list(range(len(schema.names))))
        for path in sorted(folder.glob("*.arrow")):
            self._register(path)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def append(self, rows: Mapping[str, Sequence[Any]]) -> None:
        """Add rows, one list a column; they are on disk after `flush`, which comes by itself now and then."""
        batch = pa.RecordBatch.from_pydict(dict(rows), schema=self.schema)
        with self._lock:
            for row, key in enumerate(batch.column(0).to_pylist()):
                self._places.setdefault(key, (len(self._shards), len(self._pending), row))
            self._pending.append(batch)
            full = sum(b.nbytes for b in self._pending) >= SHARD_BYTES
            if full or sum(len(b) for b in self._pending) >= SHARD_ROWS:
                self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard.

        Raises:
            WriteError: the folder cannot be written to, or the disk is full.
        """
        with self._lock:
            if self._pending:
                path = self.folder / f"{uuid.uuid4().hex}.arrow"
                self._write(path)
                self._shards.append(path)
                self._pending = []

    def read(self, key: bytes) -> dict[str, Any]:
        """Return the row of `key`, but for its heavy column. Raises KeyError if it is not there."""
        with self._lock:
            batch, row = self._locate(key, self._read_light)
            return {self.schema.names[i]: batch.column(self.schema.names[i])[row].as_py() for i in self._light}

    def heavy(self, key: bytes) -> pa.Buffer:
        """Return the heavy value of `key` without copying it. Raises KeyError if it is not there."""
        with self._lock:
            batch, row = self._locate(key, self._read_whole)
            return batch.column(self.heavy_column)[row].as_buffer()

    def _locate(self, key: bytes, reader: _BatchReader) -> tuple[pa.RecordBatch, int]:
        shard, number, row = self._places[key]
        if shard == len(self._shards):
            return self._pending[number], row
        return reader.batch(self._shards[shard], number), row

    def _write(self, path: Path) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, self.schema, self._pending)
        except OSError as error:
            raise WriteError(
                f"{self.folder}: the cache cannot be written ({error.strerror or error}); "
                "make room, or choose another folder with --cache"
            ) from error

    def _register(self, path: Path) -> None:
        """Take in a shard that an earlier run wrote; one that cannot be read counts as absent."""
        try:
            keys = _keys(path)
        except (OSError, pa.ArrowInvalid) as error:
            log.warning("%s: not a readable cache file (%s); its images are embedded again", path, error)
            return
        for number, column in enumerate(keys):
            for row, key in enumerate(column):
                self._places.setdefault(key, (len(self._shards), number, row))
        self._shards.append(path)


class _BatchReader:
    """Reads record batches of shards, some columns of them, and remembers the last one."""

    def __init__(self, columns: list[int]) -> None:
        self._options = ipc.IpcReadOptions(included_fields=columns)
        self._open: tuple[Path, ipc.RecordBatchFileReader] | None = None
        self._last: tuple[tuple[Path, int], pa.RecordBatch] | None = None

    def batch(self, path: Path, number: int) -> pa.RecordBatch:
        if self._last is None or self._last[0] != (path, number):
            self._last = ((path, number), self._reader(path).get_batch(number))
        return self._last[1]

    def _reader(self, path: Path) -> ipc.RecordBatchFileReader:
        if self._open is None or self._open[0] != path:
            self._open = (path, ipc.open_file(pa.OSFile(str(path)), options=self._options))
        return self._open[1]


def _keys(path: Path) -> list[list[bytes]]:
    options = ipc.IpcReadOptions(included_fields=[0])
    with pa.OSFile(str(path)) as file:
        reader = ipc.open_file(file, options=options)
        return [reader.get_batch(i).column(0).to_pylist() for i in range(reader.num_record_batches)]


def write_whole(path: Path, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
    """Write an Arrow file beside its place and rename it, so that it is there whole or not at all."""
    beside = path.with_suffix(".part")
    try:
        with pa.OSFile(str(beside), "wb") as file, ipc.new_file(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
