"""Manifests in three file types say the same, and every mistake names its file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from curate.errors import InputError
from curate.images.sources import list_images
from curate.records import Layout, Listing

ROWS = [
    {"path": "b/2.png", "label": "good", "split": "train", "group": "lot 7"},
    {"path": "a.png", "label": "bad", "split": "test", "group": "lot 8"},
]


def csv_text(rows: list[dict[str, str]], delimiter: str = ",") -> bytes:
    return "\n".join(delimiter.join(row) for row in [list(rows[0]), *(row.values() for row in rows)]).encode()


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        path.write_bytes(csv_text(rows))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    else:
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def columns(listing: Listing) -> list[tuple[str, ...]]:
    return list(zip(listing.paths, listing.labels, listing.splits, listing.groups, strict=True))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_manifest_gives_label_split_and_group(tmp_path, suffix):
    listing = list_images(write(tmp_path / f"list{suffix}", ROWS))
    assert (listing.layout, listing.root) == (Layout.MANIFEST, tmp_path)
    assert columns(listing) == [("a.png", "bad", "test", "lot 8"), ("b/2.png", "good", "train", "lot 7")]
    assert list_images(tmp_path / f"list{suffix}", split="train").paths == ("b/2.png",)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_manifest_may_have_paths_alone(tmp_path, suffix):
    listing = list_images(write(tmp_path / f"list{suffix}", [{"path": "x.png"}]))
    assert columns(listing) == [("x.png", "", "", "")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_as_spreadsheets_write_it(tmp_path, delimiter):
    text = b"\xef\xbb\xbf" + csv_text(ROWS, delimiter).replace(b"\n", b"\r\n") + b"\r\n\r\n"
    (tmp_path / "list.csv").write_bytes(text)
    assert len(list_images(tmp_path / "list.csv")) == 2


def test_quoted_names_keep_newlines_and_commas(tmp_path):
    (tmp_path / "list.csv").write_bytes(b'path,label\n"new\nline.png",good\n"a,b ""c"".png",bad\n')
    assert list_images(tmp_path / "list.csv").paths == ('a,b "c".png', "new\nline.png")


def test_numbers_are_labels_and_null_is_none(tmp_path):
    rows = [{"path": "a.png", "label": 0}, {"path": "b.png", "label": None}, {"path": "c.png", "label": 3}]
    for suffix in (".jsonl", ".parquet"):
        assert list_images(write(tmp_path / f"list{suffix}", rows)).labels == ("0", "", "3")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_cell_reads_as_a_person_would_write_it(tmp_path, suffix):
    told = {
        "floats": ([1.0, float("nan"), None, 2.5, -0.0], ("1", "", "", "2.5", "0")),
        "truths": ([True, False, None], ("true", "false", "")),
        "texts": (["1.0", "nan", "True"], ("1.0", "", "True")),
    }
    for cells, expected in told.values():
        rows = [{"path": f"{number}.png", "label": cell, "group": cell} for number, cell in enumerate(cells)]
        listing = list_images(write(tmp_path / f"list{suffix}", rows))
        assert listing.labels == listing.groups == expected


def test_texts_become_valid_unicode_whatever_json_escapes(tmp_path):
    row = r'{"path": "a\ud800.png", "label": "b\ud800", "split": "c\udcff", "group": "d\ud83d\ude00"}'
    (tmp_path / "list.jsonl").write_text(row, encoding="ascii")
    listing = list_images(tmp_path / "list.jsonl")
    assert columns(listing) == [(r"a\ud800.png", r"b\ud800", r"c\xff", "d\N{GRINNING FACE}")]


@pytest.mark.parametrize("column", ["label", "split", "group"])
def test_a_text_of_1000_characters_is_taken_and_a_longer_one_refused(tmp_path, column):
    for suffix, place in ((".csv", "line 3"), (".jsonl", "line 2"), (".parquet", "row 2")):
        rows = [{"path": "a.png", column: "x" * 1000}, {"path": "b.png", column: "y"}]
        assert len(list_images(write(tmp_path / f"list{suffix}", rows))) == 2
        rows[1][column] = "y" * 1001
        with pytest.raises(InputError, match=f"list{suffix}, {place}: {column} has 1001 characters") as caught:
            list_images(write(tmp_path / f"list{suffix}", rows))
        assert "\n" not in str(caught.value)


def test_a_parquet_with_a_column_twice_is_refused(tmp_path):
    table = pa.table([["a.png"], ["good"], ["bad"]], names=["path", "label", "label"])
    pa.parquet.write_table(table, tmp_path / "list.parquet")
    with pytest.raises(InputError, match="the column 'label' occurs twice"):
        list_images(tmp_path / "list.parquet")


def test_columns_without_a_name_may_be_many(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"path,,\na.png,,\n")
    assert list_images(tmp_path / "list.csv").paths == ("a.png",)


def test_an_absolute_path_inside_the_folder_is_taken(tmp_path):
    listing = list_images(write(tmp_path / "list.csv", [{"path": f"{tmp_path}/x/../a.png"}]))
    assert listing.paths == ("a.png",)


@pytest.mark.parametrize("path", ["../a.png", "x/../../a.png", "/etc/passwd", "..", "."])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, path, suffix):
    manifest = write(tmp_path / f"list{suffix}", [{"path": "ok.png"}, {"path": path}])
    with pytest.raises(InputError, match=f"list{suffix}, (line [23]|row 2): .* leads out of the manifest's folder"):
        list_images(manifest)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("list.csv", b"", "has no rows"),
        ("list.csv", b"path,label\n", "has no rows"),
        ("list.csv", b"file,label\na.png,good\n", "line 1: there is no column 'path' \\(columns: file, label\\)"),
        ("list.csv", b"path\na.png\nb.png\na.png\n", "line 4: 'a.png' is listed already in line 2"),
        ("list.csv", b"path\na.png\nx/../a.png\n", "line 3: 'a.png' is listed already in line 2"),
        ("list.csv", b"path,label,label\na.png,x,y\n", "line 1: the column 'label' occurs twice"),
        ("list.csv", b"path,label, path\na.png,x,y\n", "line 1: the column 'path' occurs twice"),
        ("list.csv", b"path,label\na.png\n", "line 2: 1 cells where the header has 2"),
        ("list.csv", b"path\na.png,b\n", "line 2: 2 cells where the header has 1"),
        ("list.csv", b"path,label\n,good\n", "line 2: the path is empty"),
        ("list.csv", b"path\na.png\n\xff.png\n", "line 3: not UTF-8"),
        ("list.csv", b'path\na.png\n"b.png\n', "line 3: not valid CSV"),
        ("list.csv", b"path\n" + b"a" * 200_000, "line 2: not valid CSV"),
        ("list.jsonl", b"", "has no rows"),
        ("list.jsonl", b'{"path": "a.png"}\n{"path": \n', "line 2: not valid JSON"),
        ("list.jsonl", b'{"path": "a.png"}\n[]\n', "line 2: not an object with a text 'path'"),
        ("list.jsonl", b'{"path": 7}\n', "line 1: not an object with a text 'path'"),
        ("list.jsonl", b'{"path": "a.png", "label": ["x"]}\n', "line 1: label is list"),
        ("list.jsonl", b"[" * 100_000, "line 1: not valid JSON"),
        ("list.parquet", b"", "not a Parquet file"),
        ("list.parquet", b"PAR1 no PAR1", "not a Parquet file"),
        ("list.xlsx", b"", "a folder or a manifest"),
    ],
)
def test_a_broken_manifest_is_one_sentence_that_names_the_place(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        list_images(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_parquet_without_path_or_with_a_damaged_page_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no column 'path' \\(columns: file\\)"):
        list_images(write(tmp_path / "list.parquet", [{"file": "a.png"}]))
    data = bytearray(write(tmp_path / "list.parquet", ROWS).read_bytes())
    data[8:60] = bytes(52)
    (tmp_path / "list.parquet").write_bytes(data)
    with pytest.raises(InputError, match="not a Parquet file"):
        list_images(tmp_path / "list.parquet")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_hugging_face_metadata_in_the_root(tmp_path, suffix):
    rows = [{"file_name": "train/1.png", "label": "good"}, {"file_name": "test/2.png", "label": "bad"}]
    write(tmp_path / f"metadata{suffix}", rows)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "unlisted.png").touch()
    listing = list_images(tmp_path)
    assert listing.layout is Layout.HUGGINGFACE
    assert columns(listing) == [("test/2.png", "bad", "test", ""), ("train/1.png", "good", "train", "")]
    assert listing.ignored == {"not in the metadata": 1}


def test_hugging_face_metadata_in_split_folders(tmp_path):
    write(tmp_path / "train" / "metadata.csv", [{"file_name": "1.png", "label": "good"}])
    write(tmp_path / "validation" / "metadata.jsonl", [{"file_name": "1.png", "label": "bad"}])
    listing = list_images(tmp_path)
    assert columns(listing) == [
        ("train/1.png", "good", "train", ""),
        ("validation/1.png", "bad", "validation", ""),
    ]
    assert list_images(tmp_path, split="validation").labels == ("bad",)


def test_a_metadata_file_of_another_tool_is_not_taken_for_hugging_faces(tmp_path):
    (tmp_path / "metadata.csv").write_text("camera,exposure\n7,20\n", encoding="utf-8")
    (tmp_path / "a.png").touch()
    assert list_images(tmp_path).layout is Layout.FLAT
    with pytest.raises(InputError, match="no column 'file_name'"):
        list_images(tmp_path, layout=Layout.HUGGINGFACE)
