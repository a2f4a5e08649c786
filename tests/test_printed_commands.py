"""Every command that the tool prints, or that the report offers to copy, runs as printed."""

from __future__ import annotations

import contextlib
import html
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.findings import with_audit
from tests.cli.test_main import QUICK
from tests.plates import ROOT, draw_plates

PLACEHOLDER = re.compile(r"\b(?:AUDIT|CODE|DATASET|IMAGE|FILE|DIR)\b")
"""Words of a command that the reader replaces."""


def printed_commands(text: str) -> set[str]:
    """The commands in a text: between backticks, or after a colon at the end of a line."""
    quoted = re.findall(r"`(curate [^`\n]+)`", text)
    at_end = re.findall(r": (curate .+)$", text, re.MULTILINE)
    return {command for command in (*quoted, *at_end) if not PLACEHOLDER.search(command)}


def offered_commands(page: Path) -> set[str]:
    """The commands that a report offers to copy."""
    return set(map(html.unescape, re.findall(r'data-copy="([^"]*)"', page.read_text(encoding="utf-8"))))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A folder with an audit, and every command that was printed on the way to a clean set."""
    folder = tmp_path_factory.mktemp("a home")
    parts = draw_plates(folder / "new parts", 24, holes=(3, 11))
    (parts / "copy.png").write_bytes((parts / "05.png").read_bytes())
    (parts / "cut.png").write_bytes((parts / "00.png").read_bytes()[:200])
    audit, said = "new parts-audit", list[str]()
    for words in (
        ("scan", "new parts"),
        ("check", audit),
        ("check", audit, "--rules", "strict"),
        ("check", "new parts", "--rules", "smoke"),
        ("explain", audit, "03"),
        ("init", audit),
        ("report", audit),
        ("prune", audit, "-o", "clean set"),
        ("prune", audit, "-o", "clean copy", "--apply", "copy"),
        ("rule",),
    ):
        said.append(call(words, folder))
    commands = {command for text in said for command in printed_commands(text)}
    return folder, commands | offered_commands(folder / audit / "report.html")


def call(words: Sequence[str], folder: Path) -> str:
    """Run a command in a folder; return what it prints."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, list(words), env=QUICK)
    assert done.exit_code in (0, 1), f"{words}: {done.output} {done.exception}"
    assert done.exception is None or isinstance(done.exception, SystemExit), f"{words}: {done.exception}"
    return done.output


def serve(words: Sequence[str], folder: Path) -> None:
    """Start a server in a folder, and end it once it says where it is."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "curate", *words], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("Review: http")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


def test_every_printed_command_runs_as_printed(home: tuple[Path, set[str]]):
    folder, commands = home
    verbs = {shlex.split(command)[1] for command in commands}
    assert {"check", "prune", "restore", "review", "rule"} <= verbs, sorted(commands)
    for command in sorted(commands, key=lambda one: (shlex.split(one)[1] == "restore", one)):
        program, *words = shlex.split(command)
        assert program == "curate"
        (serve if words[0] == "review" else call)(words, folder)


def test_commands_of_a_text_name_the_audit_where_there_is_one():
    text = "Look (`curate report AUDIT`); AUDIT is a word."
    assert with_audit(text, "") == text
    assert with_audit(text, "my audit") == "Look (`curate report 'my audit'`); AUDIT is a word."


def test_placeholders_are_no_commands_and_quoted_ones_are():
    assert printed_commands("`curate rule CODE` or `curate rule LBL101`.\nUndo: curate restore 'a b'") == {
        "curate rule LBL101",
        "curate restore 'a b'",
    }
