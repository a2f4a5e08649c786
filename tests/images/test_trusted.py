"""Which images are known to be nominal, however they are named, and what of them is of use."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import InputError, UsageError
from curate.images.sources import list_images
from curate.images.trusted import TrustedFiles, find_trusted


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def found(dataset: Path, trusted: object | None, split: str | None = None) -> TrustedFiles:
    listing = list_images(dataset, split=split)
    return find_trusted(listing, None if trusted is None else str(trusted), dataset)


def own(files: TrustedFiles) -> list[str]:
    """Return the trusted images of the dataset."""
    listing = files.listing
    return [path for path, mark in zip(listing.paths, listing.trusted, strict=True) if mark and path[0] != "/"]


def outside(files: TrustedFiles) -> list[tuple[str, str]]:
    """Return name and label of the trusted images outside the dataset."""
    listing = files.listing
    first = len(listing) - listing.outside
    return [(path.rpartition("/")[2], label) for path, label in zip(listing.paths, listing.labels, strict=True)][first:]


def test_without_the_option_none_is_trusted(tmp_path: Path):
    assert not any(found(touch(tmp_path, "a.png", "b.png"), None).listing.trusted)


def test_a_folder_below_the_dataset_marks_its_images(tmp_path: Path):
    root = touch(tmp_path, "good/a.png", "good/golden/b.png", "bad/c.png")
    files = found(root, root / "good" / "golden")
    assert own(files) == ["good/golden/b.png"]
    assert files.listing.outside == 0


def test_a_link_to_an_image_of_the_dataset_is_that_image(tmp_path: Path):
    root = touch(tmp_path / "set", "a.png", "b.png")
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "x.png").symlink_to(root / "b.png")
    assert own(found(root, tmp_path / "golden")) == ["b.png"]


def test_a_folder_elsewhere_lies_outside_behind_the_dataset(tmp_path: Path):
    files = found(touch(tmp_path / "set", "a.png"), touch(tmp_path / "golden", "1.png", "sub/2.png"))
    assert own(files) == []
    assert outside(files) == [("1.png", ""), ("2.png", "")]  # the dataset has no labels: neither have they
    assert all(path.startswith("/") for path in files.listing.paths[1:])
    assert files.listing.without_outside().paths == ("a.png",)


def test_a_split_of_the_dataset_is_trusted_whether_it_is_judged_or_not(tmp_path: Path):
    root = touch(tmp_path, "train/good/a.png", "test/good/b.png", "test/hole/c.png")
    train, both = found(root, "test"), found(root, "test", split="all")
    assert outside(train) == [("b.png", "good")]
    assert train.of_no_class == 1
    assert own(both) == ["test/good/b.png", "test/hole/c.png"]


def test_a_split_comes_before_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = touch(tmp_path / "set", "train/good/a.png", "test/good/b.png")
    touch(tmp_path, "test/x.png")
    monkeypatch.chdir(tmp_path)
    assert outside(found(root, "test")) == [("b.png", "good")]
    assert outside(found(root, "./test")) == [("x.png", "good")]


def test_of_a_manifest_all_rows_are_trusted_but_those_that_say_no(tmp_path: Path):
    root = touch(tmp_path, "a.png", "b.png", "c.png", "d.png")
    rows = [{"path": "a.png", "trusted": ""}, {"path": "b.png", "trusted": "No"}, {"path": "c.png", "trusted": "true"}]
    assert own(found(root, write(tmp_path / "list.csv", rows))) == ["a.png", "c.png"]
    assert own(found(root, write(tmp_path / "plain.csv", [{"path": "d.png"}]))) == ["d.png"]


def test_without_the_option_the_column_of_the_datasets_own_manifest_counts(tmp_path: Path):
    words = ["true", "1", "YES", "1.0", "false", "0", "no", ""]
    rows = [{"path": f"{i}.png", "trusted": word} for i, word in enumerate(words)]
    manifest = write(tmp_path / "list.csv", rows)
    assert own(found(manifest, None)) == ["0.png", "1.png", "2.png", "3.png"]
    assert own(found(manifest, manifest)) == ["0.png", "1.png", "2.png", "3.png", "7.png"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_truth_values_of_other_manifests_are_read_as_well(tmp_path: Path, suffix: str):
    manifest, marks = tmp_path / f"list{suffix}", [True, False, None]
    if suffix == ".parquet":
        pq.write_table(pa.table({"path": ["0.png", "1.png", "2.png"], "trusted": marks}), manifest)
    else:
        rows = [{"path": f"{i}.png", "trusted": mark} for i, mark in enumerate(marks)]
        manifest.write_text("\n".join(map(json.dumps, rows)))
    assert own(found(manifest, None)) == ["0.png"]
    assert own(found(manifest, manifest)) == ["0.png", "2.png"]


def test_another_word_in_that_column_is_refused_with_its_line(tmp_path: Path):
    write(tmp_path / "list.csv", [{"path": "a.png", "trusted": "1"}, {"path": "b.png", "trusted": "maybe"}])
    with pytest.raises(InputError, match=r"list.csv, line 3: trusted is 'maybe': write true or false"):
        list_images(tmp_path / "list.csv")


def test_with_a_root_the_paths_of_the_dataset_and_of_a_trusted_manifest_begin_there(tmp_path: Path):
    images = touch(tmp_path / "images", "a.png", "b.png")
    (tmp_path / "tables").mkdir()
    rows = [{"path": "a.png", "split": "one"}, {"path": "b.png", "split": "two"}]
    manifest = write(tmp_path / "tables" / "list.csv", rows)
    checked = write(tmp_path / "tables" / "checked.csv", [{"path": "b.png"}])
    listing = list_images(manifest, root=images)
    for trusted in (checked, images / "..", "two"):
        files = find_trusted(listing, str(trusted), manifest, root=images)
        assert own(files) == (["a.png", "b.png"] if trusted == images / ".." else ["b.png"])
        assert files.listing.named == images


def test_a_folder_is_of_the_class_that_it_is_named_after(tmp_path: Path):
    root = touch(tmp_path / "set", "bolt/a.png", "nut/b.png")
    golden = touch(tmp_path / "golden", "bolt/1.png", "nut/2.png", "ring/3.png")
    files = found(root, golden)
    assert outside(files) == [("1.png", "bolt"), ("2.png", "nut")]
    assert files.of_no_class == 1
    assert outside(found(root, golden / "nut")) == [("2.png", "nut")]


def test_images_of_no_class_of_the_dataset_are_refused_if_there_are_no_others(tmp_path: Path):
    root = touch(tmp_path / "set", "bolt/a.png", "nut/b.png")
    with pytest.raises(UsageError, match=r"none of the 1 images has a label of the dataset \('bolt', 'nut'\)"):
        found(root, touch(tmp_path / "golden", "1.png"))


def test_of_a_dataset_of_one_class_images_without_a_label_are_of_that_class(tmp_path: Path):
    root = touch(tmp_path / "set", "train/good/a.png")
    assert outside(found(root, touch(tmp_path / "golden", "1.png"))) == [("1.png", "good")]


@pytest.mark.parametrize("trusted", ["gone", "-", "\0", "x" * 5000, "al\nl"])
def test_what_is_neither_split_nor_folder_nor_manifest_is_refused_in_one_sentence(tmp_path: Path, trusted: str):
    root = touch(tmp_path, "train/good/a.png", "test/good/b.png")
    with pytest.raises(UsageError, match=r"no such split of the dataset \(its splits: test, train\)") as caught:
        found(root, trusted)
    assert str(caught.value).startswith("--trusted")


def test_an_empty_folder_is_refused(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: holds no image"):
        found(touch(tmp_path / "set", "a.png"), tmp_path / "empty")
    write(tmp_path / "no.csv", [{"path": "a.png", "trusted": "no"}])
    with pytest.raises(UsageError, match="its column trusted says no throughout"):
        found(tmp_path / "set", tmp_path / "no.csv")
