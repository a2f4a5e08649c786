"""Whatever lies in the folder: a row for every file, the finding that is due, and no abort."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from curate.findings import Code
from curate.images import integrity
from curate.images.decode import read_image
from curate.images.levels import DecodeConfig, Levels, find_levels
from curate.images.sources import list_images
from curate.records import DecodedImage, ImageFacts, Listing
from tests.images.reading import same
from tests.images.torture import HOSTILE_NAMES, READ, draw_torture_set

REPOSITORY = Path(__file__).parents[2]
FIRST_REMARK = "IMG020"
UNREADABLE_CODES = {code for code in Code if "IMG" < code < FIRST_REMARK}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Listing, dict[str, str]]:
    folder = tmp_path_factory.mktemp("torture")
    expected = draw_torture_set(folder)
    return list_images(folder), expected


def read_file(file: Path, levels: Levels | None = None) -> DecodedImage | ImageFacts:
    return read_image(file, size=same, levels=levels or Levels(), config=DecodeConfig())


def test_every_file_of_the_torture_set_is_a_row(drawn):
    listing, expected = drawn
    assert sorted(file.name for file in listing.files) == sorted(expected)
    assert len(listing) >= 80
    assert listing.ignored == {"hidden": 1, "not an image": 1, "folder seen before": 1}


def test_every_reason_why_a_file_is_unreadable_but_those_of_this_machine_is_in_the_torture_set(drawn):
    assert UNREADABLE_CODES - set(drawn[1].values()) <= {Code.NO_PERMISSION, Code.NOT_READ, Code.NO_MEMORY}


def test_every_file_is_read_or_says_why_not(drawn):
    listing, expected = drawn
    wrong = {}
    for file, named in zip(listing.files, listing.findings, strict=True):
        decoded = read_file(file)
        facts = decoded.facts if isinstance(decoded, DecodedImage) else decoded
        found, due = [finding.code for finding in facts.findings + named], expected[file.name]
        unreadable = READ != due < FIRST_REMARK
        if (found != ([] if due == READ else [due])) or bool(facts.skip_reason) != unreadable:
            wrong[file.name] = (due, found, facts.skip_reason)
    assert wrong == {}


def test_each_reason_is_one_sentence_and_keeps_to_one_line(drawn):
    listing, _ = drawn
    for file in listing.files:
        decoded = read_file(file)
        reason = "" if isinstance(decoded, DecodedImage) else decoded.skip_reason
        assert reason.isprintable()
        assert len(reason) < 300


def test_a_row_without_pixels_has_no_hash_of_pixels(drawn):
    listing, _ = drawn
    for decoded in map(read_file, listing.files):
        facts = decoded.facts if isinstance(decoded, DecodedImage) else decoded
        assert bool(facts.pixel_hash) == bool(facts.duplicate_key) == (not facts.skip_reason)


def test_paths_are_unique_valid_unicode_in_order(drawn):
    listing, _ = drawn
    assert len(set(listing.paths)) == len(listing)
    assert list(listing.paths) == sorted(listing.paths)
    "".join(listing.paths).encode()


def test_an_invalid_name_and_the_literal_of_its_escape_stay_apart(drawn):
    listing, expected = drawn
    if os.fsdecode(b"invalid \xff\xfe.png") not in expected:
        pytest.skip("this file system takes no invalid UTF-8")
    shown = {file.name: path for file, path in zip(listing.files, listing.paths, strict=True)}
    assert shown[r"invalid \xff\xfe.png"] == r"invalid \xff\xfe.png"
    assert shown[os.fsdecode(b"invalid \xff\xfe.png")] == r"invalid \xff\xfe.png~2"


def test_hostile_names_are_drawn_on_this_system(drawn):
    _, expected = drawn
    assert sum(os.fsdecode(name) in expected for name in HOSTILE_NAMES) >= 5


def test_the_levels_of_the_torture_set_are_found_without_an_abort(drawn):
    listing, _ = drawn
    levels = find_levels(listing.files, DecodeConfig())
    assert levels.origin == "sample"
    assert levels.files_sampled >= 20


def test_a_file_without_permission_is_a_row(tmp_path):
    file = tmp_path / "locked.png"
    file.write_bytes(b"secret")
    file.chmod(0)
    if os.geteuid() != 0:
        assert [finding.code for finding in read_file(file).findings] == ["IMG006"]
        return
    for folder in [tmp_path, *list(tmp_path.parents)[:-2]]:
        folder.chmod(folder.stat().st_mode | 0o055)  # root reads everything: a child without its rights looks
    program = (
        "import os, sys; from pathlib import Path; from curate.images.files import read_file\n"
        "os.setuid(65534); print(read_file(Path(sys.argv[1]), 1000).code)"
    )
    command = [sys.executable, "-c", program, str(file)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert answer.stdout == "IMG006\n", answer.stderr


def test_decoding_works_without_imagecodecs_but_for_rare_compressions():
    answer = without_imagecodecs(
        "from tests.images.torture import lzw, modes, packed_colour_tiff, picture\n"
        "from tests.images.reading import read\n"
        "pixels = {name: read(data).pixels for name, data in modes()}\n"
        "print('torch' in sys.modules)\n"
        "print(abs(pixels['rgb_lzw_16.tif'] - picture()).max() < 1e-3)\n"
        "print(abs(pixels['turned_lzw_16.tif'] - picture().swapaxes(0, 1)[:, ::-1]).max() < 1e-3)\n"
        "strip = lzw((picture().astype('<u2') * 256).tobytes())\n"  # low bytes of 0
        "dark = read(packed_colour_tiff(48, 32, compression=5, strip=strip)).pixels\n"
        "print(abs(dark * (257 / 256) - picture()).max() < 1e-3)"
    )
    assert answer == ["False", "True", "True", "True"]


@pytest.mark.parametrize(("compression", "planes"), [("LERC", False), ("JPEGXL", False), ("LZW", True)])
def test_a_compression_that_needs_imagecodecs_says_so_and_how_to_get_it(compression, planes):
    answer = without_imagecodecs(
        "import tifffile\n"
        "from tests.images.torture import grey, lzw, packed_colour_tiff\n"
        "from tests.images.reading import decode\n"
        f"number = tifffile.COMPRESSION.{compression}\n"
        "strip = lzw(grey().astype('<u2').tobytes())\n"
        f"facts = decode(packed_colour_tiff(48, 32, compression=number, strip=strip, planes={planes}))\n"
        "print(facts.findings[0].code); print(facts.skip_reason)"
    )
    assert answer[0] == Code.UNSUPPORTED
    assert compression in answer[1]
    assert "pip install imagecodecs" in answer[1]


def without_imagecodecs(program: str) -> list[str]:
    """Return the lines that a program prints where that package is not installed."""
    program = f"import sys; sys.modules['imagecodecs'] = None; sys.path.insert(0, '.')\n{program}"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()


def test_what_another_run_may_read_is_told_from_what_none_will():
    assert {Code.NO_MEMORY, Code.UNSUPPORTED} == integrity.TRANSIENT_CODES < UNREADABLE_CODES
    assert integrity.failure(MemoryError()).code in integrity.TRANSIENT_CODES
    assert integrity.failure(NotImplementedError("odd")).code in integrity.TRANSIENT_CODES
    assert integrity.failure(ValueError("broken")).code not in integrity.TRANSIENT_CODES


def test_every_code_is_explained_in_the_catalogue():
    catalogue = tomllib.loads((REPOSITORY / "rules" / "findings.toml").read_text(encoding="utf-8"))
    assert set(Code) == set(catalogue)
    for entry in catalogue.values():
        assert set(entry) == {"title", "severity", "why", "cure"}
        assert entry["severity"] in ("error", "warning", "note")
