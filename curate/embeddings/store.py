"""The content-addressed cache: what was computed once for a file or an image is never computed again.

A `Shelf` is an append-only folder of Arrow files. Each row has a 32-byte key, the sha256 of all that the
row depends on, and a checksum: a damaged row counts as absent and is written anew, and of two rows with one
key the later file's counts. A shard is written beside its place and renamed, so a killed run leaves whole
shards or none, and two scans may write to one shelf at the same time.

Each row is a record batch of its own, so that one row is read without its neighbours, and the keys of a shard
lie together in its footer. Rows stay on disk; the index of the keys is in memory, about 200 bytes a row.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import threading
import time
import uuid
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from curate.errors import CouldNotFinish, WriteError

KEY_BYTES = 32
SHARD_BYTES = 64 << 20
OPEN_FILES = 4
"""Files that a thread keeps open."""

SHARD_ROWS = 2_000
PROBE_BYTES = 64 << 10
PART_LIVES_S = 24 * 3600
DAMAGE = (pa.ArrowException, OSError, ValueError)
"""What reading a damaged or vanished file raises."""
NO_PERMISSION = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))

log = logging.getLogger(__name__)


def content_key(*parts: object) -> bytes:
    """Return the sha256 of JSON-able parts: equal parts, equal key."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).digest()


class Shelf:
    """One append-only table on disk, addressed by key. Safe to use from several threads.

    Args:
        folder: where the shards lie; made when first written to.
        schema: of the rows; its first column is `key`, binary of 32 bytes.
        heavy: the binary column's name that is large: `find` and `read` leave it on disk, `heavy` fetches it.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, heavy: str = "") -> None:
        self.folder, self._heavy = folder, heavy
        self._schema = schema.append(pa.field("crc", pa.uint64()))
        self._light = [name for name in schema.names if name != heavy]
        self._places: dict[bytes, int] = {}  # shard << 32 | row in it
        self._shards: list[Path] = []
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._reported: set[Path] = set()
        self._lock = threading.RLock()
        _remove_old_parts(folder)
        for path in sorted(folder.glob("*.arrow")):
            self._register(path)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def append(self, rows: Mapping[str, Sequence[Any]]) -> None:
        """Add the rows whose keys are new, one list a column; they reach the disk by themselves now and then.

        Raises:
            WriteError: see `flush`.
        """
        count = len(rows["key"])
        batch = pa.RecordBatch.from_pydict({**rows, "crc": [0] * count}, schema=self._schema)
        with self._lock:
            for index in range(count):
                self._add(batch.slice(index, 1))
            if self._pending_bytes >= SHARD_BYTES or len(self._pending) >= SHARD_ROWS:
                self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard.

        Raises:
            WriteError: the folder cannot be written to, or the disk is full.
        """
        with self._lock:
            if self._pending:
                # the time comes first, so that a row written anew stands behind its damaged predecessor
                path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.arrow"
                self._write(path)
                self._shards.append(path)
                self._pending, self._pending_bytes = [], 0

    def find(self, key: bytes, *, whole: bool = False) -> dict[str, Any] | None:
        """Return the row of `key`, but for its heavy column; None if it is not there.

        A row that is damaged or has vanished is forgotten: from then on it is not there and can be added again.

        Args:
            whole: check the heavy column too.
        """
        place = self._places.get(key)
        if place is None:
            return None
        try:
            return self._load(key, place, whole=whole)[0]
        except DAMAGE as error:
            self._forget(key, place, error)
            return None

    def read(self, key: bytes) -> dict[str, Any]:
        """Return the row of `key`, but for its heavy column.

        Raises:
            KeyError: it is not there.
            CouldNotFinish: the row is damaged, or its file has vanished.
        """
        return self._demand(key, whole=False)[0]

    def heavy(self, key: bytes) -> pa.Buffer:
        """Return the heavy value of `key` without copying it. Raises as `read` does."""
        return self._demand(key, whole=True)[1]

    def forget(self, key: bytes) -> None:
        """Let the row of `key` be added anew."""
        self._places.pop(key, None)

    def _add(self, row: pa.RecordBatch) -> None:
        values, heavy = _values(row, self._light), _body(row, self._heavy)
        if values["key"] in self._places:
            return
        crc = pa.array([_crc(values) | zlib.crc32(heavy) << 32], pa.uint64())
        row = row.set_column(row.num_columns - 1, "crc", crc)
        self._places[values["key"]] = len(self._shards) << 32 | len(self._pending)
        self._pending.append(row)
        self._pending_bytes += row.nbytes

    def _demand(self, key: bytes, *, whole: bool) -> tuple[dict[str, Any], pa.Buffer]:
        place = self._places[key]
        try:
            return self._load(key, place, whole=whole)
        except DAMAGE as error:
            raise CouldNotFinish(
                f"{self._shards[place >> 32]}: this file of the cache was damaged or removed during the scan "
                f"({_told(error)}); scan again, and what it held is embedded anew"
            ) from error

    def _load(self, key: bytes, place: int, *, whole: bool) -> tuple[dict[str, Any], pa.Buffer]:
        """Return the values and, if `whole`, the heavy value at a place. Raises one of `DAMAGE`."""
        shard, number = place >> 32, place & 0xFFFFFFFF
        with self._lock:
            pending = self._pending[number] if shard == len(self._shards) else None
        columns = [] if whole else [*self._light, "crc"]
        row = _read_row(self._shards[shard], number, columns, self._schema) if pending is None else pending
        values, heavy = _values(row, self._light), _body(row, self._heavy if whole else "")
        crc = row.column("crc")[0].as_py()
        if values["key"] != key or crc & 0xFFFFFFFF != _crc(values) or (whole and crc >> 32 != zlib.crc32(heavy)):
            raise ValueError("its checksum is wrong")
        return values, heavy

    def _forget(self, key: bytes, place: int, error: Exception) -> None:
        path = self._shards[place >> 32]
        with self._lock:
            if self._places.get(key) == place:  # else another thread has forgotten it, and it may be written anew
                del self._places[key]
            if path in self._reported:
                return
            self._reported.add(path)
        log.warning("%s: a damaged cache file (%s): what cannot be read is embedded again", path, _told(error))

    def _write(self, path: Path) -> None:
        keys = b"".join(row.column("key")[0].as_py() for row in self._pending)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, self._schema.with_metadata({"keys": keys.hex()}), self._pending)
        except OSError as error:
            raise _write_error(self.folder, error) from error

    def _register(self, path: Path) -> None:
        """Take in a shard that an earlier run wrote; one that cannot be read counts as absent."""
        try:
            keys = _read_keys(path, self._schema)
        except DAMAGE as error:
            log.warning("%s: not a readable cache file (%s), passed over; delete it", path, _told(error))
            return
        for row in range(len(keys) // KEY_BYTES):
            self._places[keys[row * KEY_BYTES : (row + 1) * KEY_BYTES]] = len(self._shards) << 32 | row
        self._shards.append(path)


def _values(row: pa.RecordBatch, names: Sequence[str]) -> dict[str, Any]:
    return {name: row.column(name)[0].as_py() for name in names}


def _body(row: pa.RecordBatch, name: str) -> pa.Buffer:
    """Return the bytes of the one value in a column without copying them; nothing for no column."""
    body = row.column(name)[0].as_buffer() if name else pa.py_buffer(b"")
    if body is None:
        raise ValueError("a value is missing")
    return body


def _crc(values: Mapping[str, Any]) -> int:
    crc = 0
    for value in values.values():
        crc = zlib.crc32(value if isinstance(value, bytes) else repr(value).encode(), crc)
    return crc


class _OpenFiles(threading.local):
    """The files that a thread reads from, by path, identity and columns."""

    def __init__(self) -> None:
        self.readers: dict[tuple[Any, ...], ipc.RecordBatchFileReader] = {}


_open = _OpenFiles()


def _read_row(path: Path, number: int, columns: list[str], schema: pa.Schema) -> pa.RecordBatch:
    """Return a row of a shard, some columns of it or, for an empty list, all. Raises one of `DAMAGE`.

    Each thread keeps its last files open, as long as they are still the same: reads mostly follow each other in them.
    """
    status = path.stat()
    wanted = (path, status.st_ino, status.st_mtime_ns, *columns)
    if wanted not in _open.readers:
        fields = [schema.get_field_index(name) for name in columns]
        options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        if len(_open.readers) >= OPEN_FILES:
            _open.readers.clear()
        _open.readers[wanted] = ipc.open_file(pa.OSFile(str(path)), options=options)
    row = _open.readers[wanted].get_batch(number)
    if row.num_rows != 1:
        raise ValueError("a record batch has not one row")
    row.validate(full=True)  # Arrow trusts the offsets in a file: wrong ones would read foreign memory
    return row


def _read_keys(path: Path, schema: pa.Schema) -> bytes:
    with pa.OSFile(str(path)) as file:
        reader = ipc.open_file(file)
        keys = bytes.fromhex((reader.schema.metadata or {}).get(b"keys", b"").decode())
        if reader.schema != schema or len(keys) != reader.num_record_batches * KEY_BYTES:
            raise ValueError("its footer is damaged")
    return keys


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


def check_writable(folder: Path) -> None:
    """Make the cache's folder and write a little to it, so that a scan fails before its work, not after.

    Raises:
        WriteError: the folder cannot be made or written to, or the disk is full.
    """
    probe = folder / f"{uuid.uuid4().hex}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise _write_error(folder, error) from error


def _write_error(folder: Path, error: OSError) -> WriteError:
    if error.errno in NO_PERMISSION:
        return WriteError(f"{folder}: no permission to write the cache there; choose another folder with --cache")
    if error.errno in NO_ROOM:
        return WriteError(
            f"{folder}: the disk is full, the cache cannot be written; make room, or choose another folder with --cache"
        )
    return WriteError(f"{folder}: the cache cannot be written ({_told(error)}); choose another folder with --cache")


def _told(error: Exception) -> str:
    told = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return " ".join(told.split())[:160]


def _remove_old_parts(folder: Path) -> None:
    """Remove what killed runs left half-written; a young file may be another scan's that is at work."""
    for part in folder.glob("*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > PART_LIVES_S:
                part.unlink()
