"""Leaks between splits and the same part under two labels: findings, and the leakage groups of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from curate.audit.leakage_groups import audit_leakage_groups, unfound_parts
from curate.audit.leakage_tables import file_leaks, part_leaks
from curate.audit.same_part_tables import Pair
from curate.errors import InputError
from curate.findings import Code
from curate.images.duplicates import duplicate_groups
from curate.records import Finding, ImageFacts, Layout, Listing
from tests.rules.audits import make_audit

Image = tuple[str, str, str, str]
"""Path, split, label and group."""


def listing(images: Sequence[Image]) -> Listing:
    paths, splits, labels, groups = (tuple(column) for column in zip(*images, strict=True))
    return Listing(
        root=Path("/data"),
        layout=Layout.MANIFEST,
        paths=paths,
        files=tuple(Path("/data") / path for path in paths),
        labels=labels,
        splits=splits,
        groups=groups,
        findings=((),) * len(images),
    )


def of_files(images: Sequence[Image], keys: str, files: str | None = None) -> dict[str, list[Finding]]:
    """Return the findings by path; `keys` has a letter for the pixels of each image, `files` one for its bytes."""
    facts = [ImageFacts(sha256=name) for name in files or [str(row) for row in range(len(images))]]
    found: dict[str, list[Finding]] = {}
    for row, finding in file_leaks(listing(images), facts, duplicate_groups(list(keys))):
        found.setdefault(images[row][0], []).append(finding)
    return found


def of_parts(images: Sequence[Image], *pairs: Pair) -> list[tuple[str, Code, str]]:
    leaks = part_leaks(listing(images), pairs)
    return [(images[row][0], finding.code, finding.message) for row, finding in leaks]


def pair(first: int, other: int, similarity: float = 8.0, *, differs: bool = False) -> Pair:
    return Pair(first=first, other=other, differs=differs, similarity=similarity, shift_y=0.0, shift_x=0.0)


def test_the_same_pixels_in_two_splits_are_a_finding_on_both_sides_and_each_names_the_other():
    images = [("a.png", "train", "good", "7"), ("b.png", "test", "hole", ""), ("c.png", "test", "good", "")]
    found = of_files(images, "xxy")
    assert {path: [one.code for one in some] for path, some in found.items()} == {
        "a.png": [Code.LEAKED_PIXELS],
        "b.png": [Code.LEAKED_PIXELS],
    }
    assert found["b.png"][0].message == "the same pixels as a.png (split 'train', label 'good', group '7')"
    assert found["a.png"][0].message == "the same pixels as b.png (split 'test', label 'hole')"


def test_the_same_bytes_are_called_a_file_and_the_image_of_train_is_named_with_how_many_more():
    images = [(f"{row}.png", split, "", "") for row, split in enumerate(("test", "train", "val", "test"))]
    found = of_files(images, "xxxx", "fffg")
    assert found["0.png"][0].message == "the same file as 1.png (split 'train'), and 1 more image of other splits"
    assert found["1.png"][0].message == "the same file as 0.png (split 'test'), and 2 more images of other splits"
    assert found["3.png"][0].message.startswith("the same pixels as 1.png (split 'train')")


def test_a_group_in_two_splits_is_a_finding_on_each_of_its_images():
    images = [("a.png", "train", "", "lot 1"), ("b.png", "test", "", "lot 1"), ("c.png", "test", "", "lot 2")]
    found = of_files(images, "xyz")
    assert set(found) == {"a.png", "b.png"}
    assert found["b.png"] == [
        Finding(code=Code.LEAKED_GROUP, message="of group 'lot 1', as is a.png (split 'train', group 'lot 1')")
    ]


@pytest.mark.parametrize("splits", [("train", "train"), ("", "train"), ("", "")])
def test_images_of_one_split_or_without_one_do_not_leak(splits: tuple[str, str]):
    images = [("a.png", splits[0], "", "1"), ("b.png", splits[1], "", "1")]
    assert not of_files(images, "xx")
    assert not of_parts(images, pair(0, 1))


def test_the_same_part_in_two_splits_names_the_surest_shot_of_train_and_how_sure():
    images = [(f"{row}.png", split, "good", "") for row, split in enumerate(("train", "test", "val", "train"))]
    found = of_parts(images, pair(1, 2, 9.0), pair(1, 3, 8.0), pair(0, 1, 7.0))
    messages = {path: message for path, code, message in found if code is Code.LEAKED_PART}
    assert set(messages) == {"0.png", "1.png", "2.png", "3.png"}
    assert messages["1.png"] == (
        "the same part as 3.png (split 'train', label 'good'), and 2 more images of other splits; "
        "8.0 deviations above different parts"
    )


def test_the_same_part_under_two_labels_is_a_finding_on_both_and_each_names_the_other():
    images = [("a.png", "", "good", ""), ("b.png", "", "hole", ""), ("c.png", "", "good", "")]
    assert of_parts(images, pair(0, 1, 9.0), pair(0, 2)) == [
        (
            "a.png",
            Code.CONFLICTING_SHOTS,
            "labelled 'good', the same part as b.png (label 'hole'); 9.0 deviations above different parts",
        ),
        (
            "b.png",
            Code.CONFLICTING_SHOTS,
            "labelled 'hole', the same part as a.png (label 'good'); 9.0 deviations above different parts",
        ),
    ]


def test_a_twin_that_differs_in_one_place_is_neither_a_leak_nor_a_conflict():
    images = [("a.png", "train", "good", ""), ("b.png", "test", "hole", "")]
    assert not of_parts(images, pair(0, 1, differs=True))


def test_an_unlabelled_shot_contradicts_no_label():
    assert not of_parts([("a.png", "", "good", ""), ("b.png", "", "", "")], pair(0, 1))


def chain(first: str, other: str, kind: str) -> dict[str, str]:
    return {"path": other, "duplicate_of": first, "kind": kind}


def test_leakage_groups_of_an_audit_follow_chains_of_pixels_groups_and_parts_but_no_twin():
    images = [{"path": f"{row}.png", "group": "lot" if row in (2, 3) else ""} for row in range(7)]
    duplicates = [
        chain("0.png", "1.png", "exact"),
        chain("1.png", "2.png", "same_part"),
        chain("4.png", "5.png", "same_part_differs"),
    ]
    groups = audit_leakage_groups(make_audit(images=images, duplicates=duplicates))
    assert groups.tolist() == [0, 0, 0, 0, 4, 5, 6]


def test_a_duplicate_of_an_image_that_is_not_there_is_one_sentence():
    audit = make_audit(images=[{"path": "a.png"}], duplicates=[chain("a.png", "b.png", "exact")])
    with pytest.raises(InputError, match=r"names 'b\.png', which is not an image; scan again"):
        audit_leakage_groups(audit)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ({}, "not looked for"),
        ({"same_part": None}, "not looked for"),
        ({"same_part": {"threshold": None, "undecidable": 1.0}}, "of 100 % of the images"),
        ({"same_part": {"threshold": 6.0, "undecidable": 0.7}}, "of 70 % of the images"),
        ({"same_part": {"threshold": 6.0, "undecidable": 0.2}}, ""),
    ],
)
def test_a_run_tells_whether_shots_of_the_same_part_would_have_been_found(run: dict[str, object], says: str):
    reason = unfound_parts(run)
    assert says in reason
    assert bool(reason) == bool(says)


def test_many_images_are_grouped_in_linear_time():
    count = 20_000
    images = [(f"{row}.png", ("train", "test")[row % 2], "", "camera") for row in range(count)]
    found = list(file_leaks(listing(images), [ImageFacts(sha256="1")] * count, np.arange(count)))
    assert len(found) == count
    assert found[0][1].message.endswith("and 9999 more images of other splits")
