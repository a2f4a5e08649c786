from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import ipc

from curate.embeddings import store
from curate.embeddings.store import ShardStore, check_writable, content_key
from curate.errors import CouldNotFinish, WriteError

SCHEMA = pa.schema([("key", pa.binary(32)), ("name", pa.string()), ("body", pa.large_binary())])


def store_in(folder: Path) -> ShardStore:
    return ShardStore(folder, SCHEMA, blob="body")


def key(number: int) -> bytes:
    return content_key("row", number)


def put(target: ShardStore, *numbers: int) -> None:
    target.append(
        {
            "key": [key(n) for n in numbers],
            "name": [f"n{n}" for n in numbers],
            "body": [bytes([n]) * 9 for n in numbers],
        }
    )


def written(folder: Path, *numbers: int) -> Path:
    """Return the one shard of a new store with these rows."""
    target = store_in(folder)
    put(target, *numbers)
    target.flush()
    return next(folder.glob("*.arrow"))


def spoil(shard: Path, near: bytes) -> None:
    """Flip the bytes of a shard that hold `near`."""
    content = shard.read_bytes()
    assert near in content
    shard.write_bytes(content.replace(near, bytes(byte ^ 0xFF for byte in near)))


def test_a_row_reads_the_same_before_and_after_it_is_written_and_from_another_store(tmp_path: Path):
    first = store_in(tmp_path / "s")
    put(first, 1, 2)
    before = first.read(key(2)), first.blob(key(2)).to_pybytes()
    first.flush()
    put(first, 3)
    again = store_in(tmp_path / "s")
    assert before == (first.read(key(2)), first.blob(key(2)).to_pybytes()) == (again.read(key(2)), bytes([2]) * 9)
    assert before[0] == {"key": key(2), "name": "n2"}
    assert key(3) in first
    assert key(3) not in again


def test_a_key_is_written_once_and_never_changed(tmp_path: Path):
    target = store_in(tmp_path)
    put(target, 1)
    target.append({"key": [key(1)], "name": ["other"], "body": [b""]})
    target.flush()
    assert target.read(key(1))["name"] == "n1"
    assert store_in(tmp_path).read(key(1))["name"] == "n1"


def test_two_stores_may_write_to_one_folder(tmp_path: Path):
    one, two = store_in(tmp_path), store_in(tmp_path)
    put(one, 1)
    put(two, 2)
    one.flush()
    two.flush()
    assert len(store_in(tmp_path)) == 2


def test_a_damaged_shard_counts_as_absent_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    target = store_in(tmp_path)
    put(target, 1)
    target.flush()
    shard = next(tmp_path.glob("*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-40])
    with caplog.at_level(logging.WARNING):
        assert key(1) not in store_in(tmp_path)
    assert shard.name in caplog.text


def test_whatever_byte_of_a_shard_is_damaged_a_row_is_right_or_absent(tmp_path: Path):
    shard = written(tmp_path, 1, 2)
    content = shard.read_bytes()
    right = {number: {"key": key(number), "name": f"n{number}"} for number in (1, 2)}
    for place in range(0, len(content), 19):
        shard.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        damaged = store_in(tmp_path)
        for number in (1, 2):
            found = damaged.find(key(number), check_blob=True)
            assert found in (None, right[number])
            assert found is None or damaged.blob(key(number)).to_pybytes() == bytes([number]) * 9


@pytest.mark.parametrize("near", [b"n2", bytes([2]) * 9], ids=["column", "blob"])
def test_a_damaged_row_is_written_anew_and_its_neighbours_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, near: bytes
):
    shard = written(tmp_path, 1, 2, 3)
    spoil(shard, near)
    target = store_in(tmp_path)
    assert [target.find(key(n), check_blob=True) is None for n in (1, 2, 3)] == [False, True, False]
    assert caplog.text.count(shard.name) == 1
    assert key(2) not in target
    put(target, 2)
    target.flush()
    for opened in (target, store_in(tmp_path)):
        assert opened.find(key(2), check_blob=True) == {"key": key(2), "name": "n2"}
        assert opened.blob(key(2)).to_pybytes() == bytes([2]) * 9
        assert opened.blob(key(3)).to_pybytes() == bytes([3]) * 9


@pytest.mark.parametrize("harm", [lambda shard: spoil(shard, bytes([1]) * 9), Path.unlink], ids=["damaged", "vanished"])
def test_a_value_that_is_demanded_and_damaged_is_one_sentence_with_file_and_cure(tmp_path: Path, harm):
    shard = written(tmp_path, 1)
    target = store_in(tmp_path)
    harm(shard)
    with pytest.raises(CouldNotFinish, match="scan again") as caught:
        target.blob(key(1))
    assert str(shard) in str(caught.value)


def test_a_row_is_read_without_its_neighbours_and_keys_without_any_row(tmp_path: Path):
    shard = written(tmp_path, 1, 2, 3)
    with pa.OSFile(str(shard)) as file:
        assert ipc.open_file(file).num_record_batches == 3
    spoil(shard, b"n1")
    spoil(shard, bytes([1]) * 9)
    assert len(store_in(tmp_path)) == 3


def test_a_shard_of_another_schema_counts_as_absent(tmp_path: Path):
    written(tmp_path, 1)
    other = pa.schema([*SCHEMA, pa.field("more", pa.int32())])
    assert len(ShardStore(tmp_path, other, blob="body")) == 0


def test_what_a_killed_run_left_is_removed_after_a_day(tmp_path: Path):
    old, young = tmp_path / "old.part", tmp_path / "young.part"
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    store_in(tmp_path)
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.EACCES, "no permission"),
        (errno.EROFS, "no permission"),
        (errno.ENOSPC, "make room"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_why_the_cache_cannot_be_written_is_told_before_and_during_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, cure: str
):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    target = store_in(tmp_path)
    put(target, 1)
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    for write in (target.flush, lambda: check_writable(tmp_path)):
        with pytest.raises(WriteError, match=cure) as caught:
            write()
        assert "--cache" in str(caught.value)
        assert not list(tmp_path.iterdir())


def test_a_check_makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path):
    check_writable(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())


def test_nothing_is_left_behind_where_the_cache_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    target = store_in(tmp_path / "file" / "s")
    put(target, 1)
    with pytest.raises(WriteError, match="--cache"):
        target.flush()


def test_rows_reach_the_disk_by_themselves_once_there_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "SHARD_ROWS", 3)
    target = store_in(tmp_path)
    put(target, 1, 2)
    assert not list(tmp_path.glob("*"))
    put(target, 3)
    assert [p.suffix for p in tmp_path.iterdir()] == [".arrow"]


def test_equal_parts_give_equal_keys_and_their_order_matters():
    assert content_key("a", 1, {"x": 1, "y": 2}) == content_key("a", 1, {"y": 2, "x": 1})
    assert content_key("a", "b") != content_key("b", "a")
