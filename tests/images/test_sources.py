"""Each layout lists what it should, in order, and every mistake is one sentence."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import NothingToAudit, UsageError
from curate.images.names import unicode_name, unique_names
from curate.images.sources import list_images, recognise
from curate.records import Layout


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def mvtec(root: Path) -> Path:
    return touch(
        root,
        "train/good/000.png",
        "train/good/001.png",
        "test/good/000.png",
        "test/scratch/000.png",
        "ground_truth/scratch/000_mask.png",
        "license.txt",
    )


def test_a_flat_folder_has_no_labels(tmp_path):
    listing = list_images(touch(tmp_path, "b.png", "a.JPG", "sub/c.tif"))
    assert listing.layout is Layout.FLAT
    assert listing.paths == ("a.JPG", "b.png", "sub/c.tif")
    assert listing.labels == listing.splits == listing.groups == ("", "", "")
    assert listing.files == tuple(tmp_path / path for path in listing.paths)


def test_the_folder_is_the_class(tmp_path):
    listing = list_images(
        touch(tmp_path, "good/1.png", "defect/scratch/2.png", "defect/masks/2.png", "good/mask/1.png")
    )
    assert listing.layout is Layout.CLASSES
    assert dict(zip(listing.paths, listing.labels, strict=True)) == {
        "defect/scratch/2.png": "defect/scratch",
        "good/1.png": "good",
    }
    assert listing.ignored == {"mask": 2}


@pytest.mark.parametrize(
    "names",
    [
        ("mask/a.png", "good/b.png", "good/c.png"),
        ("mask/1.png", "good/1.png", "scratch/1.png"),  # numbered by class: the stem names no one image
        ("mask/a.png", "mask/b.png"),
        ("good/1.png", "defect/masks/7.png", "defect/masks/8.png"),
        ("masks/left/a.png", "good/left/b.png", "good/right/a.png"),
    ],
)
def test_a_class_may_be_called_mask(tmp_path, names):
    listing = list_images(touch(tmp_path, *names))
    assert listing.paths == tuple(sorted(names))
    assert listing.labels == tuple(name.rpartition("/")[0] for name in sorted(names))
    assert listing.ignored == {}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (("images/a.jpg", "images/b.jpg"), ("masks/a.png", "masks/b.png")),
        (("images/a.jpg", "images/b.jpg"), ("Mask/a_mask.png", "Mask/B_MASK.png")),
        (("good/0.jpg", "defect/hole/1.jpg", "defect/crack/1.jpg"), ("masks/hole/1.png", "masks/crack/1.png")),
        (("test/hole/1.jpg", "test/crack/1.jpg"), ("masks/hole/1_mask.png", "masks/crack/1_mask.png")),
        (("hole/1.jpg", "crack/1.jpg"), ("hole/mask/1.png", "crack/mask/1.png")),
        (("a.png", "b.png"), ("masks/a.png", "masks/b.png", "masks/left_over.png")),
        (("good/a.png",), ("ground_truth/x.png", "good/ground_truth/y.png")),
    ],
)
def test_masks_are_passed_over_and_counted(tmp_path, images, masks):
    listing = list_images(touch(tmp_path, *images, *masks))
    assert listing.paths == tuple(sorted(images))
    assert listing.ignored == {"mask": len(masks)}


def test_top_folders_that_are_all_splits_are_splits(tmp_path):
    names = ("train/crack/1.png", "val/a/b/2.png", "Test/3.png", "train/crack/masks/1.png")
    listing = list_images(touch(tmp_path, *names))
    assert listing.layout is Layout.CLASSES
    assert dict(zip(listing.paths, zip(listing.splits, listing.labels, strict=True), strict=True)) == {
        "train/crack/1.png": ("train", "crack"),
        "val/a/b/2.png": ("val", "a/b"),
        "Test/3.png": ("Test", ""),
    }
    assert list_images(tmp_path, split="val").paths == ("val/a/b/2.png",)


def test_one_top_folder_that_is_no_split_makes_all_of_them_classes(tmp_path):
    listing = list_images(touch(tmp_path, "train/a/1.png", "test/a/2.png", "good/3.png"))
    assert listing.labels == ("good", "test/a", "train/a")
    assert set(listing.splits) == {""}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("images/train/1.png", "images/val/2.png"), {("train", "images"), ("val", "images")}),
        (("bolt/train/good/1.png", "bolt/test/bent/1.png"), {("train", "bolt/good"), ("test", "bolt/bent")}),
        (("good/train/1.png", "good/test/2.png", "bent/3.png"), {("train", "good"), ("test", "good"), ("", "bent")}),
        (("Training/a/1.png", "Validation/a/2.png"), {("Training", "a"), ("Validation", "a")}),
        (("train2017/1.png", "val2017/2.png"), {("train2017", ""), ("val2017", "")}),
        (("train_images/a/1.png", "test_images/a/2.png"), {("train_images", "a"), ("test_images", "a")}),
        (("a/b/train/c/1.png", "a/b/eval/c/2.png"), {("train", "a/b/c"), ("eval", "a/b/c")}),
        (("toys/train/1.png", "toys/car/2.png"), {("", "toys/train"), ("", "toys/car")}),
        (("leak_test/1.png", "pull_test/2.png"), {("", "leak_test"), ("", "pull_test")}),
    ],
)
def test_splits_leave_the_label_at_any_depth(tmp_path, names, expected):
    listing = list_images(touch(tmp_path, *names))
    assert listing.layout is Layout.CLASSES
    assert set(zip(listing.splits, listing.labels, strict=True)) == expected


def test_folders_of_network_drives_and_systems_are_passed_over_and_counted(tmp_path):
    passed = ("@eaDir/a.png", "good/#recycle/b/c.png", "good/__MACOSX/._1.png", "$RECYCLE.BIN/x.png", "@__thumb/1.png")
    listing = list_images(touch(tmp_path, "good/1.png", ".thumbnails/1.png", *passed))
    assert listing.paths == ("good/1.png",)
    assert listing.ignored == {"hidden": 1, "system folder": 5}


def test_files_on_several_drives_are_one_sentence(monkeypatch):
    def refuse(paths: object) -> str:
        raise ValueError("Paths don't have the same drive")  # what Windows says

    monkeypatch.setattr(os.path, "commonpath", refuse)
    with pytest.raises(UsageError, match="different drives: list those of one drive") as caught:
        list_images("-", stdin=io.BytesIO(b"a.png\nb.png\n"))
    assert "\n" not in str(caught.value)


def test_mvtec_lists_train_unless_a_split_is_asked_for(tmp_path):
    root = mvtec(tmp_path)
    listing = list_images(root)
    assert listing.layout is Layout.MVTEC
    assert listing.paths == ("train/good/000.png", "train/good/001.png")
    assert set(listing.labels) == {"good"}
    assert listing.ignored == {"mask": 1, "not an image": 1, "other split": 2}
    tested = list_images(root, split="test")
    assert tested.labels == ("good", "scratch")
    assert set(tested.splits) == {"test"}
    assert len(list_images(root, split="all")) == 4


def test_an_unknown_split_names_those_there_are(tmp_path):
    with pytest.raises(UsageError, match="no split 'valid', it has test, train, all"):
        list_images(mvtec(tmp_path / "a"), split="valid")
    with pytest.raises(UsageError, match="it has no splits: leave --split out"):
        list_images(touch(tmp_path / "b", "a.png"), split="train")


@pytest.mark.parametrize("suffix", "png jpg jpeg bmp tif tiff webp pgm ppm jp2 gif".split())  # noqa: SIM905
def test_extensions_count_in_any_case(tmp_path, suffix):
    touch(tmp_path, f"a.{suffix}", f"b.{suffix.upper()}", f"c.{suffix.title()}", f"{suffix}", "d.txt")
    assert len(list_images(tmp_path)) == 3


def test_hidden_files_and_folders_are_counted(tmp_path):
    listing = list_images(touch(tmp_path, "a.png", ".b.png", ".git/c.png", "._a.png"))
    assert listing.paths == ("a.png",)
    assert listing.ignored == {"hidden": 3}


def test_a_linked_folder_is_followed_once_and_a_loop_survived(tmp_path):
    outside, root = touch(tmp_path / "outside", "x.png", "deep/y.png"), touch(tmp_path / "root", "z/a.png")
    (root / "a_link").symlink_to(root / "z")
    (root / "b_link").symlink_to(outside)
    (root / "c_link").symlink_to(outside)
    (root / "z" / "loop").symlink_to(root)
    (outside / "deep" / "loop").symlink_to(outside)
    listing = list_images(root)
    assert listing.paths == ("b_link/deep/y.png", "b_link/x.png", "z/a.png")
    assert listing.ignored == {"folder seen before": 4}


def test_links_to_images_are_images_also_when_broken(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    (tmp_path / "c.png").symlink_to("gone.png")
    (tmp_path / "d.txt").symlink_to("gone.txt")
    listing = list_images(tmp_path)
    assert listing.paths == ("a.png", "b.png", "c.png")
    assert listing.ignored == {"not an image": 1}


def test_a_folder_that_cannot_be_opened_is_counted(tmp_path, monkeypatch):
    root = touch(tmp_path, "a.png", "locked/b.png")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = list_images(root)
    assert listing.paths == ("a.png",)
    assert listing.ignored == {"unreadable folder": 1}


def test_stdin_lists_files_by_line_or_by_nul(tmp_path):
    touch(tmp_path, "one/a.png", "two/b.png", "two/new\nline.png")
    lines = f"{tmp_path}/two/b.png\r\n{tmp_path}/one/a.png\n\n{tmp_path}/one/../two/b.png\n"
    listing = list_images("-", stdin=io.BytesIO(lines.encode()))
    assert (listing.layout, listing.root) == (Layout.FILE_LIST, tmp_path)
    assert listing.paths == ("one/a.png", "two/b.png")
    assert listing.ignored == {"listed twice": 1}
    nul = f"{tmp_path}/two/b.png\0{tmp_path}/two/new\nline.png\0"
    assert list_images("-", stdin=io.BytesIO(nul.encode())).paths == ("b.png", "new\nline.png")


def test_stdin_keeps_files_that_are_not_there_and_relative_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listing = list_images("-", stdin=io.BytesIO(b"gone/\xff.png\nhere.png"))
    assert listing.root == tmp_path
    assert listing.paths == (r"gone/\xff.png", "here.png")
    assert [len(findings) for findings in listing.findings] == [1, 0]


def test_what_is_no_dataset_is_one_sentence(tmp_path):
    touch(tmp_path, "notes.txt")
    (tmp_path / "empty").mkdir()
    cases = (
        (tmp_path / "gone", UsageError, "no such file or folder"),
        ("", UsageError, "no such file or folder"),
        ("a\0b", UsageError, "no such file or folder"),
        (tmp_path / "notes.txt", UsageError, "a folder or a manifest"),
        (tmp_path / "empty", NothingToAudit, "nothing is there"),
        (tmp_path, NothingToAudit, "passed over: 1 not an image"),
    )
    for dataset, error, says in cases:
        with pytest.raises(error, match=says) as caught:
            list_images(dataset)
        assert "\n" not in str(caught.value)
    with pytest.raises(NothingToAudit, match="standard input"):
        list_images("-", stdin=io.BytesIO(b"\n"))


def test_a_forced_layout_that_does_not_fit_is_one_sentence(tmp_path):
    flat = touch(tmp_path, "a.png", "list.csv")
    for layout, dataset, says in (
        (Layout.CLASSES, flat, "1 lie outside, such as a.png"),
        (Layout.MVTEC, flat, "needs a folder train/good"),
        (Layout.HUGGINGFACE, flat, "needs a metadata.csv"),
        (Layout.MANIFEST, flat, "is a folder, which the layout manifest cannot read"),
        (Layout.FILE_LIST, flat, "is a folder"),
        (Layout.FLAT, flat / "list.csv", "is a file, which the layout flat cannot read: use manifest"),
        (Layout.FLAT, "-", "standard input"),
    ):
        with pytest.raises(UsageError, match=says):
            list_images(dataset, layout=layout, stdin=io.BytesIO(b""))


def test_a_forced_layout_overrules_what_is_recognised(tmp_path):
    root = mvtec(tmp_path)
    assert recognise(root) is Layout.MVTEC
    assert len(list_images(root, layout=Layout.FLAT)) == 4
    assert "test/scratch" in list_images(root, layout=Layout.CLASSES).labels


@given(st.lists(st.binary(min_size=1, max_size=6), unique=True))
def test_shown_names_are_unique_valid_unicode_and_valid_ones_unchanged(raw):
    names = [os.fsdecode(name) for name in raw]
    shown = list(unique_names(names))
    assert len(set(shown)) == len(names)
    "".join(shown).encode()
    for name, appears in zip(names, shown, strict=True):
        assert (appears == name) == (unicode_name(name) == name)


def test_listing_is_linear(tmp_path):
    for folder in range(20):
        (tmp_path / str(folder)).mkdir()
        for number in range(100):
            (tmp_path / str(folder) / f"{number}.png").touch()
    start = time.process_time()
    assert len(list_images(tmp_path)) == 2000
    assert time.process_time() - start < 2
