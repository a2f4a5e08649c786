from __future__ import annotations

import os
from pathlib import Path

import pytest

from curate.audit.folder import check_output, foreign, map_name, replacing
from curate.errors import UsageError, WriteError


def make_audit(folder: Path) -> Path:
    (folder / "maps").mkdir(parents=True)
    for name in ("run.json", "images.parquet", "findings.parquet", "duplicates.parquet", "flagged.png", map_name(7)):
        (folder / name).write_text("old")
    return folder


def everything(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() if f.is_file() else "" for f in sorted(folder.rglob("*"))}


def test_an_audit_alone_is_replaced_as_a_whole(tmp_path: Path):
    audit = make_audit(tmp_path / "audit")
    assert foreign(audit) == ""
    check_output(audit, {}, force=True)
    with replacing(audit) as folder:
        (folder / "new").write_text("new")
    assert everything(tmp_path) == {"audit": "", "audit/new": "new"}


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "clean/a.png", "maps/holiday.png", "maps/0000001.png/a.png", "findings.parquet.bak", ".hidden"],
)
def test_an_audit_with_anything_else_in_it_is_never_replaced(tmp_path: Path, name: str):
    audit = make_audit(tmp_path / "audit")
    (audit / name).parent.mkdir(exist_ok=True)
    (audit / name).write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(UsageError, match="is not part of the audit and would be lost"):
        check_output(audit, {}, force=True)
    with pytest.raises(UsageError, match="is not part of the audit and would be lost"), replacing(audit):
        pass  # it came while the scan ran
    assert everything(tmp_path) == before


@pytest.mark.parametrize("what", ["the dataset", "the cache"])
def test_an_output_that_holds_what_is_read_is_refused_also_through_a_link(tmp_path: Path, what: str):
    audit = make_audit(tmp_path / "audit")
    (tmp_path / "door").symlink_to(audit / "maps")
    for source in (audit / "maps", audit / "images.parquet", tmp_path / "door"):
        with pytest.raises(UsageError, match=f"{what} .* lies inside and would be replaced"):
            check_output(audit, {what: source}, force=True)


@pytest.mark.parametrize("output", [".", "../here", ""])
def test_the_working_folder_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match="working folder"):
        check_output(Path(output), {}, force=False)


def test_a_check_leaves_nothing_behind_and_so_does_a_block_that_fails(tmp_path: Path):
    output = tmp_path / "p" / "q" / "audit"
    check_output(output, {}, force=False)
    assert everything(tmp_path) == {}
    with pytest.raises(ZeroDivisionError), replacing(output):
        raise ZeroDivisionError
    assert everything(tmp_path) == {}
    with replacing(output) as folder:
        (folder / "new").write_text("new")
    assert everything(output) == {"new": "new"}


def test_a_name_that_is_too_long_is_refused_at_once(tmp_path: Path):
    with pytest.raises(UsageError, match="choose another folder"):
        check_output(tmp_path / ("x" * 300), {}, force=False)


def test_a_parent_that_is_a_file_is_refused_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises((UsageError, WriteError), match="choose another folder"):
        check_output(tmp_path / "file" / "audit", {}, force=False)


def test_links_in_a_circle_are_refused_at_once(tmp_path: Path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for output in (tmp_path / "circle", tmp_path / "circle" / "audit"):
        with pytest.raises((UsageError, WriteError), match="choose another"):
            check_output(output, {"the dataset": tmp_path / "circle" / "set"}, force=False)


@pytest.mark.parametrize("stopped_at", [1, 2])
def test_ctrl_c_between_the_two_renames_leaves_the_old_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
):
    audit = make_audit(tmp_path / "audit")
    before, rename, calls = everything(tmp_path), os.rename, [0]

    def stop(source: Path, target: Path) -> None:
        calls[0] += 1
        if calls[0] == stopped_at:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr("os.rename", stop)
    with pytest.raises(KeyboardInterrupt), replacing(audit) as folder:
        (folder / "new").write_text("new")
    assert everything(tmp_path) == before
