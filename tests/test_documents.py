"""README, the catalogue and the pins say what the code does; the pages of docs/ are tested in tests/docs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from curate.cli import app
from curate.errors import UsageError
from curate.findings import Code, catalogue, explain
from tests.plates import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_names_every_command():
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    names += [group.name for group in app.registered_groups]
    for name in names:
        assert f"curate {name}" in README


def test_readme_is_a_page():
    assert len(README.splitlines()) <= 150


def test_the_codes_are_those_of_the_catalogue_and_are_written_out_nowhere_else():
    assert set(Code) == set(catalogue())
    sources = {file: file.read_text(encoding="utf-8") for file in (ROOT / "curate").rglob("*.py")}
    del sources[ROOT / "curate" / "findings.py"]
    written_out = r'"((?:IMG|DUP|LEAK|LBL|OOD|SET)\d{3})"'
    assert {file.name for file, text in sources.items() if re.search(written_out, text)} == set()
    assert {code for code in Code if not any(f"Code.{code.name}" in text for text in sources.values())} == set()


def test_every_finding_says_why_it_matters_and_what_to_do():
    for text in catalogue().values():
        assert text.severity in ("error", "warning", "note")
        assert text.title
        assert text.why.endswith(".")
        assert text.cure.endswith(".")


def test_an_unknown_code_is_answered_with_those_there_are():
    with pytest.raises(UsageError, match="IMG999: no such finding code; the codes are IMG001"):
        explain("IMG999")


def test_constraints_pin_what_the_project_needs_and_name_no_address():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in pins
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cpu"], *extras["docs"], *extras["dev"]]
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins.splitlines()}
    assert {re.split(r"[><=\[]", name)[0].lower().replace("_", "-") for name in wanted} <= pinned


STRANGER = re.compile(r"(?<![\w-])curate\\?\[|pip install (?:-\S+ )*['\"]?curate(?![\w-])")
"""Another project's distribution is called curate; ours is curate-vision."""
TEXT_SUFFIXES = frozenset((".py", ".md", ".toml", ".yml", ".yaml", ".html", ".js", ".txt"))


def test_nothing_tells_to_install_the_distribution_of_another_project():
    folders = [ROOT / name for name in ("curate", "docs", "examples", "rules", "tests")]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in TEXT_SUFFIXES]
    files += [file for file in ROOT.iterdir() if file.suffix in TEXT_SUFFIXES or file.name == "Makefile"]
    assert len(files) > 300
    strange = [f for f in files if f != Path(__file__) and STRANGER.search(f.read_text(encoding="utf-8"))]
    assert strange == []


def test_the_distribution_has_a_name_of_its_own_and_the_command_is_curate():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "curate-vision"
    assert project["scripts"] == {"curate": "curate.cli:main"}


@pytest.mark.parametrize(
    ("text", "strange"),
    [("pip install 'curate[cpu]'", True), ("pip install curate", True), ("pip install 'curate-vision[cpu]'", False)],
)
def test_the_name_of_another_projects_distribution_is_recognised(text: str, strange: bool):
    assert bool(STRANGER.search(text)) == strange
