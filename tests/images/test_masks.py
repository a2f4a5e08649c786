"""Masks are told by their partner and by their content; what is in doubt is judged, and asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curate.images.folders import FoundFile
from curate.images.masks import Content, content_of, defect_pixels, plain_stem, tell_masks
from curate.images.sources import list_images
from curate.records import Layout, Listing


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (40, 40, 3), dtype=np.uint8)


def mask(value: int = 255) -> np.ndarray:
    pixels = np.zeros((40, 40), np.uint8)
    pixels[5:9, 5:9] = value
    return pixels


def draw(root: Path, *images: str, masks: tuple[str, ...] = (), blank: tuple[str, ...] = ()) -> Path:
    kinds = ((images, picture()), (masks, mask()), (blank, mask(0)))
    for name, pixels in ((name, pixels) for names, pixels in kinds for name in names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
    return root


def doubted(listing: Listing) -> dict[str, str]:
    return {
        path: finding.message
        for path, findings in zip(listing.paths, listing.findings, strict=True)
        for finding in findings
    }


PAIRED: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "another suffix": ({"000.png": "000.jpg", "001.png": "001.jpg"}, ()),
    "another suffix, in classes": ({"hole/1.bmp": "hole/1.jpg"}, ("good/2.jpg",)),
    "a word behind": ({"a/P1_label.bmp": "a/P1.jpg"}, ("a/P2.jpg",)),
    "a word in capitals": ({"train/1_GT.png": "train/1.png", "test/2_GT.png": "test/2.png"}, ()),
    "a word before": ({"mask_7.png": "7.png"}, ()),
    "several of one image": ({"1_mask1.png": "1.png", "1_mask2.png": "1.png"}, ()),
    "a folder of the field": ({"SegmentationClass/1.png": "JPEGImages/1.jpg"}, ()),
    "a folder gt": ({"gt/1.png": "images/1.png"}, ()),
    "a folder of two words": ({"Mask_images/1_mask.png": "Defect_images/1.png"}, ("NODefect_images/2.png",)),
    "a folder a type": ({"labels/hole/1.png": "images/hole/1.png"}, ("images/crack/1.png",)),
    "a folder an image": ({"gt/hole/1/000.png": "test/hole/1.png", "gt/hole/1/001.png": "test/hole/1.png"}, ()),
    "a folder in each class": ({"Class1/Label/2_label.PNG": "Class1/2.PNG"}, ("Class1/1.PNG", "Class2/1.PNG")),
    "a sure folder of other spelling": ({"GroundTruth/hole/1.png": "test/hole/1.png"}, ()),
    "a category that is called like masks": (
        {"label_plate/ground_truth/bent/0_mask.png": "label_plate/test/bent/0.png"},
        ("label_plate/train/good/0.png", "bolt/train/good/0.png"),
    ),
    "categories of MVTec AD": (
        {"nut/ground_truth/bent/0_mask.png": "nut/test/bent/0.png"},
        ("nut/train/good/0.png", "bolt/train/good/0.png"),
    ),
}


@pytest.mark.parametrize("kind", PAIRED)
def test_masks_are_passed_over_with_their_images_known(tmp_path, kind):
    owners, others = PAIRED[kind]
    images = sorted({*owners.values(), *others})
    listing = list_images(draw(tmp_path, *images, masks=tuple(owners)))
    assert listing.paths == tuple(images)
    assert listing.ignored == {"mask": len(owners)}
    assert {path: image for path, (_, image) in listing.masks.items()} == owners
    assert all(file == tmp_path / path for path, (file, _) in listing.masks.items())
    assert doubted(listing) == {}


def test_empty_masks_of_good_parts_are_masks_too(tmp_path):
    root = draw(tmp_path, "1.jpg", "2.jpg", "3.jpg", masks=("1_label.bmp",), blank=("2_label.bmp", "3_label.bmp"))
    assert list_images(root).ignored == {"mask": 3}


def test_masks_of_splits_that_are_not_listed_have_no_image_there(tmp_path):
    root = draw(tmp_path, "train/good/0.png", "test/hole/0.png", masks=("ground_truth/hole/0_mask.png",))
    path = "ground_truth/hole/0_mask.png"
    assert list_images(root).masks[path][1] == ""
    assert list_images(root, split="all").masks[path][1] == "test/hole/0.png"


@pytest.mark.parametrize(
    ("images", "masks", "asks", "why"),
    [
        (("good/1.png", "labels/1.png"), (), ("labels/1.png",), "its name says so, but it has many values"),
        (("1.png", "1_label.png"), (), ("1_label.png",), "its name says so, but it has many values"),
        (("good/1.png",), ("labels/x1.png",), ("labels/x1.png",), "fewer than half of its folder's files"),
        (("good/1.png",), ("roi/1.png",), ("roi/1.png",), "few values, and the name of that image"),
        ((), ("good/1.png", "gt/1.png"), ("gt/1.png",), "few values, but so has that image"),
    ],
)
def test_what_may_be_a_mask_is_judged_and_asked_about(tmp_path, images, masks, asks, why):
    listing = list_images(draw(tmp_path, *images, masks=masks))
    assert listing.paths == tuple(sorted((*images, *masks)))
    assert "mask" not in listing.ignored
    told = doubted(listing)
    assert tuple(told) == asks
    assert all(why in message and message.endswith("it is judged as an image") for message in told.values())


@pytest.mark.parametrize(
    ("images", "blank"),
    [
        (("1.jpg", "1.png"), ()),  # a copy in another format
        (("label_missing/1.png", "good/1.png"), ()),
        (("good/1.png", "defect/1.png"), ()),
        (("good/1.png",), ("defect/1.png",)),  # a black image is a fault, no mask
        (("1.jpg",), ("1.png",)),
        (("mask/1.png", "nomask/2.png"), ()),
    ],
)
def test_images_that_only_look_like_a_pair_are_images_without_a_question(tmp_path, images, blank):
    listing = list_images(draw(tmp_path, *images, blank=blank))
    assert listing.paths == tuple(sorted((*images, *blank)))
    assert doubted(listing) == {}
    assert listing.ignored == {}


def test_one_image_among_masks_is_no_mask(tmp_path):
    numbers = range(40)
    root = draw(tmp_path, *(f"{n:02}.jpg" for n in numbers), masks=tuple(f"{n:02}.png" for n in numbers))
    Image.fromarray(picture(1)).save(root / "17.png")
    listing = list_images(root, layout=Layout.FLAT)
    assert set(listing.paths) == {*(f"{n:02}.jpg" for n in numbers), "17.png"}


def test_files_that_cannot_be_read_do_not_vanish_by_their_names(tmp_path):
    draw(tmp_path, "1.png", "2.png", masks=("1_mask.png",))
    (tmp_path / "2_mask.png").write_bytes(b"no image")
    assert list_images(tmp_path).paths == ("1.png", "2.png", "2_mask.png")


def test_few_values_are_told_from_many_in_any_format(tmp_path):
    index = Image.fromarray(mask(3), "L").convert("P")
    cases = {
        "index.png": (index, Content.FEW),
        "colours.png": (Image.fromarray(np.dstack([mask(128), mask(0), mask(192)])), Content.FEW),
        "lossy.jpg": (Image.fromarray(mask()), Content.FEW),
        "soft.png": (Image.fromarray(mask()).resize((200, 200), Image.Resampling.BICUBIC), Content.FEW),
        "deep.png": (Image.fromarray(mask().astype(np.uint16) * 257), Content.FEW),
        "blank.png": (Image.fromarray(mask(0)), Content.ONE),
        "picture.jpg": (Image.fromarray(picture()), Content.MANY),
        "deep_picture.png": (Image.fromarray(picture()[..., 0].astype(np.uint16) * 99), Content.MANY),
    }
    for name, (image, content) in cases.items():
        image.save(tmp_path / name)
        assert content_of(tmp_path / name) is content, name
    assert content_of(tmp_path / "gone.png") is Content.UNREAD


@pytest.mark.parametrize("value", [1, 128, 255])
def test_a_mask_shows_a_defect_where_it_is_not_background(tmp_path, value):
    Image.fromarray(mask(value)).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([mask(0), mask(value), mask(0)])).save(tmp_path / "colour.png")
    Image.fromarray(mask(value).astype(np.uint16)).save(tmp_path / "deep.png")
    for name in ("grey.png", "colour.png", "deep.png"):
        assert np.array_equal(defect_pixels(tmp_path / name), mask() > 0)
    assert not defect_pixels(tmp_path / "gone.png").any()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("01_mask.png", "01"), ("a/01-GT.png", "01"), ("01.label.bmp", "01"), ("01_mask_2.png", "01"),
        ("mask_01.png", "01"), ("01_ground_truth.png", "01"), ("01_defect_mask.png", "01"),
        ("mask.png", "mask"), ("01.png", "01"), ("label.png", "label"), ("_mask.png", "_mask"),
        ("unmasked.png", "unmasked"),
    ],
)  # fmt: skip
def test_a_stem_loses_the_word_that_makes_it_a_mask(name, stem):
    assert plain_stem(name) == stem


def test_a_mask_that_the_metadata_lists_is_an_image(tmp_path):
    draw(tmp_path, "1.png", masks=("1_mask.png",))
    (tmp_path / "metadata.csv").write_text("file_name\n1.png\n1_mask.png\n")
    listing = list_images(tmp_path)
    assert listing.layout is Layout.HUGGINGFACE
    assert (listing.paths, listing.masks, listing.ignored) == (("1.png", "1_mask.png"), {}, {})


def test_nothing_is_opened_where_no_name_pairs(tmp_path):
    files = [FoundFile(f"good/{n}.png", tmp_path / "gone") for n in range(9)]
    assert tell_masks(files).images == files
