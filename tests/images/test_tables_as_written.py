"""Tables as people and programs write them: what is unambiguous is read, all else is one sentence."""

from __future__ import annotations

import io
import json
import os
import unicodedata
from pathlib import Path

import pytest

from curate.errors import InputError, UsageError
from curate.images.decode import DecodeConfig, read_image
from curate.images.levels import Levels
from curate.images.sources import list_images
from curate.records import ImageFacts, Layout, Listing


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(folder: Path, text: str | bytes, **more: object) -> Listing:
    data = text.encode() if isinstance(text, str) else text
    (folder / "list.csv").write_bytes(data)
    return list_images(folder / "list.csv", **more)


@pytest.mark.parametrize(
    "row",
    [
        "good/a b.png , good",
        '"good/a b.png", "good"',
        "good\\a b.png,good",
        ".\\good\\a b.png,good",
        "GOOD/A B.PNG,good",
        "./good//a b.png,good\t",
    ],
)
def test_a_row_names_the_file_that_it_means(tmp_path: Path, row: str):
    touch(tmp_path, "good/a b.png")
    listing = listed(tmp_path, f"path, label\n{row}\n")
    assert (listing.paths, listing.labels) == (("good/a b.png",), ("good",))
    assert listing.files[0].exists()


def test_the_head_of_a_table_may_be_in_capitals(tmp_path: Path):
    touch(tmp_path, "a.png")
    assert listed(tmp_path, "Path,LABEL,Group\na.png,good,7\n").groups == ("7",)
    with pytest.raises(InputError, match="no column 'path'"):
        listed(tmp_path, "Path,PATH\na.png,b.png\n")


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("stored", ["NFC", "NFD"])
def test_accents_may_be_composed_or_not(tmp_path: Path, written: str, stored: str):
    touch(tmp_path, unicodedata.normalize(stored, "gehäuse/prüf é.png"))
    listing = listed(tmp_path, "path\n" + unicodedata.normalize(written, "gehäuse/prüf é.png") + "\n")
    assert listing.files[0].exists()


def test_a_name_that_is_there_as_it_is_written_is_never_another(tmp_path: Path):
    touch(tmp_path, " a.png", "a.png", "b\\c.png", "b/c.png", "D.png", "d.png")
    listing = listed(tmp_path, "path,label\n a.png,1\nb\\c.png,2\nd.png,3\n")
    assert set(listing.paths) == {" a.png", "b\\c.png", "d.png"}


def test_two_files_that_a_row_may_mean_are_one_sentence(tmp_path: Path):
    touch(tmp_path, "A.png", "a.PNG")
    with pytest.raises(InputError, match=r"line 2: 'a\.png' may be 'A\.png' or 'a\.PNG': write the one that is meant"):
        listed(tmp_path, "path\na.png\n")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_table_may_be_utf_16_as_spreadsheets_write_it(tmp_path: Path, encoding: str):
    touch(tmp_path, "a.png")
    assert listed(tmp_path, "path\tlabel\r\na.png\tgood\r\n".encode(encoding)).labels == ("good",)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_on_stdin_may_have_a_byte_order_mark_or_be_utf_16(tmp_path: Path, encoding: str):
    touch(tmp_path, "one/a.png", "one/b.png")
    data = f"{tmp_path}/one/a.png\r\n{tmp_path}/one/b.png\r\n".encode(encoding)
    data = b"\xfe\xff" + data if encoding == "utf-16-be" else data
    listing = list_images("-", stdin=io.BytesIO(data))
    assert listing.paths == ("a.png", "b.png")
    assert all(file.exists() for file in listing.files)


def test_a_list_on_stdin_is_read_as_kindly_as_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    touch(tmp_path, "one/a b.png", "one/c.png")
    monkeypatch.chdir(tmp_path)
    listing = list_images("-", stdin=io.BytesIO(b'"one\\a b.png"\n one/c.png \n'))
    assert all(file.exists() for file in listing.files)
    assert len(listing) == 2


@pytest.mark.parametrize("word", ["", " ", "nan", "NaN", "-", "NULL", "N/A", "<NA>"])
def test_words_for_nothing_are_no_label_split_or_group(tmp_path: Path, word: str):
    listing = listed(tmp_path, f"path,label,split,group\na.png,{word},{word},{word}\nb.png,x,y,z\n")
    assert (listing.labels, listing.splits, listing.groups) == (("", "x"), ("", "y"), ("", "z"))


def test_none_is_a_label_and_no_group(tmp_path: Path):
    listing = listed(tmp_path, "path,label,group\na.png,none,none\n")
    assert (listing.labels, listing.groups) == (("none",), ("",))


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (("1.0", "2.0", ""), ("1", "2", "")),
        (("1.0", "1", "scratch"), ("1", "1", "scratch")),
        (("1.0", "1.5", "2.0"), ("1.0", "1.5", "2.0")),  # versions, or measures
        (("007", "008.0", "1"), ("007", "008", "1")),
    ],
)
def test_a_whole_number_is_the_same_label_with_and_without_a_point(
    tmp_path: Path, cells: tuple[str, ...], labels: tuple[str, ...]
):
    rows = "".join(f"{number}.png,{cell}\n" for number, cell in enumerate(cells))
    assert listed(tmp_path, f"path,label\n{rows}").labels == labels


def test_paths_of_another_machine_are_read_by_their_end(tmp_path: Path):
    touch(tmp_path, "good/a.png", "good/b.png")
    rows = "/mnt/line 7/parts/good/a.png\n/mnt/line 7/parts/good/b.png\n/mnt/line 7/parts/good/gone.png\n"
    assert listed(tmp_path, f"path\n{rows}").paths == ("good/a.png", "good/b.png", "good/gone.png")
    windows = "path\nD:\\parts\\good\\a.png\nD:\\parts\\good\\b.png\n"
    assert listed(tmp_path, windows).paths == ("good/a.png", "good/b.png")


def test_a_path_that_begins_otherwise_than_the_others_of_another_machine_is_refused(tmp_path: Path):
    touch(tmp_path, "a.png", "b.png")
    with pytest.raises(InputError, match=r"line 3: '/two/b\.png' leads out .*--root"):
        listed(tmp_path, "path\n/one/a.png\n/two/b.png\n")


@pytest.mark.parametrize("path", ["good/a.png", "{images}/good/a.png", "/elsewhere/images/good/a.png"])
def test_a_root_is_where_the_paths_of_a_manifest_begin(tmp_path: Path, path: str):
    images = touch(tmp_path / "images", "good/a.png")
    (tmp_path / "tables").mkdir()
    listing = listed(tmp_path / "tables", f"path\n{path.format(images=images)}\n", root=images)
    assert (listing.root, listing.paths) == (images, ("good/a.png",))


def test_a_root_that_does_not_fit_is_one_sentence(tmp_path: Path):
    touch(tmp_path, "a.png", "list.csv")
    with pytest.raises(UsageError, match=r"--root .*: is for a manifest"):
        list_images(tmp_path, root=tmp_path)
    with pytest.raises(UsageError, match=r"--root .*: there is no such folder"):
        list_images(tmp_path / "list.csv", root=tmp_path / "gone")


def test_a_missing_file_is_told_with_the_nearest_that_is_there(tmp_path: Path):
    touch(tmp_path, "good/part_0017.png", "good/part_0018.jpg", "goods.txt")
    for missing, near in (("good/part_0018.png", "good/part_0018.jpg"), ("god/part_0017.png", f"{tmp_path.name}/good")):
        facts = read_image(tmp_path / missing, size=lambda w, h: (w, h), levels=Levels(), config=DecodeConfig())
        assert isinstance(facts, ImageFacts)
        assert facts.skip_reason.endswith(f"; the nearest is {near}")


@pytest.mark.parametrize("header", ["profile_name,camera", "mask_file_name,x", '"the file_name",x'])
def test_a_column_that_only_contains_the_word_is_no_metadata_of_hugging_face(tmp_path: Path, header: str):
    touch(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_text(f"{header}\n1,2\n")
    assert list_images(tmp_path).layout is Layout.FLAT


def test_two_metadata_files_that_agree_are_read_as_one(tmp_path: Path):
    touch(tmp_path, "a.png", "b.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,good\nb.png,good\n")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "label": "good", "group": "7"}) + "\n")
    listing = list_images(tmp_path)
    assert (listing.paths, listing.groups) == (("a.png", "b.png"), ("7", ""))
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "label": "bad"}) + "\n")
    with pytest.raises(InputError, match=r"metadata\.csv and metadata\.jsonl: both list 'a\.png', and differ"):
        list_images(tmp_path)


def test_metadata_of_another_tool_beside_hugging_faces_is_left_alone(tmp_path: Path):
    touch(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_text("camera,exposure\n7,20\n")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "label": "good"}) + "\n")
    assert list_images(tmp_path).labels == ("good",)


def test_many_rows_that_name_no_file_are_read_in_seconds(tmp_path: Path):
    rows = "".join(f"good/{number}.png,good\n" for number in range(30_000))
    started = os.times().user
    assert len(listed(tmp_path, f"path,label\n{rows}")) == 30_000
    assert os.times().user - started < 15
