"""A clean set as an imagefolder of Hugging Face: a folder a split, with `metadata.jsonl` beside its images.

Images are links to the originals, or copies, under numbers: `load_dataset` takes words such as "test" in any name
below its folder for a split.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from curate.export.source import ExportSource
from curate.splits.plan import PlanRow

METADATA = "metadata.jsonl"
TRAIN = "train"
SPLITS = frozenset((TRAIN, "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation"))
"""Names of folders that `load_dataset` takes for splits."""


def write_imagefolder(source: ExportSource, folder: Path, *, copy: bool = False) -> None:
    """Write an imagefolder.

    Args:
        source: see `read_source`.
        folder: into which; empty.
        copy: copy the images; by default they are linked.

    Raises:
        OSError: no room, no permission, or the file system has no links.
    """
    for split, rows in by_split(source).items():
        (folder / split).mkdir()
        lines = []
        for number, row in enumerate(rows):
            file = source.files[row.path]
            name = f"{number:06d}{file.suffix.lower()}"
            if copy:
                shutil.copyfile(file, folder / split / name)
            else:
                (folder / split / name).symlink_to(file)
            lines.append(json.dumps({"file_name": name} | _cells(row, source.clean)) + "\n")
        (folder / split / METADATA).write_text("".join(lines), encoding="utf-8")


def by_split(source: ExportSource) -> dict[str, list[PlanRow]]:
    """Return the images of each split, by the name of its folder."""
    splits: dict[str, list[PlanRow]] = {}
    for row in source.clean:
        splits.setdefault(re.sub(r"[^\w-]+", "-", row.split).strip("-") or TRAIN, []).append(row)
    return splits


def _cells(row: PlanRow, rows: list[PlanRow]) -> dict[str, str]:
    extra = [name for name in ("label", "group") if any(getattr(one, name) for one in rows)]
    return {"path": row.path} | {name: getattr(row, name) for name in extra}


def imagefolder_lines(source: ExportSource, place: Path) -> list[str]:
    """Return the Python that loads an imagefolder from where it lies."""
    first = "from datasets import load_dataset"
    splits = by_split(source)
    if set(splits) <= SPLITS:
        return [first, f'dataset = load_dataset("imagefolder", data_dir={str(place)!r})']
    folders = ", ".join(
        f'{split!r}: load_dataset("imagefolder", data_dir={str(place / split)!r}, split="train")' for split in splits
    )
    return [first, f"dataset = {{{folders}}}"]
