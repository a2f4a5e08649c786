from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pytest

from curate.embeddings import store
from curate.embeddings.store import Shelf, content_key
from curate.errors import WriteError

SCHEMA = pa.schema([("key", pa.binary(32)), ("name", pa.string()), ("body", pa.large_binary())])


def shelf(folder: Path) -> Shelf:
    return Shelf(folder, SCHEMA, heavy="body")


def key(number: int) -> bytes:
    return content_key("row", number)


def put(target: Shelf, *numbers: int) -> None:
    target.append(
        {
            "key": [key(n) for n in numbers],
            "name": [f"n{n}" for n in numbers],
            "body": [bytes([n]) * 9 for n in numbers],
        }
    )


def test_a_row_reads_the_same_before_and_after_it_is_written_and_from_another_shelf(tmp_path: Path):
    first = shelf(tmp_path / "s")
    put(first, 1, 2)
    before = first.read(key(2)), first.heavy(key(2)).to_pybytes()
    first.flush()
    put(first, 3)
    again = shelf(tmp_path / "s")
    assert before == (first.read(key(2)), first.heavy(key(2)).to_pybytes()) == (again.read(key(2)), bytes([2]) * 9)
    assert before[0] == {"key": key(2), "name": "n2"}
    assert key(3) in first
    assert key(3) not in again


def test_a_key_is_written_once_and_never_changed(tmp_path: Path):
    target = shelf(tmp_path)
    put(target, 1)
    target.append({"key": [key(1)], "name": ["other"], "body": [b""]})
    target.flush()
    assert target.read(key(1))["name"] == "n1"
    assert shelf(tmp_path).read(key(1))["name"] == "n1"


def test_two_shelves_may_write_to_one_folder(tmp_path: Path):
    one, two = shelf(tmp_path), shelf(tmp_path)
    put(one, 1)
    put(two, 2)
    one.flush()
    two.flush()
    assert len(shelf(tmp_path)) == 2


def test_a_damaged_shard_counts_as_absent_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    target = shelf(tmp_path)
    put(target, 1)
    target.flush()
    shard = next(tmp_path.glob("*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-40])
    with caplog.at_level(logging.WARNING):
        assert key(1) not in shelf(tmp_path)
    assert shard.name in caplog.text


def test_nothing_is_left_behind_where_the_cache_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    target = shelf(tmp_path / "file" / "s")
    put(target, 1)
    with pytest.raises(WriteError, match="--cache"):
        target.flush()


def test_rows_reach_the_disk_by_themselves_once_there_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "SHARD_ROWS", 3)
    target = shelf(tmp_path)
    put(target, 1, 2)
    assert not list(tmp_path.glob("*"))
    put(target, 3)
    assert [p.suffix for p in tmp_path.iterdir()] == [".arrow"]


def test_equal_parts_give_equal_keys_and_their_order_matters():
    assert content_key("a", 1, {"x": 1, "y": 2}) == content_key("a", 1, {"y": 2, "x": 1})
    assert content_key("a", "b") != content_key("b", "a")
