"""Where machine-readable formats say that an image lies: in the repository, as the user named the dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from curate.config import ScanConfig
from curate.images.sources import list_images
from curate.rules.choices import ReportFormat
from curate.rules.evaluate import evaluate
from curate.rules.formats.render import render
from curate.rules.integrity import integrity_audit
from curate.rules.packs import load_pack
from tests.cli.test_main import curate
from tests.plates import draw_plates

CI = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a sub-folder `ml`, in which the check runs; parts in `data/parts`, and linked from outside."""
    for name in CI:
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "repo"
    (root / ".git").mkdir(parents=True)
    (root / "ml").mkdir()
    for folder in (root / "data" / "parts" / "good", tmp_path / "store" / "good"):
        folder.mkdir(parents=True)
        (folder / "empty.png").touch()
    (root / "data" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "way").symlink_to(root)
    monkeypatch.chdir(root)
    return root


def places(dataset: str | Path) -> set[str]:
    """Return the places that SARIF, GitLab, GitHub and JUnit name for the one unreadable image of a dataset."""
    pack = load_pack("smoke")
    rules = [rule for rule in pack.rules if rule.code == "IMG101"]
    report = evaluate(integrity_audit([dataset], ScanConfig()), pack, rules, source=str(dataset))
    sarif = json.loads(render(report, ReportFormat.SARIF))["runs"][0]["results"][0]
    junit = render(report, ReportFormat.JUNIT)
    github = render(report, ReportFormat.GITHUB)
    found = {
        sarif["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
        json.loads(render(report, ReportFormat.GITLAB))[0]["location"]["path"],
        github.partition("file=")[2].partition(",")[0],
    }
    assert all(f"{place}: the file is empty" in junit for place in found)
    return found


@pytest.mark.parametrize("dataset", ["data/parts", "./data/parts/", "data/../data/parts", "{root}/data/parts", "{way}"])
def test_every_spelling_of_a_dataset_gives_one_place_below_the_repository(checkout: Path, dataset: str):
    way = checkout.parent / "way" / "data" / "parts"
    assert places(dataset.format(root=checkout, way=way)) == {"data/parts/good/empty.png"}


def test_a_linked_dataset_keeps_the_name_that_it_has_in_the_repository(checkout: Path):
    assert places("data/linked") == {"data/linked/good/empty.png"}
    assert places(checkout / "data" / "linked") == {"data/linked/good/empty.png"}


def test_a_check_below_the_root_names_places_from_the_root(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(checkout / "ml")
    assert places("../data/parts") == {"data/parts/good/empty.png"}


@pytest.mark.parametrize("name", CI)
def test_the_checkout_is_the_one_that_ci_names(checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, str(checkout / "data"))
    monkeypatch.chdir(checkout / "data")
    assert places("parts") == {"parts/good/empty.png"}


def test_a_dataset_outside_the_repository_gives_no_place_that_leaves_it(checkout: Path):
    (place,) = places(checkout.parent / "store")
    assert place == "good/empty.png"


def test_a_manifest_gives_the_place_of_its_images(checkout: Path):
    (checkout / "data" / "list.csv").write_text("path\nparts/good/empty.png\n")
    assert places("./data/list.csv") == {"data/parts/good/empty.png"}


def test_what_the_set_as_a_whole_breaks_lies_at_the_dataset(checkout: Path):
    pack = load_pack("smoke")
    audit = integrity_audit(["./data/parts/"], ScanConfig())
    rule = pack.rules[0].model_copy(update={"fact": "count", "of": "true", "keep": ">= 9", "table": "images"})
    report = evaluate(audit, pack, [rule], source="./data/parts/")
    result = json.loads(render(report, ReportFormat.SARIF))["runs"][0]["results"][0]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "data/parts"
    assert json.loads(render(report, ReportFormat.GITLAB))[0]["location"]["path"] == "data/parts"


def test_the_root_keeps_the_users_links_beside_the_resolved_one(checkout: Path):
    listing = list_images("data/linked")
    assert listing.root == Path(os.path.realpath(checkout.parent / "store"))
    assert listing.named == checkout / "data" / "linked"


@pytest.mark.parametrize("format_", ["junit", "github", "markdown"])
def test_formats_for_machines_are_utf_8_whatever_the_locale(tmp_path: Path, format_: str):
    draw_plates(tmp_path / "тест", 1)
    (tmp_path / "тест" / "плата.png").touch()
    done = curate(
        "check", "тест", "--rules", "smoke", "--format", format_, cwd=tmp_path, env={"PYTHONIOENCODING": "cp1252"}
    )
    assert done.returncode == 1, done.stderr
    assert "плата.png" in done.stdout
