"""Files that factories hand over: read where that can be, else told in one sentence what they are and what to do."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, features

from curate.images import formats
from curate.images.decode import KNOWN_SUFFIXES, DecodeConfig, read_image
from curate.images.folders import IMAGE_SUFFIXES
from curate.images.levels import Levels, find_levels
from curate.records import DecodedImage, ImageFacts
from tests.plates import ROOT

GREY = np.random.default_rng(0).integers(0, 4000, (64, 80)).astype(np.uint16)
SMALL, LARGE = (GREY[::8, ::8] >> 4).astype(np.uint8), (GREY >> 4).astype(np.uint8)
CFA_TAGS = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, b"\0\1\1\2", True)]


def read(file: Path) -> DecodedImage | ImageFacts:
    levels = find_levels([file], DecodeConfig())
    return read_image(file, size=lambda width, height: (width, height), levels=levels, config=DecodeConfig())


def pixels(file: Path) -> np.ndarray:
    decoded = read(file)
    assert isinstance(decoded, DecodedImage), decoded
    return decoded.pixels


def png(*chunks: tuple[bytes, bytes], after: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """Return a PNG of `LARGE` with chunks before and after its pixels."""
    buffer = io.BytesIO()
    Image.fromarray(LARGE).save(buffer, "PNG")
    data = buffer.getvalue()
    made = [b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in some)
            for some in (chunks, after)]  # fmt: skip
    return data[:33] + made[0] + data[33:-12] + made[1] + data[-12:]


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"c\0" + b"x" * 2_000_000),
        (b"zTXt", b"c\0\0" + zlib.compress(b"x" * 2_000_000)),
        (b"iTXt", b"c\0\1\0\0\0" + zlib.compress(b"x" * 2_000_000)),
        (b"iCCP", b"c\0\0" + zlib.compress(b"x" * 2_000_000)),
    ],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_png_with_long_texts_is_read(tmp_path: Path, chunk: tuple[bytes, bytes], place: str):
    (tmp_path / "a.png").write_bytes(png(chunk) if place == "before" else png(after=(chunk,)))
    assert np.array_equal(pixels(tmp_path / "a.png")[..., 0], LARGE)


def test_a_png_that_ends_within_a_text_is_cut_short_and_raises_nothing(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png((b"tEXt", b"c\0" + b"x" * 2_000_000))[:1_000_000])
    assert isinstance(read(tmp_path / "a.png"), ImageFacts)


@pytest.mark.parametrize("samples", [GREY, LARGE])
def test_the_mosaic_of_a_sensor_is_read_as_grey(tmp_path: Path, samples: np.ndarray):
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="CFA", extratags=CFA_TAGS)
    assert pixels(tmp_path / "a.tif").shape == (64, 80, 3)


@pytest.mark.parametrize("samples", [LARGE, GREY])
def test_a_tiff_whose_first_page_is_a_thumbnail_gives_the_largest(tmp_path: Path, samples: np.ndarray):
    with tifffile.TiffWriter(tmp_path / "plain.tif") as file:
        file.write(samples, photometric="minisblack")
    for name, kind in (("flagged.tif", 1), ("silent.tif", 0)):
        with tifffile.TiffWriter(tmp_path / name) as file:
            file.write(SMALL, subfiletype=kind, photometric="minisblack")
            file.write(samples, photometric="minisblack")
        assert np.array_equal(pixels(tmp_path / name), pixels(tmp_path / "plain.tif"))
    with tifffile.TiffWriter(tmp_path / "inner.tif") as file:
        file.write(SMALL, subfiletype=1, photometric="minisblack", subifds=1)
        file.write(samples, photometric="minisblack")
    assert np.array_equal(pixels(tmp_path / "inner.tif"), pixels(tmp_path / "plain.tif"))


def test_of_pages_of_one_size_the_first_is_read_and_a_thumbnail_behind_it_is_left(tmp_path: Path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(LARGE, photometric="minisblack")
        file.write(255 - LARGE, photometric="minisblack")
        file.write(SMALL, subfiletype=1, photometric="minisblack")
    decoded = read(tmp_path / "a.tif")
    assert np.array_equal(pixels(tmp_path / "a.tif")[..., 0], LARGE)
    assert [finding.message for finding in decoded.facts.findings] == [
        "the file has more than one page or frame: only the first is used"
    ]


def test_pages_that_point_at_each_other_end(tmp_path: Path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(SMALL, subfiletype=1, photometric="minisblack")
        file.write(LARGE, photometric="minisblack")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        first, second = (page.offset for page in file.pages)
    (tags,) = struct.unpack_from("<H", data, second)
    struct.pack_into("<I", data, second + 2 + 12 * tags, first)
    (tmp_path / "a.tif").write_bytes(data)
    assert pixels(tmp_path / "a.tif").shape == (64, 80, 3)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 9\n", "run git lfs pull"),
        (b"/annex/objects/SHA256E-s9--ab.png\n", "run git annex get"),
        (b"\n <!DOCTYPE HTML><html>", "a web page"),
        (b'{"error": "denied"}', "JSON"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\x03\x04" + bytes(40), "a ZIP archive"),
        (b"8BPS" + bytes(40), "a Photoshop file"),
        (bytes(128) + b"DICM" + bytes(9), "DICOM"),
        (bytes(4096), "nothing but zeros"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
    ],
)
def test_what_is_no_image_says_what_it_is(tmp_path: Path, content: bytes, says: str):
    (tmp_path / "a.png").write_bytes(content)
    facts = read(tmp_path / "a.png")
    assert isinstance(facts, ImageFacts)
    assert says in facts.skip_reason
    assert [finding.code for finding in facts.findings] == ["IMG002"]


@pytest.mark.parametrize(
    ("store", "says"), [(".git/annex/objects/x/a.png", "run git annex get"), (".dvc/cache/ab", "run dvc pull")]
)
def test_a_link_to_content_that_is_elsewhere_names_the_command_that_fetches_it(tmp_path: Path, store: str, says: str):
    (tmp_path / "a.png").symlink_to(tmp_path / store)
    facts = read_image(tmp_path / "a.png", size=lambda w, h: (w, h), levels=Levels(), config=DecodeConfig())
    assert isinstance(facts, ImageFacts)
    assert facts.skip_reason.endswith(says)


def test_every_suffix_that_is_listed_is_one_whose_content_is_known():
    assert IMAGE_SUFFIXES == KNOWN_SUFFIXES


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JFIF"])
def test_a_jpeg_by_another_name_is_one(tmp_path: Path, suffix: str):
    Image.fromarray(LARGE).save(tmp_path / f"a{suffix}", "JPEG")
    decoded = read(tmp_path / f"a{suffix}")
    assert isinstance(decoded, DecodedImage)
    assert decoded.facts.findings == ()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read(tmp_path: Path):
    Image.fromarray(LARGE).save(tmp_path / "a.avif")
    assert pixels(tmp_path / "a.avif").shape == (64, 80, 3)
    assert read(tmp_path / "a.avif").facts.duplicate_key.startswith("bytes:")  # it may be deeper than what is read


def test_heic_is_read_or_names_the_package_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    facts = read(tmp_path / "a.heic")
    assert isinstance(facts, ImageFacts)
    assert facts.skip_reason == "HEIC needs a package: pip install pillow-heif, or save the image as PNG or JPEG"
    assert formats.sniff((tmp_path / "a.heic").read_bytes()) is formats.FileFormat.HEIC


NO_HOME = """
import os, pwd, sys
for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "USER", "LOGNAME", "CURATE_CACHE", "CURATE_MODELS"):
    os.environ.pop(name, None)
def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = unknown
sys.argv[0] = "curate"
import curate.cli
curate.cli.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a user of Windows has a profile")
@pytest.mark.parametrize(
    "words", [("doctor",), ("models", "list"), ("scan", "--show-settings"), ("scan", "--show-settings", "--cache", "c")]
)
def test_a_user_without_home_or_name_can_work(tmp_path: Path, words: tuple[str, ...]):
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME, *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "~" not in done.stdout
    assert not (tmp_path / "~").exists()
