"""The content-addressed cache: what was computed once for a file or an image is never computed again.

A `ShardStore` is an append-only folder of Arrow files. Each row has a 32-byte key, the sha256 of all that the row
depends on, and a checksum. A damaged row counts as absent and is written anew; of two rows with one key, that of the
later file counts. A shard is written under a temporary name and renamed, so a killed run leaves whole shards or none,
and two scans may write to one store at the same time.

Each row is a record batch of its own, so that one row is read without its neighbours; the keys of a shard lie together
in its footer. Rows stay on disk. The index of the keys is in memory, about 200 bytes a row.
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
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import ipc

from curate.atomic_files import PART_SUFFIX, replacing_file
from curate.errors import CouldNotFinish, WriteError

KEY_BYTES = 32
SHARD_BYTES = 64 << 20
OPEN_FILES = 4
"""Shards that a thread keeps open."""

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


class ShardStore:
    """One append-only table on disk, addressed by key. Safe to use from several threads.

    Args:
        folder: where the shards lie; made when first written to.
        schema: of the rows; its first column is `key`, binary of 32 bytes.
        blob: name of the one large binary column, "" for none: `find` and `read` leave it on disk, `blob` reads it.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, blob: str = "") -> None:
        self.folder, self._blob_column = folder, blob
        self._schema = schema.append(pa.field("crc", pa.uint64()))
        self._columns = [name for name in schema.names if name != blob]
        self._addresses: dict[bytes, int] = {}  # shard << 32 | row in it
        self._shards: list[Path] = []
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._reported: set[Path] = set()
        self._lock = threading.RLock()
        _remove_old_parts(folder)
        for path in sorted(folder.glob("*.arrow")):
            self._register(path)

    def __contains__(self, key: bytes) -> bool:
        return key in self._addresses

    def __len__(self) -> int:
        return len(self._addresses)

    def append(self, rows: Mapping[str, Sequence[Any]]) -> None:
        """Add the rows whose keys are new, one list a column. Full shards are written at once, the rest by `flush`.

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
                # the time comes first, so that a row written anew sorts after its damaged predecessor
                path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.arrow"
                self._write(path)
                self._shards.append(path)
                self._pending, self._pending_bytes = [], 0

    def find(self, key: bytes, *, check_blob: bool = False) -> dict[str, Any] | None:
        """Return the row of `key` without its blob; None if it is not there.

        A row that is damaged or has vanished is forgotten: from then on it counts as absent and can be added again.

        Args:
            check_blob: check the blob too.
        """
        address = self._addresses.get(key)
        if address is None:
            return None
        try:
            return self._load(key, address, check_blob=check_blob)[0]
        except DAMAGE as error:
            self._forget(key, address, error)
            return None

    def read(self, key: bytes) -> dict[str, Any]:
        """Return the row of `key` without its blob.

        Raises:
            KeyError: it is not there.
            CouldNotFinish: the row is damaged, or its file has vanished.
        """
        return self._demand(key, check_blob=False)[0]

    def blob(self, key: bytes) -> pa.Buffer:
        """Return the blob of `key` without copying it. Raises as `read` does."""
        return self._demand(key, check_blob=True)[1]

    def forget(self, key: bytes) -> None:
        """Let the row of `key` be added anew."""
        self._addresses.pop(key, None)

    def _add(self, row: pa.RecordBatch) -> None:
        values, blob = _values(row, self._columns), _blob_of(row, self._blob_column)
        if values["key"] in self._addresses:
            return
        crc = pa.array([_crc(values) | zlib.crc32(blob) << 32], pa.uint64())
        row = row.set_column(row.num_columns - 1, "crc", crc)
        self._addresses[values["key"]] = len(self._shards) << 32 | len(self._pending)
        self._pending.append(row)
        self._pending_bytes += row.nbytes

    def _demand(self, key: bytes, *, check_blob: bool) -> tuple[dict[str, Any], pa.Buffer]:
        address = self._addresses[key]
        try:
            return self._load(key, address, check_blob=check_blob)
        except DAMAGE as error:
            raise CouldNotFinish(
                f"{self._shards[address >> 32]}: this cache file was damaged or removed during the scan "
                f"({_reason(error)}); scan again, and its images are embedded anew"
            ) from error

    def _load(self, key: bytes, address: int, *, check_blob: bool) -> tuple[dict[str, Any], pa.Buffer]:
        """Return the values at an address and, if `check_blob`, the blob. Raises one of `DAMAGE`."""
        shard, number = address >> 32, address & 0xFFFFFFFF
        with self._lock:
            pending = self._pending[number] if shard == len(self._shards) else None
        columns = [] if check_blob else [*self._columns, "crc"]
        row = (
            _read_row(self._shards[shard], number, columns=columns, schema=self._schema) if pending is None else pending
        )
        values, blob = _values(row, self._columns), _blob_of(row, self._blob_column if check_blob else "")
        crc = row.column("crc")[0].as_py()
        if values["key"] != key or crc & 0xFFFFFFFF != _crc(values) or (check_blob and crc >> 32 != zlib.crc32(blob)):
            raise ValueError("its checksum is wrong")
        return values, blob

    def _forget(self, key: bytes, address: int, error: Exception) -> None:
        path = self._shards[address >> 32]
        with self._lock:
            if self._addresses.get(key) == address:  # else another thread forgot it, and it may be written anew
                del self._addresses[key]
            if path in self._reported:
                return
            self._reported.add(path)
        log.warning("%s: the cache file is damaged (%s); what cannot be read is embedded again", path, _reason(error))

    def _write(self, path: Path) -> None:
        keys = b"".join(row.column("key")[0].as_py() for row in self._pending)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing_file(path) as file:
                _write_rows(file, self._schema.with_metadata({"keys": keys.hex()}), self._pending)
        except OSError as error:
            raise _write_error(self.folder, error) from error

    def _register(self, path: Path) -> None:
        """Index a shard that an earlier run wrote; one that cannot be read counts as absent."""
        try:
            keys = _read_keys(path, self._schema)
        except DAMAGE as error:
            log.warning("%s: not a readable cache file (%s), ignored; delete it", path, _reason(error))
            return
        for row in range(len(keys) // KEY_BYTES):
            self._addresses[keys[row * KEY_BYTES : (row + 1) * KEY_BYTES]] = len(self._shards) << 32 | row
        self._shards.append(path)


def _values(row: pa.RecordBatch, names: Sequence[str]) -> dict[str, Any]:
    return {name: row.column(name)[0].as_py() for name in names}


def _blob_of(row: pa.RecordBatch, name: str) -> pa.Buffer:
    """Return the one value of a binary column without copying it; no bytes for no column."""
    blob = row.column(name)[0].as_buffer() if name else pa.py_buffer(b"")
    if blob is None:
        raise ValueError("a value is missing")
    return blob


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


def _read_row(path: Path, number: int, *, columns: list[str], schema: pa.Schema) -> pa.RecordBatch:
    """Return a row of a shard: some columns of it, or all for an empty list. Raises one of `DAMAGE`.

    Each thread keeps its last files open while they stay the same, since successive reads mostly fall into one shard.
    """
    status = path.stat()
    identity = (path, status.st_ino, status.st_mtime_ns, *columns)
    if identity not in _open.readers:
        fields = [schema.get_field_index(name) for name in columns]
        options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        if len(_open.readers) >= OPEN_FILES:
            _open.readers.clear()
        _open.readers[identity] = ipc.open_file(pa.OSFile(str(path)), options=options)
    row = _open.readers[identity].get_batch(number)
    if row.num_rows != 1:
        raise ValueError("a record batch does not hold one row")
    row.validate(full=True)  # Arrow trusts the offsets in a file: wrong ones would read foreign memory
    return row


def _read_keys(path: Path, schema: pa.Schema) -> bytes:
    with pa.OSFile(str(path)) as file:
        reader = ipc.open_file(file)
        keys = bytes.fromhex((reader.schema.metadata or {}).get(b"keys", b"").decode())
        if reader.schema != schema or len(keys) != reader.num_record_batches * KEY_BYTES:
            raise ValueError("its footer is damaged")
    return keys


def _write_rows(file: BinaryIO, schema: pa.Schema, rows: Sequence[pa.RecordBatch]) -> None:
    with ipc.new_file(file, schema) as writer:
        for row in rows:
            writer.write_batch(row)


def check_writable(folder: Path) -> None:
    """Make the cache's folder and write a little to it, so that a scan fails before its work and not after.

    Raises:
        WriteError: the folder cannot be made or written to, or the disk is full.
    """
    probe = folder / f"{uuid.uuid4().hex}{PART_SUFFIX}"
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
    return WriteError(f"{folder}: the cache cannot be written ({_reason(error)}); choose another folder with --cache")


def _reason(error: Exception) -> str:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return " ".join(reason.split())[:160]


def _remove_old_parts(folder: Path) -> None:
    """Remove the temporary files of killed runs; a young one may belong to a scan that is running."""
    for part in folder.glob(f"*{PART_SUFFIX}"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > PART_LIVES_S:
                part.unlink()
