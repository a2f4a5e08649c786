"""Undo an apply: put every original back, verified, and remove what the apply made.

Everything is checked before the first file is touched: a file that somebody changed or added since stops the undoing,
or is left alone with `force`. A file is only removed if an original with the same bytes exists.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.errors import CouldNotFinish, Interrupted, WriteError
from curate.images.names import unicode_name
from curate.splits.files import hash_or_empty, plural, refuse_outside
from curate.splits.journal import (
    DATA,
    PARTIAL,
    QUARANTINE,
    Journal,
    JournalEntry,
    State,
    locked,
    reach,
    read_journal,
    remove_journal,
    sync_folder,
)
from curate.splits.modes import Mode
from curate.splits.transfer import PART, move


@dataclass(frozen=True, kw_only=True)
class Undone:
    """The result of an undoing.

    Attributes:
        mode: of the apply that was undone; None if there was none.
        root: the dataset.
        files: number of files moved back, or removed from `data/`.
        left: paths of files that were left alone, since they were changed or are missing; only with `force`.
    """

    mode: Mode | None
    root: Path | None = None
    files: int = 0
    left: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values for `--format json`."""
        root = unicode_name(str(self.root)) if self.root is not None else ""
        mode = self.mode.value if self.mode is not None else ""
        return {"mode": mode, "dataset": root, "files": self.files, "left": list(self.left)}

    def lines(self) -> tuple[str, ...]:
        """Return the result in words."""
        if self.mode is None:
            return ("Nothing is applied here; there is nothing to undo.",)
        root = unicode_name(str(self.root))
        files = plural(self.files, "file")
        result = f"{files} moved back to {root}" if self.mode is Mode.MOVE else f"{files} removed"
        return (f"--apply {self.mode} is undone: {result}.", *(f"left alone: {name}" for name in self.left))


def restore(folder: Path, *, force: bool = False, dataset: Path | None = None) -> Undone:
    """Undo what was applied or begun in a folder of `curate prune`; its plan and lists stay.

    Args:
        folder: of the split.
        force: leave alone what was changed or is missing, and undo the rest.
        dataset: the dataset's present location; None for where it was.

    Raises:
        InputError: the journal is damaged or names a path outside the dataset.
        CouldNotFinish: a file was changed, is missing or is in the way; or another curate is at work. Nothing was
            touched.
        WriteError: no room or no permission; the same command resumes.
    """
    with locked(folder):
        journal = read_journal(folder)
        if journal is None:
            return Undone(mode=None)
        if dataset is not None:
            journal = replace(journal, root=dataset.resolve())
        if not journal.root.is_dir():
            raise CouldNotFinish(
                f"{unicode_name(str(journal.root))}: the dataset does not exist; name its new location with --dataset"
            )
        with locked(journal.root, alone=journal.mode is Mode.MOVE):
            try:
                return undo(folder, journal, force=force)
            except OSError as error:
                reason = f"{unicode_name(str(error.filename or folder))}: {error.strerror or error}"
                raise WriteError(f"{reason}; make room or grant permission, and the same command resumes") from error
            except KeyboardInterrupt as error:
                raise Interrupted("interrupted; the same command resumes") from error


def undo(folder: Path, journal: Journal, *, force: bool = False) -> Undone:
    """Undo an apply whose folders are locked already; see `restore`."""
    return _unmove(folder, journal, force) if journal.mode is Mode.MOVE else _unmake(folder, journal, force)


def _refuse(problems: Sequence[str], force: bool) -> None:
    if problems and not force:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CouldNotFinish(
            f"{problems[0]}{more}: nothing was touched; correct that, or leave such files alone with --force"
        )


# a move


def _unmove(folder: Path, journal: Journal, force: bool) -> Undone:
    quarantine = folder / QUARANTINE
    root = Path(os.path.realpath(journal.root))
    for entry in journal.entries:
        refuse_outside(root, root / entry.name, follow_links=True)
        refuse_outside(Path(os.path.realpath(quarantine)), quarantine / entry.name, follow_links=True)
    faults = {entry.name: _move_fault(root / entry.name, quarantine / entry.name, entry) for entry in journal.entries}
    added = [f"{QUARANTINE}/{name}: was added since" for name in _added(quarantine, journal)]
    _refuse([*filter(None, faults.values()), *added], force)
    folders = {name: _times(journal, name) for name in journal.folders}
    if (
        journal.state is not State.UNDOING
    ):  # moving back changes the folders' times: record first which somebody else changed
        reach(folder, State.UNDOING, touched={name: 0 for name, times in folders.items() if times is None})
    moved = sum(
        _move_back(root, quarantine, entry, folders=journal.folders)
        for entry in journal.entries
        if not faults[entry.name]
    )
    _settle(root, quarantine, journal)
    _remove_folders(quarantine)
    for name, times in folders.items():
        if times is not None:
            os.utime(root / name, ns=times)
    left = tuple(unicode_name(name) for name, fault in faults.items() if fault)
    remove_journal(folder)
    return Undone(mode=journal.mode, root=journal.root, files=moved, left=left)


def _move_fault(source: Path, held: Path, entry: JournalEntry) -> str:
    """Return why a file cannot be moved back, "" if it can be or is back already."""
    name = unicode_name(entry.name)
    if os.path.lexists(held):
        if not _is(held, entry):
            return f"{QUARANTINE}/{name}: was changed since"
        if os.path.lexists(source) and not _is(source, entry):
            return f"{name}: another file was put there since"
        return ""
    if not os.path.lexists(source):
        return f"{name}: is neither in the dataset nor in the quarantine"
    return "" if _is(source, entry) else f"{name}: was changed since"


def _is(file: Path, entry: JournalEntry) -> bool:
    """Return whether a file is the one that was verified: the same bytes, or the same target of a link."""
    if entry.link is not None:
        return file.is_symlink() and os.readlink(file) == entry.link  # noqa: PTH115
    return not file.is_symlink() and hash_or_empty(file) == entry.sha256


def _move_back(root: Path, quarantine: Path, entry: JournalEntry, *, folders: Mapping[str, tuple[int, int]]) -> int:
    """Move one file back; return how many were moved, 0 or 1."""
    source, held = root / entry.name, quarantine / entry.name
    if not os.path.lexists(held):
        return 0
    if os.path.lexists(source):  # copied to another file system, and both copies are verified
        held.unlink()
        return 1
    _make_folder_again(root, entry.name, folders)
    move(held, source, entry)
    return 1


def _make_folder_again(root: Path, name: str, folders: Mapping[str, tuple[int, int]]) -> None:
    """Make the folder of a file again, if somebody removed it once it was empty."""
    parent = os.path.dirname(name)  # noqa: PTH120  a name, not a path
    if not parent or (root / parent).is_dir():
        return
    (root / parent).mkdir(parents=True)
    (root / parent).chmod(folders.get(parent, (0o755, 0))[0])


def _times(journal: Journal, name: str) -> tuple[int, int] | None:
    """Return the times of a folder before the move, (access, modification) in ns; None if it was changed since."""
    try:
        now = os.stat(journal.root / name)
    except OSError:
        return journal.folders[name][1], journal.folders[name][1]
    if name in journal.touched and now.st_mtime_ns != journal.touched[name]:
        return None
    return now.st_atime_ns, journal.folders[name][1]


def _settle(root: Path, quarantine: Path, journal: Journal) -> None:
    for name in journal.folders:
        for parent in (root / name, quarantine / name):
            (parent / PART).unlink(missing_ok=True)
            sync_folder(parent)


# a folder of links or copies


def _unmake(folder: Path, journal: Journal, force: bool) -> Undone:
    targets = [place for place in (folder / DATA, folder / PARTIAL) if os.path.lexists(place)]
    target = targets[0] if targets else folder / DATA
    real = Path(os.path.realpath(folder)) / target.name
    for name in (*(entry.name for entry in journal.steps), *journal.texts):
        refuse_outside(real, target / name, follow_links=True)
    faults = {entry.name: _copy_fault(target, entry, journal) for entry in journal.steps}
    faults |= {name: _manifest_fault(target, name, journal) for name in journal.texts}
    added = [f"{target.name}/{name}: was added since" for name in _added(target, journal)]
    _refuse([*filter(None, faults.values()), *added], force)
    if journal.state is not State.UNDOING:
        reach(folder, State.UNDOING)
    removed = sum(_remove(target / name) for name, fault in faults.items() if not fault)
    for parent in {(target / name).parent for name in faults}:
        (parent / PART).unlink(missing_ok=True)
    _remove_folders(target)
    left = tuple(unicode_name(name) for name, fault in faults.items() if fault) + tuple(added)
    remove_journal(folder)
    return Undone(mode=journal.mode, root=journal.root, files=removed, left=left)


def _copy_fault(target: Path, entry: JournalEntry, journal: Journal) -> str:
    """Return why a link or copy may not be removed, "" if it may."""
    made, name = target / entry.name, unicode_name(entry.name)
    if not os.path.lexists(made):
        return ""
    if journal.mode is Mode.SYMLINK:
        return "" if made.is_symlink() else f"{target.name}/{name}: is no longer the link that was made"
    if made.is_symlink() or hash_or_empty(made) != entry.sha256:
        return f"{target.name}/{name}: was changed since"
    if hash_or_empty(journal.root / entry.name) != entry.sha256:
        return f"{name}: the original was changed or is missing, and {target.name}/{name} is its last copy"
    return ""


def _manifest_fault(target: Path, name: str, journal: Journal) -> str:
    """Return why a manifest may not be removed, "" if it may."""
    file = target / name
    if journal.state is State.BEGUN or not os.path.lexists(file):  # a killed process may have written half of it
        return ""
    plain = not file.is_symlink() and file.is_file()
    same = plain and hashlib.sha256(file.read_bytes()).hexdigest() == journal.texts[name]
    return "" if same else f"{target.name}/{name}: was changed since"


def _remove(file: Path) -> int:
    """Remove a file; return how many were removed, 0 or 1."""
    if not os.path.lexists(file):
        return 0
    file.unlink()
    return 1


# both


def _added(target: Path, journal: Journal) -> Iterator[str]:
    """Yield the names below a target that no step of the journal put there."""
    expected = {entry.name for entry in journal.steps} | set(journal.texts)
    for folder, inside, files in os.walk(target):
        linked = [name for name in inside if (Path(folder) / name).is_symlink()]
        for file in (*files, *linked):
            name = os.path.relpath(Path(folder) / file, target).replace(os.sep, "/")
            if name not in expected and file != PART:
                yield unicode_name(name)


def _remove_folders(target: Path) -> None:
    """Remove the empty folders of a target, and the target if it is empty."""
    for folder, _, _ in os.walk(target, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
