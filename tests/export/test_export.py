"""What `curate export` writes is loaded by the lines that it prints, where the library that they need is installed."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.kill_splits import write_fake_audit
from PIL import Image

from curate.audit.parquet import read_audit
from curate.errors import CouldNotFinish, InputError, UsageError
from curate.export.formats import ExportFormat
from curate.export.source import read_source
from curate.export.write import Exported, export
from curate.images.sources import list_images
from tests.audit.drawn_audit import draw_audit
from tests.cli.test_main import curate
from tests.plates import ROOT, draw_plate
from tests.splits.pruning import REJECTED, decide


def write(home: Path, to: ExportFormat, place: str | None = "out", **more: bool) -> Exported:
    """Export the audit in a folder."""
    return export(read_source(read_audit(home / "audit")), to, None if place is None else home / place, **more)


def loaded(exported: Exported) -> dict[str, Any]:
    """The names that the printed lines leave."""
    names: dict[str, Any] = {}
    exec("\n".join(exported.lines), names)
    return names


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Twelve plates in the layout of MVTec AD, three with a hole and its mask, and an audit that rejects two."""
    rng, root = np.random.default_rng(0), tmp_path / "set"
    for index in range(12):
        name = f"test/hole/{index:03d}.png" if index % 4 == 3 else f"train/good/{index:03d}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        draw_plate(rng, hole=index % 4 == 3, side=32).save(root / name)
        if index % 4 == 3:
            mask = root / f"ground_truth/hole/{index:03d}_mask.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (32, 32), 255).save(mask)
    write_fake_audit(tmp_path / "audit", root, REJECTED)
    return root


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Two classes of images, some flagged with a box, one unreadable."""
    draw_audit(tmp_path)
    (tmp_path / "set" / "cast" / "broken.png").write_bytes(b"")
    return tmp_path


def test_a_csv_lies_above_its_images_and_is_a_manifest_of_curate_scan(parts: Path, tmp_path: Path):
    exported = write(tmp_path, ExportFormat.CSV, None)
    assert Path(exported.place) == tmp_path / "set-clean.csv"
    listing = list_images(Path(exported.place))
    assert len(listing.paths) == exported.images == 10
    assert all(file.is_file() for file in listing.files)
    assert not {f"set/{path}" for path in REJECTED} & set(listing.paths)
    assert sorted(loaded(exported)["images"]["path"]) == sorted(listing.paths)
    with pytest.raises(UsageError, match=r"set-clean.csv: exists; choose a new place"):
        write(tmp_path, ExportFormat.CSV, None)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UsageError, match="a manifest must lie above the images that it lists"):
        write(tmp_path, ExportFormat.CSV, "elsewhere/clean.csv")


def test_decisions_come_before_verdicts(parts: Path, tmp_path: Path):
    decide(tmp_path / "audit", **{"train/good/000.png": "keep", "train/good/001.png": "reject"})
    listing = list_images(Path(write(tmp_path, ExportFormat.CSV, None).place))
    assert "set/train/good/000.png" in listing.paths
    assert "set/train/good/001.png" not in listing.paths


def test_tools_that_show_images_get_what_was_decided(drawn: Path):
    decide(drawn / "audit", **{"cast/00000.png": "keep"})
    write(drawn, ExportFormat.COCO, "coco")
    images = json.loads((drawn / "coco" / "coco.json").read_text())["images"]
    first = next(one for one in images if one["file_name"] == "cast/00000.png")
    assert [first[name] for name in ("verdict", "effective_verdict", "decision")] == ["mislabelled", "keep", "keep"]
    write(drawn, ExportFormat.FIFTYONE)
    labels = json.loads((drawn / "out" / "labels.json").read_text())["labels"]
    decided = [one for one in labels.values() if "decision" in one["attributes"]]
    assert [(one["label"], one["attributes"]["verdict"], "confidence" in one) for one in decided] == [
        ("keep", "mislabelled", False)
    ]


@pytest.mark.parametrize("copy", [False, True])
def test_hugging_face_loads_splits_and_labels(parts: Path, tmp_path: Path, copy: bool):
    exported = write(tmp_path, ExportFormat.HUGGINGFACE, copy=copy)
    names = sorted(p.name for p in (tmp_path / "out").rglob("*.png"))
    assert len(names) == exported.images == 10
    assert all(p.is_symlink() != copy for p in (tmp_path / "out").rglob("*.png"))
    pytest.importorskip("datasets", reason="datasets is not installed")
    program = (
        "\n".join(exported.lines)
        + "\nimport json; print(json.dumps({s: [[r['path'], r['label'], r['image'].size] for r in d] "
        "for s, d in dataset.items()}))"
    )
    env = {"HF_HOME": str(tmp_path / "hf"), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    assert set(rows) == {"train", "test"}
    assert {path: label for split in rows.values() for path, label, _ in split}["test/hole/003.png"] == "hole"
    assert {path for path, _, _ in rows["train"]} == {
        f"train/good/{n:03d}.png" for n in range(11) if n % 4 != 3 and f"train/good/{n:03d}.png" not in REJECTED
    }


def test_a_split_that_hugging_face_does_not_know_is_loaded_by_its_own_folder(drawn: Path, tmp_path: Path):
    source = read_source(read_audit(drawn / "audit"))
    rows = tuple(replace(row, split="../hold out") for row in source.rows)
    exported = export(replace(source, rows=rows), ExportFormat.HUGGINGFACE, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["hold-out"]
    assert (
        f"'hold-out': load_dataset(\"imagefolder\", data_dir='{tmp_path}/out/hold-out', split=\"train\")"
        in (exported.lines[-1])
    )


def test_anomalib_gets_the_root_that_its_table_needs(parts: Path, tmp_path: Path):
    exported = write(tmp_path, ExportFormat.ANOMALIB)
    assert f"root='{parts.resolve()}'" in exported.lines[-1]
    with (tmp_path / "out" / "anomalib.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all((parts / row["image_path"]).is_file() for row in rows)
    assert all((parts / row["mask_path"]).is_file() for row in rows if row["mask_path"])
    pytest.importorskip("anomalib", reason="anomalib is not installed")
    datamodule = loaded(exported)["datamodule"]
    datamodule.setup()
    read = (datamodule.train_data, datamodule.val_data, datamodule.test_data)
    assert sum(map(len, read)) == 10
    assert sum(int((one.samples.label_index == 1).sum()) for one in read[1:]) == 3


def test_sidecar_files_are_no_part_of_an_export(parts: Path, tmp_path: Path):
    (parts / "test/hole/003.json").write_text("{}")
    source = read_source(read_audit(tmp_path / "audit"))
    assert {row.path for row in source.rows if row.mask_of} == {
        f"ground_truth/hole/{index:03d}_mask.png" for index in (3, 7, 11)
    }
    assert set(source.files) == {row.path for row in source.rows}


def test_coco_has_the_findings_as_boxes_of_the_judged_images(drawn: Path):
    exported = write(drawn, ExportFormat.COCO)
    assert f"root='{drawn / 'set'}'" in exported.lines[-1]
    content = json.loads((drawn / "out" / "coco.json").read_text())
    assert len(content["images"]) == exported.images == 40
    assert all((drawn / "set" / image["file_name"]).is_file() for image in content["images"])
    assert {one["name"] for one in content["categories"]} == {"LBL001"}
    assert [one["bbox"] for one in content["annotations"]] == [[20, 20, 30, 30]] * 8
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    dataset = loaded(exported)["dataset"]
    assert sum(len(boxes) for _, boxes in dataset) == 8


def test_fiftyone_gets_a_verdict_for_every_image_of_its_manifest(drawn: Path):
    exported = write(drawn, ExportFormat.FIFTYONE)
    labels = json.loads((drawn / "out" / "labels.json").read_text())
    files = json.loads((drawn / "out" / "data.json").read_text())
    assert set(labels) == {"classes", "labels"}
    assert set(labels["labels"]) == set(files)
    assert len(files) == exported.images == 40
    assert all(Path(file).is_absolute() and Path(file).is_file() for file in files.values())
    assert {one["label"] for one in labels["labels"].values()} <= set(labels["classes"])
    flagged = next(one for one in labels["labels"].values() if one["label"] == "mislabelled")
    assert flagged["confidence"] == pytest.approx(0.97)
    assert flagged["attributes"]["findings"] == ["LBL001"]
    assert "FiftyOneImageClassificationDataset" in exported.lines[-1]


def test_mlflow_gets_the_clean_set_with_its_labels_and_the_contamination(drawn: Path):
    exported = write(drawn, ExportFormat.MLFLOW)
    metrics = json.loads((drawn / "out" / "metrics.json").read_text())
    assert metrics == {
        "images": 41, "clean_images": 32, "contamination": 0.2, "contamination_low": 0.1, "contamination_high": 0.3
    }  # fmt: skip
    with (drawn / "out" / "clean.csv").open() as file:
        assert all(Path(row["path"]).is_file() for row in csv.DictReader(file))
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    program = f"import os; os.chdir({str(drawn)!r})\n" + "\n".join(exported.lines) + "\nprint(dataset.profile)"
    done = subprocess.run([sys.executable, "-c", program], cwd=drawn, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'num_rows': 32" in done.stdout


@pytest.mark.parametrize("to", list(ExportFormat))
def test_an_export_touches_no_original_and_replaces_nothing(parts: Path, tmp_path: Path, to: ExportFormat):
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in parts.rglob("*") if file.is_file()}
    write(tmp_path, to)
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in parts.rglob("*") if file.is_file()} == before
    with pytest.raises(UsageError, match="out: exists; choose a new place with -o, or remove it"):
        write(tmp_path, to)
    if to is not ExportFormat.CSV:
        with pytest.raises(UsageError, match="lies inside the dataset"):
            write(tmp_path, to, "set/out")
    if to is not ExportFormat.HUGGINGFACE:
        with pytest.raises(UsageError, match="--copy: is for --to huggingface"):
            write(tmp_path, to, "other", copy=True)


def test_equal_audits_give_equal_bytes(drawn: Path):
    for to in (ExportFormat.ANOMALIB, ExportFormat.FIFTYONE, ExportFormat.COCO, ExportFormat.MLFLOW):
        one, other = write(drawn, to, f"{to}-1"), write(drawn, to, f"{to}-2")
        files = [{p.name: p.read_bytes() for p in Path(place.place).iterdir()} for place in (one, other)]
        assert files[0] == files[1]


def test_a_changed_image_and_a_name_that_no_list_can_hold_are_refused(parts: Path, tmp_path: Path):
    (parts / "train/good/001.png").write_bytes(b"other")
    with pytest.raises(CouldNotFinish, match=r"train/good/001\.png"):
        write(tmp_path, ExportFormat.ANOMALIB)


def test_a_name_that_is_not_utf_8_is_refused(parts: Path, tmp_path: Path):
    os.rename(parts / "train/good/001.png", os.fsencode(parts / "train/good") + b"/\xff.png")
    write_fake_audit(tmp_path / "another", parts, set())
    with pytest.raises(InputError, match=r"\\xff.png: its name is not UTF-8, so no list can name it; rename it"):
        read_source(read_audit(tmp_path / "another"))


def test_the_command_prints_the_place_and_the_lines(parts: Path, tmp_path: Path):
    done = curate("export", "audit", "--to", "anomalib", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"10 images: {tmp_path}/set-anomalib"
    assert "from anomalib.data import Tabular" in done.stdout
    done = curate("export", "audit", "--to", "csv", "--format", "json", "--quiet", cwd=tmp_path)
    assert json.loads(done.stdout)["images"] == 10
    done = curate("export", "audit", "--to", "yolo", cwd=tmp_path)
    assert done.returncode == 2
    assert re.search("anomalib", done.stderr)
    done = curate("export", "nowhere", "--to", "csv", cwd=tmp_path)
    assert (done.returncode, "not an audit" in done.stderr) == (2, True)


def test_export_imports_no_torch():
    program = "import sys, curate.export.write, curate.export.source; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
