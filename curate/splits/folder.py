"""The folder of a split: written whole or not at all, beside nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError, UsageError
from curate.images.names import unicode_name
from curate.reports.parquet import Audit
from curate.reports.place import beside, umask
from curate.splits.files import to_disk
from curate.splits.lists import PLAN_FILE, write_lists
from curate.splits.plan import PLAN, Action, Row, plan_table

SPLIT_FILE, AUDIT = "split.json", "audit"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Split:
    """A plan in its folder.

    Attributes:
        path: the folder.
        rows: the plan.
        source: what was asked to be pruned, resolved.
        root: the dataset's folder, resolved.
        layout: of the dataset.
    """

    path: Path
    rows: tuple[Row, ...]
    source: Path
    root: Path
    layout: str

    @property
    def digest(self) -> str:
        """The sha256 of the plan."""
        return plan_digest(self.rows)


def plan_digest(rows: tuple[Row, ...]) -> str:
    """Return the sha256 of a plan."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def is_split(folder: Path) -> bool:
    """Tell whether a folder was written by `curate prune`."""
    return (folder / SPLIT_FILE).is_file() and (folder / PLAN_FILE).is_file()


def refuse_place(output: Path, sources: Mapping[str, Path]) -> None:
    """Refuse a folder that is not `curate prune`'s own, or lies in or above what it reads.

    Raises:
        UsageError: one of these.
    """
    place = Path(os.path.realpath(output))
    for what, source in sources.items():
        real = Path(os.path.realpath(source))
        if real.is_relative_to(place) and real.parent != place:
            raise UsageError(f"-o {output}: {what} {source} lies inside: choose another folder")
        if place.is_relative_to(real) and real.is_dir():
            raise UsageError(f"-o {output}: lies inside {what} {source}: choose a folder outside")
    if os.path.lexists(output) and not is_split(output):
        if output.is_dir() and not output.is_symlink() and not any(output.iterdir()):
            return
        raise UsageError(f"-o {output}: is there and was not written by curate prune: choose a new folder")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Give a folder that becomes `output` when the block ends well, and nothing otherwise.

    Raises:
        WriteError: no permission, or the disk is full.
        UsageError: something has come to lie there since.
    """
    with beside(output, "the split") as folder:
        yield folder
        _become(folder, Path(os.path.realpath(output)))


def _become(folder: Path, place: Path) -> None:
    folder.chmod(0o777 & ~umask())
    for file in folder.rglob("*"):
        if file.is_file():
            to_disk(file)
    try:
        os.rename(folder, place)  # over an empty folder, never over one that holds something
    except OSError as error:
        if place.exists():
            raise UsageError(f"-o {place}: something came to lie there in the meantime: nothing was written") from error
        raise


def write_split(folder: Path, audit: Audit, rows: tuple[Row, ...], *, source: Path, root: Path) -> None:
    """Write a plan, its lists and what they are about into a folder."""
    about = {
        "curate_split": VERSION,
        "curate": audit.run.get("curate", ""),
        "source": os.path.realpath(source),
        "root": str(root),
        "layout": audit.run.get("layout", ""),
        "fingerprint": audit.run.get("fingerprint", ""),
        "rounds": (audit.run.get("settings") or {}).get("rounds"),
    }
    write_lists(folder, audit, rows, plan_table(rows))
    (folder / SPLIT_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="ascii")


def read_split(folder: Path) -> Split:
    """Read a plan back.

    Raises:
        InputError: the folder is none of `curate prune`, or damaged.
    """
    if not is_split(folder):
        raise InputError(f"{unicode_name(str(folder))}: not a folder of curate prune (no {SPLIT_FILE}, no {PLAN_FILE})")
    try:
        about = json.loads((folder / SPLIT_FILE).read_text(encoding="ascii"))
        with (folder / PLAN_FILE).open("rb") as file:
            rows = _rows(pq.read_table(file, schema=PLAN, use_threads=False, pre_buffer=False))
        return Split(
            path=folder, rows=rows, source=Path(about["source"]), root=Path(about["root"]), layout=str(about["layout"])
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{unicode_name(str(folder))}: damaged ({said}): make the split again in a new folder"
        ) from error


def _rows(table: pa.Table) -> tuple[Row, ...]:
    told: list[dict[str, Any]] = table.to_pylist()
    return tuple(Row(**(row | {"action": Action(row["action"])})) for row in told)
