"""Keys that are equal only for equal pixels, groups of equal keys, stars of pairs, and leakage groups by any chain."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from curate.images.decode import full_key, read_image
from curate.images.duplicates import confirmed_keys, duplicate_groups, duplicate_pairs, leakage_groups
from curate.images.levels import DecodeConfig, Levels
from curate.records import DecodedImage, ImageFacts
from tests.images.reading import read
from tests.images.torture import encode, picture, png, tiff, with_alpha

KEYS = st.lists(st.sampled_from(["", "a", "b", "c", "d"]))


@given(KEYS)
def test_images_share_a_number_exactly_if_they_share_a_key(keys):
    groups = duplicate_groups(keys)
    for row, key in enumerate(keys):
        assert groups[row] == (keys.index(key) if key else row)


@given(KEYS)
def test_pairs_lead_from_the_first_to_each_other_image_once(keys):
    groups = duplicate_groups(keys)
    pairs = list(duplicate_pairs(groups))
    assert len(pairs) == len(keys) - len(set(groups.tolist()))
    assert len({other for _, other in pairs}) == len(pairs)
    assert all(first < other and keys[first] == keys[other] != "" for first, other in pairs)


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["", "1", "2", "3"]))))
def test_leakage_groups_are_the_finest_partition_that_joins_both(rows):
    keys, groups = [key for key, _ in rows], [group for _, group in rows]
    numbers = leakage_groups(duplicate_groups(keys), groups)
    joined = [{row} for row in range(len(rows))]
    for row, (key, group) in enumerate(rows):
        for other, (other_key, other_group) in enumerate(rows):
            if (key and key == other_key) or (group and group == other_group):
                merged = joined[row] | joined[other]
                for member in merged:
                    joined[member] = merged
    assert numbers.tolist() == [min(members) for members in joined]


def test_many_equal_images_take_linear_time():
    start = time.process_time()
    groups = duplicate_groups(["same"] * 100_000)
    assert sum(1 for _ in duplicate_pairs(groups)) == 99_999
    assert (leakage_groups(groups, [""] * 100_000) == 0).all()
    assert time.process_time() - start < 3


def test_a_set_without_images_has_no_groups():
    assert leakage_groups(duplicate_groups([]), []).dtype == np.int64


def mosaic(changed: int = 0) -> bytes:
    """Return a JPEG of flat 8 x 8 blocks; `changed` pixels of the last block differ, and its mean does not."""
    blocks = np.random.default_rng(3).integers(40, 200, (24, 32), dtype=np.uint8)
    pixels = blocks.repeat(8, axis=0).repeat(8, axis=1)
    pixels[-4:, -8 : -8 + changed // 8] += 40
    pixels[-8:-4, -8 : -8 + changed // 8] -= 40
    return encode(Image.fromarray(pixels), "JPEG", quality=95)


def rewrapped(photo: bytes) -> bytes:
    return photo[:2] + b"\xff\xfe\0\x07hello" + photo[2:]


def as_png(photo: bytes) -> bytes:
    return encode(Image.open(io.BytesIO(photo)), "PNG")


def known(folder: Path, contents: dict[str, bytes]) -> tuple[list[Path], list[ImageFacts]]:
    """Write files and return them with the facts of decoding them at an eighth of their size."""
    files, facts = [folder / name for name in contents], []
    for file, data in zip(files, contents.values(), strict=True):
        file.write_bytes(data)
        image = read_image(
            file, size=lambda width, height: (width // 16, height // 16), levels=Levels(), config=DecodeConfig()
        )
        facts.append(image.facts if isinstance(image, DecodedImage) else image)
    return files, facts


def confirm(files: list[Path], facts: list[ImageFacts]) -> list[str]:
    return confirmed_keys(files, facts, config=DecodeConfig())


def test_jpegs_that_agree_only_at_reduced_scale_are_no_duplicates(tmp_path):
    photo, touched = mosaic(), mosaic(changed=32)
    files, facts = known(tmp_path, {"a.jpg": photo, "b.jpg": touched, "c.jpg": rewrapped(photo), "d.jpg": photo})
    assert len({fact.duplicate_key for fact in facts}) == 1  # what there is to confirm
    assert duplicate_groups(confirm(files, facts)).tolist() == [0, 1, 0, 0]


def test_a_jpeg_matches_the_png_made_of_it_and_no_other(tmp_path):
    photo, touched = mosaic(), mosaic(changed=32)
    files, facts = known(tmp_path, {"a.jpg": photo, "b.jpg": touched, "a.png": as_png(photo)})
    assert duplicate_groups(confirm(files, facts)).tolist() == [0, 1, 0]
    assert duplicate_groups(confirm(files[::2], facts[::2])).tolist() == [0, 0]


def test_only_files_that_could_be_duplicates_are_opened_again(tmp_path):
    photo = mosaic()
    small = encode(Image.new("L", (16, 16), 3), "PNG")
    deep = encode(Image.new("I;16", Image.open(io.BytesIO(photo)).size, 3), "PNG")
    others = {"small.png": small, "broken.jpg": b"no image", "deep.png": deep}
    files, facts = known(tmp_path, {"a.jpg": photo, "copy.jpg": photo, **others})
    for file in files:
        file.unlink()
    keys = confirm(files, facts)
    assert keys == [fact.duplicate_key for fact in facts]
    assert keys[0] == keys[1] != ""
    assert keys[3] == ""


def test_a_suspect_that_vanished_is_a_duplicate_of_its_own_bytes_alone(tmp_path):
    photo = mosaic()
    files, facts = known(tmp_path, {"a.jpg": photo, "b.jpg": rewrapped(photo), "c.jpg": photo})
    files[0].unlink()
    files[2].unlink()
    assert duplicate_groups(confirm(files, facts)).tolist() == [0, 1, 0]


def test_keys_do_not_depend_on_the_order_of_the_files(tmp_path):
    photo = mosaic()
    contents = {
        "a.jpg": photo,
        "b.jpg": mosaic(changed=32),
        "c.jpg": rewrapped(photo),
        "d.png": as_png(photo),
    }
    files, facts = known(tmp_path, contents)
    assert confirm(files[::-1], facts[::-1])[::-1] == confirm(files, facts)


SEEN = picture()
OTHER_ALPHA = [np.tile(np.linspace(0, last, SEEN.shape[1]), (SEEN.shape[0], 1)).astype(np.uint8) for last in (200, 90)]
DEEP = SEEN[..., 0].astype(np.uint16) * 200
UNLIKE = (np.roll(SEEN, 5, axis=1), np.roll(SEEN, 9, axis=0))


def keyed(photo: bytes) -> bytes:
    """Return a JPEG with the index of a second picture, as stereo cameras write it."""
    index = b"MPF\0II*\0\x08\0\0\0\0\0"
    return photo[:2] + b"\xff\xe2" + (len(index) + 2).to_bytes(2, "big") + index + photo[2:]


def behind(thumbnail: np.ndarray) -> bytes:
    """Return a TIFF whose first page is a thumbnail and whose second is the picture."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(thumbnail, subfiletype=1, photometric="minisblack")
        file.write(SEEN[..., 0], photometric="minisblack")
    return buffer.getvalue()


SHOWN_ALIKE = {
    "transparent everywhere": [encode(with_alpha(pixels, 0), "PNG") for pixels in UNLIKE],
    "transparent in part": [encode(with_alpha(SEEN, alpha), "PNG") for alpha in OTHER_ALPHA],
    "black where transparent": [
        encode(
            with_alpha(np.where(OTHER_ALPHA[0][..., None] > 9, SEEN, hidden), OTHER_ALPHA[0] * (OTHER_ALPHA[0] > 9)),
            "PNG",
        )
        for hidden in (0, 90)
    ],
    "16 bits with alpha": [png(np.dstack([DEEP, alpha * np.uint16(2)]), 4) for alpha in OTHER_ALPHA],
    "first page": [tiff(np.stack([SEEN[..., 0], page[..., 0]]), photometric="minisblack") for page in UNLIKE],
    "all but the thumbnail": [behind(thumbnail=page[::4, ::4, 0]) for page in UNLIKE],
    "first of two deep pages": [tiff(np.stack([DEEP, page[..., 0].astype(np.uint16)])) for page in UNLIKE],
    "first frame": [
        encode(Image.fromarray(SEEN[..., 0]), "GIF", save_all=True, append_images=[Image.fromarray(page[..., 0])])
        for page in UNLIKE
    ],
    "first picture": [keyed(encode(Image.fromarray(SEEN), "JPEG")) + page.tobytes() for page in UNLIKE],
    "first band": [
        tiff(
            np.dstack([SEEN[..., 0], page[..., 0], page[..., 1], page[..., 2]]),
            photometric="minisblack",
            planarconfig="contig",
        )
        for page in UNLIKE
    ],
    "first of deep bands": [
        tiff(np.dstack([DEEP, *(page[..., 0].astype(np.uint16),) * 3]), photometric="minisblack", planarconfig="contig")
        for page in UNLIKE
    ],
    "RGB and one band": [
        tiff(np.dstack([SEEN, page[..., 0]]), photometric="rgb", extrasamples=["unspecified"]) for page in UNLIKE
    ],
    "above white": [tiff(DEEP + np.uint16(added)) for added in (20_000, 25_000)],
    "not finite": [tiff(np.where(SEEN[..., 0] > 90, mark, 0.5).astype(np.float32)) for mark in (np.inf, 700.0)],
    "inks": [
        encode(Image.fromarray(inks, "CMYK"), "TIFF")
        for inks in (np.dstack([SEEN, SEEN[..., 0] * 0 + 255]), np.dstack([UNLIKE[0], SEEN[..., 0] * 0 + 255]))
    ],
}


@pytest.mark.parametrize("kind", SHOWN_ALIKE)
def test_files_that_differ_only_in_what_is_not_shown_are_no_exact_duplicates(tmp_path, kind):
    one, other = SHOWN_ALIKE[kind]
    files = [tmp_path / name for name in ("a", "b", "copy")]
    facts = []
    for file, data in zip(files, (one, other, one), strict=True):
        file.write_bytes(data)
        levels = Levels(integer_white=4095, float_white=0.1)
        image = read_image(file, size=lambda width, height: (width, height), levels=levels, config=DecodeConfig())
        assert isinstance(image, DecodedImage), image.skip_reason
        facts.append(image.facts)
    assert duplicate_groups(confirm(files, facts)).tolist() == [0, 1, 0]
    assert [full_key(file, DecodeConfig()) for file in files] == [fact.duplicate_key for fact in facts]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (encode(with_alpha(SEEN, OTHER_ALPHA[0]), "PNG"), encode(with_alpha(SEEN, OTHER_ALPHA[0]), "TIFF")),
        (encode(with_alpha(SEEN, 0), "PNG"), encode(Image.fromarray(SEEN), "PNG")),
        (tiff(DEEP), tiff(DEEP.astype(np.int32), compression="zlib")),
        (tiff(DEEP.astype(np.float32)), tiff(DEEP.astype(np.float64))),
        tuple(
            tiff(np.dstack([SEEN] * 2), photometric="minisblack", planarconfig="contig", compression=compression)
            for compression in (None, "zlib")
        ),
    ],
)
def test_the_same_samples_in_another_container_are_exact_duplicates(one, other):
    assert read(one).facts.duplicate_key == read(other).facts.duplicate_key
