"""The enum of finding codes and their texts belong together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from curate.errors import InputError
from curate.findings import AREAS, CATALOGUE_FILE, Code, Severity, catalogue, packs_folder, read_catalogue
from curate.rules.packs import load_pack, shipped_packs
from tests.plates import ROOT

CATALOGUE = (packs_folder() / CATALOGUE_FILE).read_text(encoding="utf-8")
DUPLICATE = CATALOGUE[CATALOGUE.index("[DUP001]") : CATALOGUE.index("[DUP002]")]


def write(folder: Path, text: str) -> Path:
    file = folder / CATALOGUE_FILE
    file.write_text(text, encoding="utf-8")
    return file


def test_every_code_has_its_text_in_the_same_order():
    assert list(catalogue()) == list(Code)
    assert [text.code for text in catalogue().values()] == list(Code)
    assert all(isinstance(text.severity, Severity) for text in catalogue().values())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CATALOGUE.replace(DUPLICATE, ""), r"finding DUP001 has no text; add a table \[DUP001\] with title, severity"),
        (
            CATALOGUE + DUPLICATE.replace("DUP001", "DUP099"),
            r"\[DUP099\] is the text of no finding; add DUP099 to `Code` in curate/findings\.py",
        ),
        (CATALOGUE.replace(DUPLICATE, "") + DUPLICATE, r"\[DUP002\] stands where `Code` has DUP001"),
        (CATALOGUE.replace("cure =", "remedy =", 1), r"\[IMG001\] has the keys .*remedy; it needs title, severity"),
        (CATALOGUE.replace('"error"', '"fatal"', 1), r"\[IMG001\] severity = 'fatal'; write error, warning, note"),
    ],
)
def test_a_catalogue_that_differs_from_the_codes_says_what_to_add_where(tmp_path: Path, text: str, says: str):
    with pytest.raises(InputError, match=says):
        read_catalogue(write(tmp_path, text))


def test_every_code_is_given_somewhere():
    files = [file for file in (ROOT / "curate").rglob("*.py") if file.name != "findings.py"]
    sources = "".join(file.read_text(encoding="utf-8") for file in files)
    unused = [code for code in Code if f"Code.{code.name}" not in sources and f'"{code}"' not in sources]
    assert unused == []


def test_the_packs_name_only_findings_that_there_are():
    for name in shipped_packs():
        text = (packs_folder() / f"{name}.toml").read_text(encoding="utf-8")
        assert set(re.findall(rf"['\"]((?:{'|'.join(AREAS)})\d{{3}})['\"]", text)) <= set(Code)


def test_rules_and_findings_have_the_same_severities():
    assert {rule.severity for name in shipped_packs() for rule in load_pack(name).rules} <= set(Severity)
