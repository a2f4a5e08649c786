"""Where an audit may lie, and how it gets there: whole or not at all, and never in place of anything else."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from curate.errors import UsageError, WriteError
from curate.reports.schema import TABLES

RUN_FILE, SHEET, MAPS = "run.json", "flagged.png", "maps"
REPORT, THUMBNAILS, DECISIONS = "report.html", "report-thumbnails", "decisions.parquet"
OWN_FILES = frozenset((RUN_FILE, SHEET, REPORT, DECISIONS, *(f"{name}.parquet" for name in TABLES)))
OWN_MAP = re.compile(r"\d{7,}\.png")
OWN_THUMBNAIL = re.compile(r"\d{7,}-(card|near|dot)\.webp")
OWN_FOLDERS = {MAPS: OWN_MAP, THUMBNAILS: OWN_THUMBNAIL}


def map_name(image: int) -> str:
    """Return the path of an image's map below the audit's folder, by its row in the listing."""
    return f"{MAPS}/{image:07d}.png"


def is_audit(folder: Path) -> bool:
    """Tell whether a folder was written by `curate scan`."""
    return (folder / RUN_FILE).is_file() and (folder / "images.parquet").is_file()


def check_output(output: Path, sources: Mapping[str, Path], *, force: bool) -> None:
    """Refuse an output folder before any work is done for it; nothing is left behind.

    Args:
        output: where the audit is to lie.
        sources: what the run reads, by what it is ("the dataset", "the cache"): none may lie in the output.
        force: an audit may be replaced.

    Raises:
        UsageError: it lies inside the dataset or holds a source, is a file or the working folder, holds anything
            that is not of an audit, or is an audit and `force` is not set.
        WriteError: its parent cannot be written to.
    """
    try:
        _refuse_place(output, sources)
        _refuse_content(output, force=force)
    except OSError as error:
        raise UsageError(f"-o {output}: {error.strerror or error}; choose another folder") from error
    with beside(output, "the audit"):
        pass


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """Give a folder that takes the place of `output` when the block ends well; see `check_output`.

    Raises:
        WriteError: no permission, or the disk is full; what was there is then untouched.
        UsageError: something that is not of an audit has come to lie there since; it is untouched, too.
    """
    with beside(output, "the audit") as folder:
        yield folder
        _refuse_content(output, force=True)
        _keep_decisions(_real(output), folder)
        _swap(folder, _real(output))


def _refuse_place(output: Path, sources: Mapping[str, Path]) -> None:
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"-o {output}: is there and is not a folder; choose another name")
    place, dataset = _real(output), sources.get("the dataset")
    if dataset is not None and place.is_relative_to(_real(dataset)):
        raise UsageError(
            f"-o {output}: lies inside the dataset {dataset} and would be audited with it; choose a folder outside"
        )
    for what, source in sources.items():
        if _real(source).is_relative_to(place):
            raise UsageError(f"-o {output}: {what} {source} lies inside and would be replaced; choose another folder")
    if Path.cwd().is_relative_to(place) or os.path.ismount(place):
        raise UsageError(f"-o {output}: the working folder or a mounted one cannot be replaced; choose a folder in it")


def _refuse_content(output: Path, *, force: bool) -> None:
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not is_audit(output):
        raise UsageError(f"-o {output}: a folder with other files in it, which are never replaced; choose a new folder")
    if not force:
        raise UsageError(f"-o {output}: there is an audit already; add --force to replace it, or choose another folder")
    stranger = foreign(output)
    if stranger:
        raise UsageError(
            f"-o {output}: {stranger} is not of the audit and would be lost; move it away, or choose another folder"
        )


def foreign(audit: Path) -> str:
    """Return the path, below an audit's folder, of the first entry that `curate scan` did not write; "" if none."""
    for entry in sorted(audit.iterdir()):
        own = OWN_FOLDERS.get(entry.name)
        if own is not None and entry.is_dir() and not entry.is_symlink():
            pictures = sorted(entry.iterdir())
            strange = [f"{entry.name}/{p.name}" for p in pictures if not (own.fullmatch(p.name) and _is_plain(p))]
            if strange:
                return strange[0]
        elif entry.name not in OWN_FILES or not _is_plain(entry):
            return entry.name
    return ""


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises where links lead in a circle


def _is_plain(entry: Path) -> bool:
    return entry.is_file() and not entry.is_symlink()


@contextmanager
def beside(output: Path, what: str) -> Iterator[Path]:
    """Give a temporary folder beside `output`; it is gone at the end, and so are parents made for nothing.

    Args:
        output: what the folder may be renamed to.
        what: is written there ("the audit"), for the error.

    Raises:
        WriteError: no permission, or the disk is full.
    """
    place = _real(output)
    made = [parent for parent in place.parents if not parent.exists()]
    folder: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".curate-", dir=place.parent))
        yield folder
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(
            f"{output}: {what} cannot be written ({reason}); choose another folder with -o, or make room"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        for parent in made:  # one that holds the output is not empty, and stays
            with suppress(OSError):
                parent.rmdir()


def _swap(folder: Path, output: Path) -> None:
    """Put `folder` in the place of `output`; what was there is removed only after that."""
    folder.chmod(0o777 & ~umask())
    if not output.exists():
        os.rename(folder, output)
        return
    old = folder.with_name(folder.name + ".old")
    try:
        os.rename(output, old)
        os.rename(folder, output)
    finally:  # also after Ctrl-C: one of the two audits stands
        if not output.exists():
            os.rename(old, output)
        shutil.rmtree(old, ignore_errors=True)


def _keep_decisions(old: Path, new: Path) -> None:
    """Carry what people decided into the audit that takes the old one's place; each holds for an unchanged image."""
    if (old / DECISIONS).is_file() and not (new / DECISIONS).exists():
        shutil.copy2(old / DECISIONS, new / DECISIONS)


def umask() -> int:
    """Return what the process takes away from the mode of what it makes."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
