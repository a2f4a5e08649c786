"""Files that a check writes are there whole or stay as they were: on a full disk, over a link, into a pipe."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from tests.cli.test_main import curate
from tests.rules.audits import flagged, save_audit

REASON = '[[accepted]]\nrule = "LBL101"\ncontent = "x"\nreason = "by hand"\nowner = "ann"\nexpires = "2999-01-01"\n'
NO_ROOM = 100
"""Bytes that a file may have in a process for which the disk is full."""


def full_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (NO_ROOM, NO_ROOM))


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return save_audit(tmp_path / "audit", str(tmp_path / "parts"), images=flagged(3))


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("check", "audit", "-o", "report.json", "--format", "json"), "report.json"),
        (("check", "audit", "--baseline", "known.toml", "--update-baseline"), "known.toml"),
        (("init", "audit", "-o", ".", "--force"), "curate-rules.toml"),
    ],
)
def test_a_full_disk_leaves_the_file_as_it_was(audit: Path, tmp_path: Path, words: tuple[str, ...], file: str):
    before = REASON * 3
    (tmp_path / file).write_text(before)
    done = curate(*words, cwd=tmp_path, env={"PYTHONDONTWRITEBYTECODE": "1"}, preexec_fn=full_disk)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert ".part" not in done.stderr
    assert (tmp_path / file).read_text() == before
    assert not list(tmp_path.glob(".curate-*"))


def test_a_report_over_a_link_replaces_what_the_link_leads_to_and_keeps_its_mode(audit: Path, tmp_path: Path):
    (tmp_path / "there.json").write_text("old")
    (tmp_path / "there.json").chmod(0o640)
    (tmp_path / "here.json").symlink_to("there.json")
    curate("check", "audit", "-o", "here.json", "--format", "json", cwd=tmp_path)
    assert (tmp_path / "here.json").is_symlink()
    assert "summary" in (tmp_path / "there.json").read_text()
    assert stat.S_IMODE((tmp_path / "there.json").stat().st_mode) == 0o640


def test_a_report_into_a_device_or_pipe_is_written_there(audit: Path, tmp_path: Path):
    done = curate("check", "audit", "-o", "/dev/stdout", "--format", "jsonl", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert '"type": "summary"' in done.stdout
    assert Path("/dev/stdout").exists()
