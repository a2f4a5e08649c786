"""Reading and writing an audit: a folder that is there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError, UsageError, WriteError
from curate.reports.schema import SCHEMA_VERSION, TABLES

if TYPE_CHECKING:
    import pandas as pd

RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result of a scan.

    Attributes:
        tables: "images", "findings" and "duplicates" as Arrow tables; columns in `curate.reports.schema`.
        run: how the audit came about: version, settings, backbone, dataset fingerprint, timings.
        path: the folder it lies in; None while it was not written.
    """

    tables: Mapping[str, pa.Table]
    run: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image file found, also the unreadable ones."""
        return self.tables["images"].to_pandas()

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row per image and finding."""
        return self.tables["findings"].to_pandas()

    @cached_property
    def duplicates(self) -> pd.DataFrame:
        """One row per image that repeats an earlier one."""
        return self.tables["duplicates"].to_pandas()


def is_audit(folder: Path) -> bool:
    """Tell whether a folder was written by `curate scan`."""
    return (folder / RUN_FILE).is_file() and (folder / "images.parquet").is_file()


def read_audit(folder: str | Path) -> Audit:
    """Read an audit from its folder. Needs no torch.

    Raises:
        InputError: the folder is no audit, a table is damaged, or a newer version wrote it.
    """
    folder = Path(folder)
    if not is_audit(folder):
        raise InputError(f"{folder}: not an audit (no {RUN_FILE}, no images.parquet); make one with `curate scan`")
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in TABLES}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{folder}: a damaged audit ({_first_line(error)}); scan the dataset again") from error
    if run.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{folder}: schema version {run.get('schema_version')}, but this curate reads {SCHEMA_VERSION}; scan again"
        )
    return Audit(tables=tables, run=run, path=folder)


def check_output(output: Path, dataset: Path | None, *, force: bool) -> None:
    """Refuse an output folder before any work is done for it.

    Raises:
        UsageError: it lies inside the dataset, is a file, is not empty, or is an audit and `force` is not set.
        WriteError: its parent cannot be written to.
    """
    if dataset is not None and output.resolve().is_relative_to(dataset.resolve()):
        raise UsageError(
            f"-o {output}: lies inside the dataset {dataset} and would be audited with it; choose a folder outside"
        )
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"-o {output}: is there and is not a folder; choose another name")
    if output.is_dir() and is_audit(output) and not force:
        raise UsageError(f"-o {output}: there is an audit already; add --force to replace it, or choose another folder")
    if output.is_dir() and not is_audit(output) and any(output.iterdir()):
        raise UsageError(f"-o {output}: a folder with other files in it, which are never replaced; choose a new folder")
    with _beside(output):
        pass


def write_audit(audit: Audit, output: Path, draw: Callable[[Path], None]) -> Audit:
    """Write an audit beside its place, then rename it; an audit that was there is replaced as a whole.

    Args:
        audit: the tables and the run.
        output: the folder; see `check_output`.
        draw: adds the pictures to the folder it is given.

    Raises:
        WriteError: no permission, or the disk is full; the old audit is then untouched.
    """
    with _beside(output) as folder:
        for name, table in audit.tables.items():
            pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
        draw(folder)
        text = json.dumps(audit.run, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / RUN_FILE).write_text(text + "\n", encoding="utf-8")
        _swap(folder, output)
    return Audit(tables=audit.tables, run=audit.run, path=output)


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """Give a temporary folder beside `output`, gone at the end whatever happens."""
    folder: Path | None = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name[:100]}.", dir=output.parent))
        yield folder
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(
            f"{output}: the audit cannot be written ({reason}); choose another folder with -o, or make room"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _swap(folder: Path, output: Path) -> None:
    """Put `folder` in the place of `output`; what was there is removed only after that."""
    folder.chmod(0o777 & ~_umask())
    if not output.exists():
        os.rename(folder, output)
        return
    old = folder.with_name(folder.name + ".old")
    os.rename(output, old)
    try:
        os.rename(folder, output)
    except OSError:
        os.rename(old, output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
