from __future__ import annotations

import os
from pathlib import Path

import pytest

from curate.atomic_files import replace_text, replacing_file, replacing_path, umask


def stop(*_: object) -> None:
    raise RuntimeError("stopped in the middle")


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path, durable: bool):
    target = tmp_path / "a.txt"
    for content in (b"old", b"new and longer"):
        with replacing_file(target, durable=durable) as file:
            file.write(content)
            assert target.exists() == (content != b"old")
        assert target.read_bytes() == content
        assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("before", [b"old", None])
def test_an_error_leaves_the_target_as_it_was(tmp_path: Path, before: bytes | None):
    target = tmp_path / "a.txt"
    if before is not None:
        target.write_bytes(before)
    with pytest.raises(RuntimeError, match="stopped"), replacing_file(target) as file:
        stop(file.write(b"half"))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path):
    with pytest.raises(FileNotFoundError), replacing_file(tmp_path / "none" / "a.txt"):
        stop()
    with pytest.raises(FileNotFoundError), replacing_path(tmp_path / "a.txt"):
        pass  # nothing was written
    assert not list(tmp_path.iterdir())


def test_the_name_that_is_written_to_ends_as_asked_for_and_is_hidden(tmp_path: Path):
    with replacing_path(tmp_path / "a.bin", suffix=".bin") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".bin"
        assert temporary.name.startswith(".curate-")
        temporary.write_bytes(b"x")
    assert (tmp_path / "a.bin").read_bytes() == b"x"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path, mask: int):
    before = os.umask(mask)
    try:
        assert umask() == mask
        replace_text(tmp_path / "a.txt", "ä\n")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()
