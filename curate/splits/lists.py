"""The clean set as lists that curate, Hugging Face and anomalib read.

Their paths are relative to the dataset's root, and so to `data/` of an apply.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.audit.effective_verdicts import without_decisions
from curate.audit.parquet import Audit
from curate.images.split_names import is_training
from curate.splits.plan import Action, PlanRow, is_sidecar, plan_table

PLAN_FILE, CLEAN_CSV, CLEAN_PARQUET = "plan.parquet", "clean.csv", "clean.parquet"
METADATA, ANOMALIB = "metadata.csv", "anomalib.csv"
NORMAL, ABNORMAL = 0, 1
NORMAL_NAMES = frozenset(("good", "ok", "normal", "nominal", "pass", "defect_free"))
CLEAN = frozenset((Action.KEEP, Action.CARRY))


def clean_images(rows: Iterable[PlanRow]) -> list[PlanRow]:
    """Return the images of the clean set: those kept, and those of splits that were not judged."""
    return [row for row in rows if row.action in CLEAN and not row.mask_of]


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as UTF-8 CSV with a header."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def manifest(rows: Sequence[PlanRow], key: str = "path") -> bytes:
    """Return images as a manifest: the column `key`, and label, split, group if any image has one."""
    extra = [name for name in ("label", "split", "group") if any(getattr(row, name) for row in rows)]
    return as_csv((key, *extra), ((row.path, *(getattr(row, name) for name in extra)) for row in rows))


def anomalib_table(rows: Sequence[PlanRow]) -> bytes:
    """Return a clean set as the CSV of anomalib's Tabular: image_path, label_index, split, mask_path.

    label_index is 0 for normal and 1 for abnormal. A label with a normal name (good, ok, ...) is normal; if no label
    has one, all are normal: every class is a nominal set. anomalib trains on normal images only, so abnormal ones go
    to the split test, as does every split but train; and it expects masks of all abnormal images or of none. Abnormal
    images that --resplit proposed for train are left out: in test they could leak.
    """
    images = clean_images(rows)
    normal = _normal_labels({row.label for row in images})
    images = [row for row in images if row.label in normal or row.former_split is None or not _is_training(row)]
    masks = {row.mask_of: row.path for row in reversed(rows) if row.mask_of and not is_sidecar(row.path)}
    abnormal = [row for row in images if row.label not in normal]
    if not all(row.path in masks for row in abnormal):
        masks = {}
    return as_csv(
        ("image_path", "label_index", "split", "mask_path"), (_anomalib(row, normal, masks) for row in images)
    )


def _normal_labels(labels: set[str]) -> set[str]:
    named = {label for label in labels if label.rpartition("/")[2].lower() in NORMAL_NAMES}
    return named or labels


def _anomalib(row: PlanRow, normal: set[str], masks: Mapping[str, str]) -> tuple[str, int, str, str]:
    is_normal = row.label in normal
    training = is_normal and _is_training(row)
    mask = "" if is_normal else masks.get(row.path, "")
    return row.path, NORMAL if is_normal else ABNORMAL, "train" if training else "test", mask


def _is_training(row: PlanRow) -> bool:
    return not row.split or is_training(row.split)


def clean_table(audit: Audit, rows: Sequence[PlanRow]) -> pa.Table:
    """Return the rows of `images.parquet` that are kept, with all their columns; the split is that of the plan."""
    splits = {row.path: row.split for row in rows if row.action is Action.KEEP}
    images = without_decisions(audit.tables["images"])
    kept = images.filter(pc.is_in(images["path"], value_set=pa.array(list(splits), type=pa.string())))
    at = kept.schema.get_field_index("split")
    planned = pa.array([splits[path] for path in kept["path"].to_pylist()], type=pa.string())
    return kept.set_column(at, kept.schema.field(at), planned)


def write_lists(folder: Path, audit: Audit, rows: Sequence[PlanRow]) -> None:
    """Write plan.parquet and the lists of the clean set into a folder."""
    images = clean_images(rows)
    with (folder / PLAN_FILE).open("wb") as file:
        pq.write_table(plan_table(rows), file, compression="zstd")
    with (folder / CLEAN_PARQUET).open("wb") as file:
        pq.write_table(clean_table(audit, rows), file, compression="zstd")
    (folder / CLEAN_CSV).write_bytes(manifest(images))
    (folder / METADATA).write_bytes(manifest(images, "file_name"))
    (folder / ANOMALIB).write_bytes(anomalib_table(rows))
