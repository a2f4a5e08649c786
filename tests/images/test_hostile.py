"""No bytes, however wrong, raise anything or take long."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from curate.images.decode import DecodeConfig, read_image
from curate.images.levels import Levels, find_levels
from curate.records import DecodedImage, ImageFacts
from tests.images.reading import decode, same
from tests.images.torture import encode, exif, modes, picture, tiff

VALID = dict(modes())
HEADS = (
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"BM",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"II+\0\x08\0\0\0",
    b"P5 ",
    b"P2\n",
)
HEADS += (b"RIFF\0\0\0\0WEBP", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")
LONGEST_S = 2.0


def check(data: bytes) -> None:
    start = time.process_time()
    decoded = decode(data, size=(16, 16))
    assert time.process_time() - start < LONGEST_S
    if isinstance(decoded, ImageFacts):
        assert decoded.skip_reason
        assert [finding.message for finding in decoded.findings] == [decoded.skip_reason]
    else:
        assert decoded.pixels.shape == (16, 16, 3)
        assert np.isfinite(decoded.pixels).all()


@given(head=st.sampled_from(HEADS), tail=st.binary(max_size=300))
@settings(deadline=None, max_examples=250)
@example(head=b"P5 ", tail=b"99999999 99999999 65535\n")
@example(head=b"P2\n", tail=b"1 1 255\n-7\n")
@example(head=b"P2\n", tail=b"1 1 255\n99999999999\n")
def test_random_bytes_never_raise(head, tail):
    check(head + tail)


@pytest.mark.parametrize("name", [*VALID])
@given(changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_a_changed_header_never_raises(name, changes):
    data = bytearray(VALID[name])
    for at, value in changes:
        data[at % min(len(data), 401)] = value
    check(bytes(data))


@pytest.mark.parametrize("name", [*VALID])
def test_a_file_cut_anywhere_never_raises(name):
    data = VALID[name]
    for length in {*range(0, min(len(data), 120), 7), len(data) // 2, len(data) - 1}:
        check(data[:length])


@given(tail=st.binary(max_size=200))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_broken_exif_blocks_never_stop_an_image(tail):
    photo = encode(Image.fromarray(picture()), "JPEG", exif=b"Exif\0\0" + exif(1)[6:14] + tail)
    assert isinstance(decode(photo), DecodedImage)


@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_a_changed_tiff_directory_never_raises(changes):
    data = bytearray(tiff(np.arange(400, dtype=np.uint16).reshape(20, 20), metadata=None, description=None))
    for at, value in changes:
        data[at % 300] = value
    check(bytes(data))


def test_special_paths_never_raise_and_never_wait(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name in ("gone.png", "folder.png", "nul\0.png", "surrogate \ud800.png", "x" * 5000 + ".png", "a.png/b.png"):
        facts = read_image(tmp_path / name, size=same, levels=Levels(), config=DecodeConfig())
        assert isinstance(facts, ImageFacts)
        assert facts.skip_reason
        assert facts.sha256 == ""
        assert find_levels([tmp_path / name], DecodeConfig()) == Levels()


def test_a_sparse_file_of_a_terabyte_is_not_taken_into_memory(tmp_path):
    file = tmp_path / "huge.png"
    try:
        with file.open("wb") as stream:
            stream.truncate(2**40)
    except OSError:
        pytest.skip("this file system holds no sparse files")
    facts = read_image(file, size=same, levels=Levels(), config=DecodeConfig())
    assert [finding.code for finding in facts.findings] == ["IMG005"]
