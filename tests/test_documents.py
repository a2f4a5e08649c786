"""README and the catalogue say what the code does."""

from __future__ import annotations

import re
import tomllib

import pytest

from curate.cli import app
from curate.errors import UsageError
from curate.findings import catalogue, explain
from curate.images import integrity
from curate.reports.schema import IMAGES
from tests.plates import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_names_every_command():
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    names += [group.name for group in app.registered_groups]
    for name in names:
        assert f"curate {name}" in README


def test_readme_lists_the_columns_of_images_with_their_comments():
    for field in IMAGES:
        row = f"| `{field.name}` | {field.metadata[b'comment'].decode()} |"
        assert row in README, row


def test_readme_names_every_exit_code_of_the_errors():
    from curate import errors

    codes = {value.exit_code for value in vars(errors).values() if isinstance(value, type)}
    for code in codes:
        assert f"\n| {code} | " in README


def test_every_code_that_is_given_is_in_the_catalogue():
    given = {value for name, value in vars(integrity).items() if name.isupper() and isinstance(value, str)}
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "curate").rglob("*.py"))
    given |= set(re.findall(r'"((?:IMG|DUP|LBL|OOD|SET)\d{3})"', sources))
    assert given <= set(catalogue())


def test_every_code_of_the_catalogue_is_given_somewhere():
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "curate").rglob("*.py"))
    assert {code for code in catalogue() if code not in sources} == set()


def test_every_finding_says_why_it_matters_and_what_to_do():
    for text in catalogue().values():
        assert text.severity in ("error", "warning", "note")
        assert text.title
        assert text.why.endswith(".")
        assert text.cure.endswith(".")


def test_an_unknown_code_is_answered_with_those_there_are():
    with pytest.raises(UsageError, match="IMG999: no such finding code; the codes are DUP001"):
        explain("IMG999")


def test_constraints_pin_what_the_project_needs_and_name_no_address():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in pins
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cpu"], *extras["dev"]]
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins.splitlines()}
    assert {re.split(r"[><=\[]", name)[0].lower().replace("_", "-") for name in wanted} <= pinned
