"""One picture, whatever way it is stored, comes out as the same pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from curate.images.decode import REDUCED, decode_image, full_key, header_pixels
from curate.images.levels import DecodeConfig, Levels
from curate.records import ImageFacts
from tests.images.reading import codes, decode, read
from tests.images.torture import encode, exif, grey, modes, packed_12_bit, pgm, picture, png, ramp, tiff

MODES = dict(modes())
LOSSLESS_RGB = ("rgb.png", "opaque.png", "rgb.bmp", "rgb.webp", "rgb.jp2", "rgb.ppm", "rgb.tif", "planes.tif")
LOSSLESS_GREY = ("grey.png", "palette.png", "grey_opaque.png", "grey.pgm", "one.gif", "white_is_zero.tif")
DEEP_GREY = (
    *("grey_16.png", "lzw_16.tif", "big_endian_16.tif", "tiles_16.tif", "deflate_16.tif", "grey_16.jp2"),
    *("float32.tif", "float64.tif", "float16.tif", "uint32.tif"),
)
RAMPS = {
    "10-bit TIFF": (tiff(ramp(10)), 10),
    "12-bit packed TIFF": (packed_12_bit(ramp(12)), 12),
    "12-bit PGM": (pgm(ramp(12), 4095), 12),
    "16-bit TIFF": (tiff(ramp(16)), 16),
    "16-bit PNG": (encode(Image.fromarray(ramp(16)), "PNG"), 16),
    "16-bit RGB PNG": (png(np.dstack([ramp(16)] * 3), 2), 16),
    "16-bit RGB TIFF": (tiff(np.dstack([ramp(16)] * 3), photometric="rgb"), 16),
    "16-bit JPEG 2000": (encode(Image.fromarray(ramp(16)), "JPEG2000"), 16),
    "16-bit signed TIFF": (tiff(ramp(15).astype(np.int16)), 15),
}

STORED = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, 1),
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: np.rot90(pixels, -1),
}
"""How an upright picture lies in a file of each orientation: the camera of 6 was turned to the left, so 6 lies left."""


@pytest.mark.parametrize("name", LOSSLESS_RGB)
def test_lossless_colour_comes_back_exactly(name):
    np.testing.assert_array_equal(read(MODES[name]).pixels, picture())


@pytest.mark.parametrize("name", LOSSLESS_GREY)
def test_lossless_grey_comes_back_exactly_in_three_channels(name):
    np.testing.assert_array_equal(read(MODES[name]).pixels, np.dstack([grey()] * 3))


@pytest.mark.parametrize("name", DEEP_GREY)
def test_deep_grey_agrees_with_the_8_bit_picture(name):
    pixels = read(MODES[name]).pixels
    assert pixels.dtype == np.float32
    tolerance = 0.1 if name == "float16.tif" else 1e-3
    np.testing.assert_allclose(pixels, np.dstack([grey()] * 3), atol=tolerance)


@pytest.mark.parametrize("name", ["rgb_16.png", "rgb_16.tiff", "planes_16.tif", "rgb_lzw_16.tif"])
def test_deep_colour_agrees_with_the_8_bit_picture(name):
    np.testing.assert_allclose(read(MODES[name]).pixels, picture(), atol=1e-3)


@pytest.mark.parametrize("name", ["rgb.jpg", "progressive.jpg", "cmyk.jpg", "cmyk.tif"])
def test_lossy_colour_comes_back_nearly(name):
    difference = np.abs(read(MODES[name]).pixels.astype(float) - picture())
    assert difference.mean() < 6


@pytest.mark.parametrize("name", RAMPS)
def test_a_ramp_keeps_its_strict_order(name):
    data, bits = RAMPS[name]
    pixels = read(data, levels=Levels(integer_white=2**bits - 1)).pixels
    values = pixels[..., 0].ravel()
    assert (np.diff(values) > 0).all()
    assert values[0] == 0
    assert values[-1] == pytest.approx(255)
    assert (pixels[..., :1] == pixels).all()


@given(
    counts=arrays(
        np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4)), elements=st.integers(0, 65535)
    ),
    channels=st.sampled_from([1, 3]),
)
@settings(deadline=None, max_examples=40)
def test_a_16_bit_png_comes_back_exactly(counts, channels):
    data = png(counts[..., :channels], {1: 0, 3: 2}[channels])
    pixels = read(data).pixels.astype(np.float64) * (65535 / 255)
    np.testing.assert_allclose(pixels, np.broadcast_to(counts[..., :channels], pixels.shape), atol=0.01)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_come_out_upright_in_jpeg_png_and_tiff(orientation):
    upright = Image.fromarray(picture())
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](picture())))
    block = exif(orientation)
    np.testing.assert_array_equal(read(encode(stored, "PNG", exif=block)).pixels, picture())
    np.testing.assert_array_equal(read(encode(stored, "WEBP", exif=block, lossless=True)).pixels, picture())
    photo = read(encode(stored, "JPEG", exif=block, quality=95))
    assert (photo.facts.width_px, photo.facts.height_px) == upright.size
    assert np.abs(photo.pixels.astype(float) - picture()).mean() < 6
    tags = [(274, "H", 1, orientation, True)]
    np.testing.assert_array_equal(read(tiff(np.asarray(stored), photometric="rgb", extratags=tags)).pixels, picture())
    deep = np.asarray(stored).astype(np.uint16) * 257
    np.testing.assert_allclose(read(tiff(deep, photometric="rgb", extratags=tags)).pixels, picture(), atol=1e-3)
    red = read(tiff(deep[..., 0], extratags=tags)).pixels
    np.testing.assert_allclose(red[..., 0], picture()[..., 0], atol=1e-3)


def test_size_is_asked_with_the_upright_size_and_obeyed():
    asked = []
    stored = Image.fromarray(picture()).transpose(Image.Transpose.ROTATE_90)
    data = encode(stored, "JPEG", exif=exif(6))

    def rule(width: int, height: int) -> tuple[int, int]:
        asked.append((width, height))
        return 20, 10

    decoded = decode_image(data, size=rule, levels=Levels(), config=DecodeConfig())
    assert asked == [(48, 32)]
    assert decoded.pixels.shape == (10, 20, 3)


def test_the_pixel_limit_is_the_callers_and_not_pillows():
    data = encode(Image.fromarray(picture()), "PNG")
    assert codes(decode(data, max_pixels=32 * 48)) == []
    refused = decode(data, max_pixels=32 * 48 - 1)
    assert isinstance(refused, ImageFacts)
    assert codes(refused) == ["IMG005"]
    assert (refused.width_px, refused.height_px) == (48, 32)


def test_more_than_pillows_own_limit_is_read_without_a_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("rgb.png", "rgb.jpg", "rgb.bmp", "rgb.tif", "one_bit.tif", "rgb.jp2", "one.gif", "rgb.ppm"):
        read(MODES[name])


def test_a_jpeg_decoded_at_reduced_scale_looks_like_one_decoded_in_full():
    smooth = np.asarray(Image.fromarray(picture()).resize((768, 512), Image.Resampling.BICUBIC))
    photo = Image.fromarray(smooth)
    reduced = read(encode(photo, "JPEG", quality=95), size=(96, 64)).pixels
    full = read(encode(photo, "PNG"), size=(96, 64)).pixels
    assert np.abs(reduced.astype(float) - full).mean() < 2


@pytest.mark.parametrize("name", ["rgb.png", "grey_16.png", "rgb_16.tiff", "float32.tif"])
def test_resized_images_stay_within_0_and_255(name):
    for size in ((7, 5), (96, 64), (48, 8), (1, 1)):
        pixels = read(MODES[name], size=size).pixels
        assert pixels.shape == (size[1], size[0], 3)
        assert pixels.min() >= 0
        assert pixels.max() <= 255


def test_pixels_are_sealed():
    with pytest.raises(ValueError, match="read-only"):
        read(MODES["rgb.png"]).pixels[0, 0] = 0


def test_transparency_is_laid_over_black():
    half = np.dstack([picture(), np.full((32, 48), 128, np.uint8)])
    decoded = read(encode(Image.fromarray(half), "PNG"))
    assert codes(decoded) == ["IMG024"]
    np.testing.assert_allclose(decoded.pixels, picture() * (128 / 255), atol=1)
    deep = read(png(half.astype(np.uint16) * 257, 6))
    assert codes(deep) == ["IMG024"]
    np.testing.assert_allclose(deep.pixels, picture() * (128 / 255), atol=0.1)


def test_five_bands_are_read_as_the_first():
    bands = np.dstack([grey(), *[255 - grey()] * 4])
    for depth, scale in ((np.uint8, 1), (np.uint16, 257)):
        data = tiff(bands.astype(depth) * depth(scale), photometric="minisblack", planarconfig="contig")
        np.testing.assert_allclose(read(data).pixels, np.dstack([grey()] * 3), atol=1e-3)


def test_the_duplicate_key_sees_colours_and_not_the_way_they_are_stored():
    keys = {name: read(MODES[name]).facts.duplicate_key for name in LOSSLESS_RGB}
    assert len(set(keys.values())) == 1, keys
    greys = {name: read(MODES[name]).facts.duplicate_key for name in LOSSLESS_GREY}
    greys["rgb of equal channels"] = read(encode(Image.fromarray(np.dstack([grey()] * 3)), "PNG")).facts.duplicate_key
    assert len(set(greys.values())) == 1, greys
    assert set(keys.values()).isdisjoint(greys.values())


@given(row=st.integers(0, 31), column=st.integers(0, 47), channel=st.integers(0, 2))
@settings(deadline=None, max_examples=20)
def test_one_changed_value_changes_the_duplicate_key(row, column, channel):
    changed = picture()
    changed[row, column, channel] ^= 1
    key = read(encode(Image.fromarray(changed), "BMP")).facts.duplicate_key
    assert key != read(MODES["rgb.bmp"]).facts.duplicate_key


def test_equal_colours_in_another_shape_are_no_duplicate():
    wide, tall = Image.new("L", (40, 20), 7), Image.new("L", (20, 40), 7)
    assert read(encode(wide, "PNG")).facts.duplicate_key != read(encode(tall, "PNG")).facts.duplicate_key


def test_a_jpeg_that_was_only_rewrapped_keeps_its_reduced_key():
    photo = encode(Image.fromarray(np.tile(picture(), (8, 8, 1))), "JPEG")
    commented = photo[:2] + b"\xff\xfe\0\x07hello" + photo[2:]
    first, second = (read(data, size=(48, 32)).facts for data in (photo, commented))
    assert first.sha256 != second.sha256
    assert first.duplicate_key == second.duplicate_key


def test_only_a_key_of_reduced_pixels_is_marked_as_such():
    photo = encode(Image.fromarray(np.tile(picture(), (8, 8, 1))), "JPEG")
    assert read(photo, size=(48, 32)).facts.duplicate_key.startswith(REDUCED)
    assert not read(photo).facts.duplicate_key.startswith(REDUCED)
    assert not read(MODES["rgb.png"], size=(6, 4)).facts.duplicate_key.startswith(REDUCED)


@pytest.mark.parametrize("name", MODES)
def test_the_full_key_is_that_of_decoding_at_native_size(tmp_path, name):
    (tmp_path / name).write_bytes(MODES[name])
    key = full_key(tmp_path / name, DecodeConfig())
    assert key == read(MODES[name]).facts.duplicate_key


def test_a_file_without_a_full_key_says_why(tmp_path):
    (tmp_path / "text.png").write_bytes(b"no image")
    (tmp_path / "large.png").write_bytes(MODES["rgb.png"])
    keys = [full_key(tmp_path / name, DecodeConfig(max_pixels=9)) for name in ("gone", "text.png", "large.png")]
    assert [finding.code for finding in keys] == ["IMG007", "IMG002", "IMG005"]


@pytest.mark.parametrize("name", MODES)
def test_the_header_tells_how_many_pixels_there_are_to_hold(name):
    facts = read(MODES[name]).facts
    assert header_pixels(MODES[name]) == facts.width_px * facts.height_px


def test_bands_weigh_as_pixels_and_what_is_no_image_weighs_nothing():
    bands = tiff(np.zeros((8, 8, 400), np.uint8), photometric="minisblack", planarconfig="contig")
    assert header_pixels(bands) == 8 * 8 * 100
    assert header_pixels(b"no image") == header_pixels(b"") == 0


def test_one_dot_on_a_blank_image_is_not_one_colour():
    dotted = np.full((400, 400), 90, np.uint8)
    dotted[17, 391] = 92
    assert codes(read(encode(Image.fromarray(dotted), "PNG"), size=(20, 20))) == []
    assert codes(read(encode(Image.fromarray(dotted * 0 + 90), "PNG"), size=(20, 20))) == ["IMG023"]


def test_facts_tell_mode_and_depth():
    told = {name: (read(MODES[name]).facts.mode, read(MODES[name]).facts.bit_depth) for name in MODES}
    assert told["one_bit.png"] == ("1", 1)
    assert told["palette.png"] == ("P", 8)
    assert told["grey_16.png"] == ("I;16", 16)
    assert told["rgb_16.png"] == ("RGB;16", 16)
    assert told["packed_12.tif"] == ("uint16", 12)
    assert told["float64.tif"] == ("float64", 64)
    assert told["cmyk.jpg"] == ("CMYK", 8)
    assert told["ramp_12.pgm"] == ("I;16", 12)
