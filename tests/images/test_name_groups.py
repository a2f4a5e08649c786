"""Groups that a regular expression captures of paths."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.config import ScanConfig
from curate.errors import UsageError
from curate.images.name_groups import captured, groups_from
from curate.images.sources import list_images
from curate.rules.integrity import integrity_audit

PATHS = ["good/part0012_shot3.png", "hole/part0013_shot1.png", "other.png"]


@pytest.mark.parametrize(
    ("regex", "groups"),
    [
        (r"part(\d+)", ["0012", "0013", ""]),
        (r"part\d+", ["part0012", "part0013", ""]),
        (r"^(\w+)/part(\d+)", ["good/0012", "hole/0013", ""]),
        (r"(good)?.*shot(\d)", ["good/3", "/1", ""]),
        (r"(?i)PART(\d+)", ["0012", "0013", ""]),
        (r"^([^/]+)/|^(other)", ["good/", "hole/", "/other"]),
        (r"(x*)", ["", "", ""]),
    ],
)
def test_a_group_is_what_is_captured_or_else_what_matches(regex: str, groups: list[str]):
    assert captured(PATHS, regex) == groups


def test_the_first_match_in_a_path_counts_also_with_line_breaks_and_letters_of_any_script():
    assert captured(["a1/b2.png", "ü3\nb4.png"], r"(\pL\d)") == ["a1", "ü3"]


@pytest.mark.parametrize("regex", ["(((a+)+)+)+$", "(a|aa)+$", "(.*.*.*.*)x$", "(a?){300}a{300}"])
def test_no_expression_takes_long(regex: str):
    start = time.perf_counter()
    captured(["a" * 2000 + "!"] * 20, regex)
    assert time.perf_counter() - start < 10  # a backtracking engine would not end


@given(st.text(max_size=20), st.text(max_size=20))
def test_whatever_the_expression_it_is_used_or_refused(path: str, regex: str):
    try:
        (group,) = captured([path], regex)
    except ValueError:
        return
    assert isinstance(group, str)


@pytest.mark.parametrize(
    ("regex", "says"),
    [
        ("(", "RE2 cannot read it (missing ): (); correct"),
        (r"(?=part)", "RE2 cannot read it (invalid perl operator: (?=); correct"),
        (r"(a)\1", r"RE2 cannot read it (invalid escape sequence: \1); correct"),
        (r"lot(\d+)", "captures nothing of any of the 3 paths, such as good/part0012_shot3.png"),
        ("(x*)", "captures nothing of any"),
        (r"\.(png)", "puts all 3 images into the group 'png', so no image could be judged by another"),
    ],
)
def test_an_expression_that_makes_no_groups_is_one_sentence(regex: str, says: str):
    with pytest.raises(UsageError) as refused:
        groups_from(PATHS, regex)
    assert says in str(refused.value)
    assert str(refused.value).startswith(f"--group-from {regex!r}: ")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_listing_has_the_groups_of_its_paths_below_the_root(tmp_path: Path):
    folder = touch(tmp_path / "part7", "good/part1_a.png", "good/part1_b.png", "good/part2_a.png", "good/x.png")
    listing = list_images(folder, group_from=r"part(\d+)")
    assert dict(zip(listing.paths, listing.groups, strict=True)) == {
        "good/part1_a.png": "1", "good/part1_b.png": "1", "good/part2_a.png": "2", "good/x.png": ""
    }  # fmt: skip


def test_one_image_may_be_one_group(tmp_path: Path):
    assert list_images(touch(tmp_path, "part1.png"), group_from="part1").groups == ("part1",)


def test_groups_from_names_beside_a_column_group_are_refused_and_an_empty_column_is_none(tmp_path: Path):
    touch(tmp_path, "a1.png", "b2.png")
    (tmp_path / "list.csv").write_text("path,group\na1.png,x\nb2.png,\n")
    with pytest.raises(UsageError, match=r"list\.csv has a column group already; leave one of the two out"):
        list_images(tmp_path / "list.csv", group_from=r"\d")
    (tmp_path / "list.csv").write_text("path,group\na1.png,\nb2.png,\n")
    assert list_images(tmp_path / "list.csv", group_from=r"\d").groups == ("1", "2")


def test_an_integrity_check_groups_a_dataset_by_its_names_but_not_single_files(tmp_path: Path):
    touch(tmp_path, "a1.png", "a2.png", "b1.png")
    config = ScanConfig(group_from="([a-z])")
    assert integrity_audit([tmp_path], config).tables["images"]["group"].to_pylist() == ["a", "a", "b"]
    files = [tmp_path / "a1.png", tmp_path / "a2.png"]  # as a commit hook names them: all may be of one group
    assert integrity_audit(files, config).tables["images"]["group"].to_pylist() == ["", ""]
