"""Where an audit may be written, and its atomic replacement. No other file is ever overwritten or removed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from curate.atomic_files import umask
from curate.audit.schema import TABLES
from curate.errors import CouldNotFinish, UsageError, WriteError

RUN_FILE, SHEET, MAPS = "run.json", "flagged.png", "maps"
REPORT, THUMBNAILS, DECISIONS = "report.html", "report-thumbnails", "decisions.parquet"
OWN_FILES = frozenset((RUN_FILE, SHEET, REPORT, DECISIONS, *(f"{name}.parquet" for name in TABLES)))
OWN_MAP = re.compile(r"\d{7,}\.png")
OWN_THUMBNAIL = re.compile(r"\d{7,}-(card|near|dot)\.webp")
OWN_FOLDERS = {MAPS: OWN_MAP, THUMBNAILS: OWN_THUMBNAIL}


def map_name(image: int) -> str:
    """Return the path of an image's anomaly map below the audit's folder, by its row in the listing."""
    return f"{MAPS}/{image:07d}.png"


def is_audit(folder: Path) -> bool:
    """Return whether `curate scan` wrote a folder."""
    return (folder / RUN_FILE).is_file() and (folder / "images.parquet").is_file()


def check_output(output: Path, sources: Mapping[str, Path], *, force: bool) -> None:
    """Refuse an unusable output folder before the run starts; the check leaves nothing behind.

    Args:
        output: the audit's folder.
        sources: what the run reads, by its name in messages ("the dataset", "the cache"): none may lie in the output.
        force: an existing audit may be replaced.

    Raises:
        UsageError: the output lies inside the dataset or holds a source, is a file or the working folder, holds a file
            that is not part of an audit, or is an audit and `force` is not set.
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
def claiming(output: Path) -> Iterator[None]:
    """Keep other scans from the same output while the block runs, where the system supports locks.

    A killed process leaves an unlocked, hidden file beside the output, which the next scan takes over.

    Raises:
        CouldNotFinish: another scan writes into it.
    """
    place = _real(output)
    lock = place.with_name(f".curate-{hashlib.sha256(os.fsencode(place.name)).hexdigest()[:16]}.lock")
    made = [parent for parent in place.parents if not parent.exists()]
    descriptor = _locked(lock, output)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                lock.unlink()
            os.close(descriptor)
            for parent in made:
                with suppress(OSError):
                    parent.rmdir()


def _locked(lock: Path, output: Path) -> int | None:
    """Return the descriptor of a locked file; None where there are no locks, or no permission to make the file."""
    try:
        import fcntl
    except ImportError:  # Windows: the later of two scans replaces the audit of the earlier one
        return None
    with suppress(OSError):
        lock.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if Path(lock).exists() and os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                    return descriptor
                os.close(descriptor)  # of a scan that has just ended
            except BlockingIOError as error:
                os.close(descriptor)
                raise CouldNotFinish(
                    f"-o {output}: another curate is writing an audit there; wait until it has finished, or choose "
                    "another folder"
                ) from error
            except OSError:
                os.close(descriptor)
                raise
    return None


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """Give a temporary folder that replaces `output` if the block succeeds; see `check_output`.

    Raises:
        WriteError: no permission, or the disk is full; `output` is untouched.
        UsageError: a file that is not part of an audit appeared in `output` meanwhile; it is untouched, too.
    """
    with beside(output, "the audit") as folder:
        yield folder
        _refuse_content(output, force=True)
        _keep_decisions(_real(output), folder)
        _swap(folder, _real(output))


def _refuse_place(output: Path, sources: Mapping[str, Path]) -> None:
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"-o {output}: exists and is not a folder; choose another name")
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
        raise UsageError(f"-o {output}: holds other files, which are never replaced; choose a new folder")
    if not force:
        raise UsageError(f"-o {output}: holds an audit; add --force to replace it, or choose another folder")
    unknown = foreign(output)
    if unknown:
        raise UsageError(
            f"-o {output}: {unknown} is not part of the audit and would be lost; move it away, or choose another folder"
        )


def foreign(audit: Path) -> str:
    """Return the path, below an audit's folder, of the first entry that `curate scan` did not write; "" if none."""
    for entry in sorted(audit.iterdir()):
        own = OWN_FOLDERS.get(entry.name)
        if own is not None and entry.is_dir() and not entry.is_symlink():
            pictures = sorted(entry.iterdir())
            unknown = [f"{entry.name}/{p.name}" for p in pictures if not (own.fullmatch(p.name) and _is_plain(p))]
            if unknown:
                return unknown[0]
        elif entry.name not in OWN_FILES or not _is_plain(entry):
            return entry.name
    return ""


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises where links lead in a circle


def _is_plain(entry: Path) -> bool:
    return entry.is_file() and not entry.is_symlink()


@contextmanager
def beside(output: Path, what: str) -> Iterator[Path]:
    """Give a temporary folder beside `output`; at the end it is removed, and so are new parents that stayed empty.

    Args:
        output: the name that the block may rename the folder to.
        what: its name in the error ("the audit").

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
        for parent in made:  # a parent of the output is not empty, and stays
            with suppress(OSError):
                parent.rmdir()


def _swap(folder: Path, output: Path) -> None:
    """Rename `folder` to `output`; the folder that was there is removed only after that."""
    folder.chmod(0o777 & ~umask())
    if not output.exists():
        os.rename(folder, output)
        return
    old = folder.with_name(folder.name + ".old")
    try:
        os.rename(output, old)
        os.rename(folder, output)
    finally:  # also after Ctrl-C: one of the two audits is in place
        if not output.exists():
            os.rename(old, output)
        shutil.rmtree(old, ignore_errors=True)


def _keep_decisions(old: Path, new: Path) -> None:
    """Copy the decisions into the audit that replaces the old one; each holds while its image is unchanged."""
    if (old / DECISIONS).is_file():
        shutil.copy2(old / DECISIONS, new / DECISIONS)
