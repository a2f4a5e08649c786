"""The size of an image is known from the ends of its file, and the same as from all of it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curate.images import formats
from curate.images.levels import DecodeConfig
from curate.images.sizes import HEAD_BYTES, native_sizes
from tests.images.torture import encode, exif, modes, tiff

NOISE = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)


def late_exif(data: bytes) -> bytes:
    """Return a PNG whose EXIF chunk stands after the pixels."""
    at = data.index(b"eXIf") - 4
    length = int.from_bytes(data[at : at + 4]) + 12
    chunk, rest = data[at : at + length], data[:at] + data[at + length :]
    return rest[:-12] + chunk + rest[-12:]


def large() -> dict[str, bytes]:
    photo = Image.fromarray(NOISE)
    comment = b"\xff\xfe\xff\xff" + bytes(65533)
    jpeg = encode(photo, "JPEG", quality=100, exif=exif(6))
    end_of_file = io.BytesIO()
    photo.save(end_of_file, "TIFF", compression="tiff_lzw")
    return {
        "noise.png": encode(photo, "PNG"),
        "turned.png": encode(photo, "PNG", exif=exif(6)),
        "turned_late.png": late_exif(encode(photo, "PNG", exif=exif(6))),
        "turned.jpg": jpeg,
        "late_header.jpg": jpeg[:2] + comment * 5 + jpeg[2:],
        "noise.bmp": encode(photo, "BMP"),
        "noise.webp": encode(photo, "WEBP", lossless=True),
        "noise.jp2": encode(photo, "JPEG2000"),
        "noise.tif": tiff(NOISE, photometric="rgb"),
        "header_at_the_end.tif": end_of_file.getvalue(),
        "strips.tif": tiff(NOISE, photometric="rgb", rowsperstrip=1),
    }


LARGE = large()


@pytest.mark.parametrize("name", LARGE)
def test_a_large_file_has_the_size_that_its_whole_content_tells(tmp_path, name):
    assert len(LARGE[name]) > HEAD_BYTES
    (tmp_path / name).write_bytes(LARGE[name])
    told = formats.read_header(LARGE[name]).upright
    assert told == ((400, 600) if "turned" in name or "late" in name else (600, 400))
    assert native_sizes([tmp_path / name], 1, DecodeConfig()) == [told]


def test_a_small_file_of_every_mode_has_its_size(tmp_path):
    for name, data in modes():
        (tmp_path / name).write_bytes(data)
        assert native_sizes([tmp_path / name], 1, DecodeConfig()) == [formats.read_header(data).upright]


@pytest.mark.parametrize("name", ["noise.png", "turned.jpg", "noise.bmp", "noise.tif"])
def test_only_the_ends_of_a_large_file_are_read(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(LARGE[name])
    os.truncate(file, 400 * 2**20)  # a hole: reading it all would take its size in memory
    assert read_bytes(file) < 2 * 2**20


def read_bytes(file: Path) -> int:
    """Return how many bytes this process reads while it asks for the size of a file."""
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("this system does not count what a process reads")

    def count() -> int:
        return int(counter.read_text(encoding="ascii").split()[1])

    before = count()
    assert native_sizes([file], 1, DecodeConfig()) == [formats.read_header(LARGE[file.name]).upright]
    return count() - before


def test_files_that_cannot_be_read_are_passed_over(tmp_path):
    (tmp_path / "noise.png").write_bytes(bytes(HEAD_BYTES * 2))
    assert native_sizes([tmp_path / "noise.png", tmp_path / "gone.png"], 2, DecodeConfig()) == []
