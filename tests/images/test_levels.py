"""What is white in deep files is asked of the set, once, and the same for every image."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curate.errors import UsageError
from curate.images.levels import DecodeConfig, Levels, apply_levels, find_levels, is_deep, spread
from tests.images.reading import codes, decode, read
from tests.images.torture import modes, packed_12_bit, pgm, picture, png, ramp, tiff


def levels_of(tmp_path, *contents: bytes, suffix: str = ".tif", config: DecodeConfig | None = None) -> Levels:
    files = [tmp_path / f"{number}{suffix}" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    return find_levels(files, config or DecodeConfig())


@pytest.mark.parametrize(
    ("largest", "white"),
    [(200, 255), (255, 255), (256, 1023), (1023, 1023), (4095, 4095), (4096, 16383), (16384, 65535), (65535, 65535)],
)
def test_the_smallest_level_that_holds_the_set_is_white(tmp_path, largest, white):
    levels = levels_of(tmp_path, tiff(np.array([[0, largest]], np.uint16)), tiff(np.array([[3, 100]], np.uint16)))
    assert (levels.integer_black, levels.integer_white) == (0, white)
    assert (levels.origin, levels.files_sampled) == ("sample", 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.5, 1], (0, 1)), ([0, 0.1], (0, 1)), ([0, 254.5], (0, 255)), ([-2, 6], (-2, 6)), ([9, 9000], (9, 9000))],
)
def test_floating_point_sets_are_0_to_1_or_0_to_255_or_their_own_range(tmp_path, values, expected):
    levels = levels_of(tmp_path, tiff(np.array([values], np.float32)))
    assert (levels.float_black, levels.float_white) == expected


def test_signed_sets_have_their_smallest_value_as_black(tmp_path):
    levels = levels_of(tmp_path, tiff(np.array([[-300, 900]], np.int16)))
    assert (levels.integer_black, levels.integer_white) == (-300, 1023)


def test_not_finite_values_do_not_decide(tmp_path):
    levels = levels_of(tmp_path, tiff(np.array([[np.nan, np.inf, 0.5]], np.float64)), tiff(np.array([[np.nan]])))
    assert (levels.float_white, levels.files_sampled) == (1, 1)


def test_a_given_white_level_is_taken_and_no_file_opened(tmp_path):
    levels = find_levels([tmp_path / "gone.tif"], DecodeConfig(white_level=4095))
    assert (levels.integer_white, levels.origin, levels.files_sampled) == (4095, "given", 0)


def test_files_that_cannot_be_read_and_8_bit_files_do_not_decide(tmp_path):
    levels = levels_of(tmp_path, b"", b"II*\0", tiff(picture(), photometric="rgb"))
    assert levels == Levels()


@pytest.mark.parametrize("suffix", [".pgm", ".pnm"])
def test_the_name_of_a_deep_file_does_not_decide_its_levels(tmp_path, suffix):
    assert levels_of(tmp_path, pgm(ramp(12), 4095), suffix=suffix).integer_white == 4095


def test_jpegs_are_never_opened(tmp_path):
    assert levels_of(tmp_path, tiff(np.array([[0, 9]], np.uint16)), suffix=".jpg") == Levels()


def test_deep_files_are_known_by_their_heads(tmp_path):
    deep = {}
    for name, data in modes():
        (tmp_path / name).write_bytes(data)
        deep[name] = is_deep(tmp_path / name)
    assert {name for name, is_it in deep.items() if is_it} == {
        name for name, data in modes() if read(data).pixels.dtype == np.float32
    }


@given(st.integers(1, 3000), st.integers(2, 1024))
def test_the_sample_is_even_and_keeps_both_ends(total, count):
    files = list(range(total))
    chosen = spread(files, count)
    assert len(chosen) == min(total, count) == len(set(chosen))
    assert (chosen[0], chosen[-1]) == (0, total - 1)
    assert max(np.diff(chosen), default=1) - min(np.diff(chosen), default=1) <= 1


def test_levels_are_json():
    assert json.loads(json.dumps(Levels().as_json())) == Levels().as_json()


@given(arrays(np.uint16, 50), st.sampled_from([255, 1023, 4095, 65535]))
def test_levels_keep_the_order_and_clip_to_0_and_255(counts, white):
    pixels, _ = apply_levels(np.sort(counts), Levels(integer_white=white))
    assert (np.diff(pixels) >= 0).all()
    held = np.sort(counts)
    strict = (np.diff(held) > 0) & (held[1:] <= white)
    assert (np.diff(pixels)[strict] > 0).all()
    assert 0 <= pixels.min() <= pixels.max() <= 255


def test_values_outside_the_levels_are_a_finding():
    decoded = read(tiff(np.array([[0, 5000], [4095, 17]], np.uint16)), levels=Levels(integer_white=4095))
    assert codes(decoded) == ["IMG021"]
    assert "25.00% of the values lie outside the set's levels 0 to 4095" in decoded.facts.findings[0].message


def test_one_12_bit_picture_is_the_same_in_every_container():
    levels = Levels(integer_white=4095)
    forms = (
        packed_12_bit(ramp(12)),
        pgm(ramp(12), 4095),
        tiff(ramp(12)),
        tiff(ramp(12).astype(np.int32)),
        png(ramp(12)[..., None], 0),
    )
    decoded = [read(form, levels=levels) for form in forms]
    assert len({one.facts.duplicate_key for one in decoded}) == 1
    assert len({one.facts.pixel_hash for one in decoded}) == 1


@pytest.mark.parametrize("white", [0, -1, float("nan"), float("inf")])
def test_a_white_level_that_cannot_be_is_refused(white):
    with pytest.raises(UsageError, match="white-level"):
        DecodeConfig(white_level=white)


def test_a_pixel_limit_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="max-pixels"):
        DecodeConfig(max_pixels=0)


def dented(seed: int) -> np.ndarray:
    """Return (64, 64) float32 of 0.4-0.6 with a dent of 0.1."""
    plate = np.random.default_rng(seed).uniform(0.4, 0.6, (64, 64)).astype(np.float32)
    plate[9:14, 20:25] = 0.1
    return plate


def decoded_set(tmp_path, *plates: np.ndarray) -> tuple[Levels, list]:
    contents = [tiff(plate) for plate in plates]
    levels = levels_of(tmp_path, *contents)
    return levels, [read(content, levels=levels) for content in contents]


def test_a_single_value_does_not_decide_what_is_white(tmp_path):
    plates = [dented(seed) for seed in range(5)]
    plates[2][0, 0] = 1.02
    levels, decoded = decoded_set(tmp_path, *plates)
    assert (levels.float_black, levels.float_white) == (0, 1)
    assert [codes(one) for one in decoded] == [[], [], ["IMG021"], [], []]
    counts = [(plate * 4095).astype(np.uint16) for plate in plates]
    counts[1][5, 5] = 65535
    assert decoded_set(tmp_path, *counts)[0].integer_white == 4095


@pytest.mark.parametrize(
    ("marker", "scale", "kind"),
    [
        (-9999, 1, np.float32),
        (-1, 1, np.float32),
        (3.4028234663852886e38, 1, np.float32),
        (1e20, 1, np.float64),
        (65535, 4095, np.uint16),
        (-32768, 4095, np.int16),
        (2**32 - 1, 4095, np.uint32),
    ],
)
def test_a_marker_of_missing_measurements_does_not_decide_and_becomes_black(tmp_path, marker, scale, kind):
    plates = [(dented(seed) * scale).astype(kind) for seed in range(4)]
    clean, _ = decoded_set(tmp_path, *plates)
    plates[1][40:50, 40:50] = marker
    levels, decoded = decoded_set(tmp_path, *plates)
    assert levels.markers == (marker,)
    assert replace(levels, markers=()) == clean
    assert [codes(one) for one in decoded] == [[], ["IMG028"], [], []]
    assert decoded[1].pixels[40:50, 40:50].max() == 0
    assert decoded[1].pixels[9:14, 20:25].max() < decoded[1].pixels[:9].min()


def test_what_is_measured_in_one_file_or_is_one_of_two_values_marks_nothing(tmp_path):
    plates = [(dented(seed) * 4095).astype(np.uint16) for seed in range(3)]
    plates[0][:9] = 65535
    plates[1] = (dented(1) * 65535 / 0.6).clip(0, 65535).astype(np.uint16)
    plates[1][0, 0] = 65535
    assert decoded_set(tmp_path, *plates)[0].markers == ()
    binary = np.where(dented(0) > 0.5, 65535, 0).astype(np.uint16)
    levels, decoded = decoded_set(tmp_path, binary)
    assert (levels.markers, decoded[0].pixels.max()) == ((), 255)


def test_a_file_full_of_markers_does_not_make_them_measurements(tmp_path):
    plates = [dented(0), np.full((64, 64), -9999, np.float32)]
    plates[0][:5] = -9999
    assert decoded_set(tmp_path, *plates)[0].markers == (-9999,)


def test_files_of_another_scale_are_named_and_do_not_decide(tmp_path):
    plates = [dented(seed) for seed in range(5)]
    plates[4] *= 255
    levels, decoded = decoded_set(tmp_path, *plates)
    assert levels.float_white == 1
    assert codes(decoded[4]) == ["IMG021", "IMG023"]
    plates = [plate * 255 for plate in plates[:4]] + [plates[0]]
    levels, decoded = decoded_set(tmp_path, *plates)
    assert levels.float_white == 255
    assert [codes(one) for one in decoded] == [[], [], [], [], ["IMG029"]]


def test_values_far_from_0_do_not_lose_their_contrast(tmp_path):
    plates = [(30_000 + 1000 * dented(seed)).astype(np.uint16) for seed in range(3)]
    _, decoded = decoded_set(tmp_path, *plates)
    assert [codes(one) for one in decoded] == [[], [], []]
    assert all(np.ptp(one.pixels) > 100 for one in decoded)
    faint = read(tiff(plates[0]), levels=Levels(integer_white=2.0**24 - 1))
    assert codes(faint) == ["IMG029"]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_bands_are_chosen_and_named(kind):
    bands = [np.full((8, 8), 10 * band, kind) for band in range(1, 6)]
    for band in bands:
        band[0, 0] = 0
    data = tiff(np.dstack(bands), photometric="minisblack", planarconfig="contig")
    levels = Levels(integer_white=255, float_white=255)
    first, fifth, three = (read(data, levels=levels, bands=chosen) for chosen in ((), (5,), (4, 3, 2)))
    assert first.pixels[1, 1].tolist() == [10, 10, 10]
    assert fifth.pixels[1, 1].tolist() == [50, 50, 50]
    assert three.pixels[1, 1].tolist() == [40, 30, 20]
    said = [one.facts.findings[0].message for one in (first, fifth, three)]
    assert said[0] == "of 5 bands only band 1 is used, as grey: --bands chooses others"
    assert "only band 5 is used" in said[1]
    assert "only bands 4, 3, 2 are used, as red, green and blue" in said[2]
    assert len({one.facts.duplicate_key for one in (first, fifth, three)}) == 1
    missing = decode(data, levels=levels, bands=(6,))
    assert codes(missing) == ["IMG010"]
    assert missing.skip_reason == "the file has 5 bands, and --bands asks for band 6: choose others"


@pytest.mark.parametrize("bands", [(1, 2), (0,), (1, 2, 3, 4)])
def test_bands_that_make_no_picture_are_refused(bands):
    with pytest.raises(UsageError, match="give one band, or three"):
        DecodeConfig(bands=bands)
