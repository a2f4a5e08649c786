"""The folder of a split: written whole or not at all, and never into a folder that holds something else."""

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

from curate.atomic_files import umask
from curate.audit.folder import beside
from curate.audit.parquet import Audit
from curate.audit.table_files import first_line, read_table
from curate.errors import InputError, UsageError
from curate.images.names import unicode_name
from curate.splits.files import sync
from curate.splits.lists import PLAN_FILE, write_lists
from curate.splits.plan import PLAN, Action, PlanRow

SPLIT_FILE, AUDIT = "split.json", "audit"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Split:
    """A plan in its folder.

    Attributes:
        path: the folder.
        rows: the plan.
        source: the dataset or audit that was pruned, resolved.
        root: the dataset's folder, resolved.
        layout: of the dataset.
    """

    path: Path
    rows: tuple[PlanRow, ...]
    source: Path
    root: Path
    layout: str

    @property
    def digest(self) -> str:
        """The sha256 of the plan."""
        return plan_digest(self.rows)


def plan_digest(rows: tuple[PlanRow, ...]) -> str:
    """Return the sha256 of a plan, the same for each version of curate: journals hold it."""
    text = repr(rows).replace("PlanRow(path=", "Row(path=")  # the name of the class in version 0.1
    return hashlib.sha256(text.encode()).hexdigest()


def default_output(dataset: str | Path) -> Path:
    """Return where a split goes when nobody says: `<dataset>-clean` in the working folder."""
    name = Path(os.path.realpath(dataset)).name.split(".")[0]
    return Path(f"{name or 'dataset'}-clean")


def is_split(folder: Path) -> bool:
    """Return whether `curate prune` wrote a folder."""
    return (folder / SPLIT_FILE).is_file() and (folder / PLAN_FILE).is_file()


def refuse_place(output: Path, sources: Mapping[str, Path]) -> None:
    """Refuse an output folder that `curate prune` did not write, or that lies inside or above what it reads.

    Args:
        output: the split's folder.
        sources: what the command reads, by its name in messages ("the dataset", "the audit").

    Raises:
        UsageError: the folder cannot be used.
    """
    place = Path(os.path.realpath(output))
    for what, source in sources.items():
        real = Path(os.path.realpath(source))
        if real.is_relative_to(place) and real.parent != place:
            raise UsageError(f"-o {output}: {what} {source} lies inside; choose another folder")
        if place.is_relative_to(real) and real.is_dir():
            raise UsageError(f"-o {output}: lies inside {what} {source}; choose a folder outside")
    if os.path.lexists(output) and not is_split(output):
        if output.is_dir() and not output.is_symlink() and not any(output.iterdir()):
            return
        raise UsageError(f"-o {output}: exists and was not written by curate prune; choose a new folder")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `output` if the block succeeds, and is removed otherwise.

    Raises:
        WriteError: no permission, or the disk is full.
        UsageError: something was put at `output` meanwhile.
    """
    with beside(output, "the split") as folder:
        yield folder
        _rename(folder, Path(os.path.realpath(output)))


def _rename(folder: Path, output: Path) -> None:
    folder.chmod(0o777 & ~umask())
    for file in folder.rglob("*"):
        if file.is_file():
            sync(file)
    try:
        os.rename(folder, output)  # replaces an empty folder, never one with content
    except OSError as error:
        if output.exists():
            raise UsageError(
                f"-o {output}: something was put there meanwhile; nothing was written, choose a new folder"
            ) from error
        raise


def write_split(folder: Path, audit: Audit, split: Split, **more: Any) -> None:
    """Write a plan, its lists and `split.json` into a folder.

    Args:
        folder: in which the split is made, before it gets its own name.
        audit: that was pruned.
        split: the plan.
        more: facts for `split.json`.
    """
    facts = {
        "curate_split": VERSION,
        "curate": audit.run.get("curate", ""),
        "source": os.path.realpath(split.source),
        "root": str(split.root),
        "layout": audit.run.get("layout", ""),
        "fingerprint": audit.run.get("fingerprint", ""),
        "rounds": (audit.run.get("settings") or {}).get("rounds"),
        **more,
    }
    write_lists(folder, audit, split.rows)
    (folder / SPLIT_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="ascii")


def read_split(folder: Path) -> Split:
    """Read a plan back.

    Raises:
        InputError: `curate prune` did not write the folder, or it is damaged.
    """
    if not is_split(folder):
        raise InputError(f"{unicode_name(str(folder))}: not a folder of curate prune (no {SPLIT_FILE}, no {PLAN_FILE})")
    try:
        facts = json.loads((folder / SPLIT_FILE).read_text(encoding="ascii"))
        rows = _rows(read_table(folder / PLAN_FILE))
        return Split(
            path=folder, rows=rows, source=Path(facts["source"]), root=Path(facts["root"]), layout=str(facts["layout"])
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise InputError(
            f"{unicode_name(str(folder))}: damaged ({first_line(error)}); make the split again in a new folder"
        ) from error


def _rows(table: pa.Table) -> tuple[PlanRow, ...]:
    if "former_split" not in table.column_names:  # of version 0.3.0 and earlier
        table = table.append_column("former_split", pa.nulls(len(table), pa.string()))
    rows: list[dict[str, Any]] = table.select(PLAN.names).cast(PLAN).to_pylist()
    return tuple(PlanRow(**(row | {"action": Action(row["action"])})) for row in rows)
