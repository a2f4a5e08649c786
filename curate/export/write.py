"""An audit in a format that another library loads, and the lines of Python that load it from there.

A CSV is one file above its images, as `curate scan` wants a manifest; the other formats are a new folder, written whole
or not at all. Nothing is written into the dataset, and no original is touched.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, assert_never

from curate.atomic_files import replacing_file, umask
from curate.audit.folder import beside
from curate.errors import UsageError, WriteError
from curate.export.formats import ExportFormat
from curate.export.huggingface import imagefolder_lines, write_imagefolder
from curate.export.judged import coco, fiftyone_data, fiftyone_labels
from curate.export.source import ExportSource
from curate.images.names import unicode_name
from curate.splits.lists import ANOMALIB, CLEAN_CSV, anomalib_table, manifest

COCO, LABELS, DATA, METRICS = "coco.json", "labels.json", "data.json", "metrics.json"
JUDGED = frozenset((ExportFormat.COCO, ExportFormat.FIFTYONE))
"""Formats of all judged images, with what was found; the others are of the clean set."""

OBJECTS = {"dtype": {"image_path": "object", "mask_path": "object"}}
"""How anomalib must read its table: it puts paths into these columns, which pandas 3 refuses in columns of text."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The result of an export.

    Attributes:
        place: the file or folder that was written.
        images: how many images it lists.
        lines: of Python that load it; for a CSV, of a shell.
    """

    place: str
    images: int
    lines: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for `--format json`."""
        return asdict(self)


def export(source: ExportSource, to: ExportFormat, output: Path | None = None, *, copy: bool = False) -> Exported:
    """Write an audit in a format.

    Args:
        source: see `read_source`.
        to: the format.
        output: the file of a CSV, the new folder of another format; None for a name of its own, see `default_output`.
        copy: for Hugging Face, copy the images; by default they are linked.

    Raises:
        UsageError: something is there, or it lies where it cannot be used.
        WriteError: no room or no permission.
    """
    if copy and to is not ExportFormat.HUGGINGFACE:
        raise UsageError(f"--copy: is for --to huggingface; --to {to} only lists the images")
    place = Path(os.path.abspath(output or default_output(source, to)))  # noqa: PTH100  keeps links
    if os.path.lexists(place) and not (place.is_dir() and to is not ExportFormat.CSV and not any(place.iterdir())):
        raise UsageError(f"-o {unicode_name(str(output or place))}: exists; choose a new place with -o, or remove it")
    if to is ExportFormat.CSV:
        _write_csv(source, place)
    else:
        _write_folder(source, to, place, copy=copy)
    images = len(source.judged) if to in JUDGED else len(source.clean)
    return Exported(place=unicode_name(str(place)), images=images, lines=tuple(_lines(source, to, place)))


def default_output(source: ExportSource, to: ExportFormat) -> Path:
    """Return where an export goes when nobody says: `<dataset>-<format>` here; a CSV beside the dataset's folder."""
    if to is ExportFormat.CSV:
        return source.root.parent / f"{source.name}-clean.csv"
    return Path(f"{source.name}-{to}")


def _write_csv(source: ExportSource, place: Path) -> None:
    folder = Path(os.path.realpath(place.parent))
    if not source.root.is_relative_to(folder):
        raise UsageError(
            f"-o {unicode_name(str(place))}: a manifest must lie above the images that it lists; choose a file in "
            f"{unicode_name(str(source.root))} or in a folder above"
        )
    below = source.root.relative_to(folder)
    try:
        with replacing_file(place) as file:
            file.write(manifest([replace(row, path=(below / row.path).as_posix()) for row in source.clean]))
    except OSError as error:
        raise WriteError(
            f"{unicode_name(str(place))}: the export cannot be written ({error.strerror or error}); choose another "
            "file with -o"
        ) from error


def _write_folder(source: ExportSource, to: ExportFormat, place: Path, *, copy: bool) -> None:
    if Path(os.path.realpath(place)).is_relative_to(source.root):
        raise UsageError(f"-o {unicode_name(str(place))}: lies inside the dataset; choose a folder outside")
    with beside(place, "the export") as folder:
        if to is ExportFormat.HUGGINGFACE:
            write_imagefolder(source, folder, copy=copy)
        for name, content in _files(source, to).items():
            (folder / name).write_bytes(content)
        folder.chmod(0o777 & ~umask())
        os.rename(folder, place)  # replaces an empty folder, never one with content


def _files(source: ExportSource, to: ExportFormat) -> dict[str, bytes]:
    """Return the files of a format by name."""
    match to:
        case ExportFormat.ANOMALIB:
            return {ANOMALIB: anomalib_table(source.rows)}
        case ExportFormat.FIFTYONE:
            return {LABELS: fiftyone_labels(source).encode(), DATA: fiftyone_data(source).encode()}
        case ExportFormat.COCO:
            return {COCO: coco(source).encode()}
        case ExportFormat.MLFLOW:
            rows = [replace(row, path=str(source.files[row.path])) for row in source.clean]
            return {CLEAN_CSV: manifest(rows), METRICS: _metrics(source).encode()}
        case ExportFormat.HUGGINGFACE | ExportFormat.CSV:
            return {}
    assert_never(to)


def _metrics(source: ExportSource) -> str:
    """Return numbers of an audit for MLflow: images, those of the clean set, and the estimated contamination."""
    estimate = source.audit.run.get("contamination")
    facts: dict[str, float] = {"images": len(source.audit.tables["images"]), "clean_images": len(source.clean)}
    if isinstance(estimate, dict):
        names = (("contamination", "estimate"), ("contamination_low", "low"), ("contamination_high", "high"))
        facts |= {name: float(estimate[key]) for name, key in names if isinstance(estimate.get(key), int | float)}
    return json.dumps(facts, indent=1) + "\n"


def _lines(source: ExportSource, to: ExportFormat, place: Path) -> list[str]:
    """Return what loads an export from where it lies; paths are literals of Python, which escape what is hostile."""
    root, name = str(source.root), source.name
    match to:
        case ExportFormat.ANOMALIB:
            options = f"root={root!r}, pd_kwargs={OBJECTS!r}"
            call = f"Tabular.from_file(name={name!r}, file_path={str(place / ANOMALIB)!r}, {options})"
            return ["from anomalib.data import Tabular", f"datamodule = {call}"]
        case ExportFormat.FIFTYONE:
            kind = "fiftyone.types.FiftyOneImageClassificationDataset"
            paths = f"data_path={str(place / DATA)!r}, labels_path={str(place / LABELS)!r}"
            return ["import fiftyone", f"dataset = fiftyone.Dataset.from_dir(dataset_type={kind}, {paths})"]
        case ExportFormat.COCO:
            call = f"CocoDetection(root={root!r}, annFile={str(place / COCO)!r})"
            return ["from torchvision.datasets import CocoDetection", f"dataset = {call}"]
        case ExportFormat.MLFLOW:
            return _mlflow_lines(source, place)
        case ExportFormat.HUGGINGFACE:
            return imagefolder_lines(source, place)
        case ExportFormat.CSV:
            return ["import pandas", f"images = pandas.read_csv({str(place)!r}, dtype=str)"]
    assert_never(to)


def _mlflow_lines(source: ExportSource, place: Path) -> list[str]:
    file = str(place / CLEAN_CSV)
    targets = ', targets="label"' if any(row.label for row in source.clean) else ""
    return [
        "import json, mlflow, pandas",
        "from pathlib import Path",
        f"images = pandas.read_csv({file!r}, dtype=str)",
        f"dataset = mlflow.data.from_pandas(images, source={file!r}, name={source.name!r}{targets})",
        "with mlflow.start_run():",
        '    mlflow.log_input(dataset, context="training")',
        f"    mlflow.log_metrics(json.loads(Path({str(place / METRICS)!r}).read_text()))",
    ]
