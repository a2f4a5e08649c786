"""Undo an apply: every original at its place again, verified, and what was made for it gone.

What is there is looked at before anything is touched: a file that somebody changed or put there since stops the
undoing, or is left alone with `force`. Nothing is removed unless an original of the same bytes is at its place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.errors import CouldNotFinish, Interrupted, WriteError
from curate.images.names import unicode_name
from curate.splits.files import hash_or_empty, refuse_outside
from curate.splits.journal import (
    DATA,
    PARTIAL,
    QUARANTINE,
    Entry,
    Journal,
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
    """What came of an undoing.

    Attributes:
        mode: of the apply that was undone; None if there was none.
        root: the dataset.
        files: files moved back, or removed from `data/`.
        left: paths of files that were left alone, since they were changed or are gone; only with `force`.
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
        """Say it in words."""
        if self.mode is None:
            return ("Nothing is applied here; there is nothing to undo.",)
        root = unicode_name(str(self.root))
        did = f"{self.files} files are back in {root}" if self.mode is Mode.MOVE else f"{self.files} files are removed"
        return (f"--apply {self.mode} is undone: {did}.", *(f"left alone: {name}" for name in self.left))


def restore(folder: Path, *, force: bool = False, dataset: Path | None = None) -> Undone:
    """Undo whatever was applied or begun in a folder of `curate prune`; its plan and lists stay.

    Args:
        folder: of the split.
        force: leave alone what was changed or is gone, and undo the rest.
        dataset: where the dataset lies now; None for where it was.

    Raises:
        InputError: the journal is damaged or not to be trusted.
        CouldNotFinish: a file was changed, is gone or is in the way, nothing was touched; or another curate is at work.
        WriteError: no room or no permission; the same command goes on.
    """
    with locked(folder):
        journal = read_journal(folder)
        if journal is None:
            return Undone(mode=None)
        if dataset is not None:
            journal = replace(journal, root=dataset.resolve())
        if not journal.root.is_dir():
            raise CouldNotFinish(
                f"{unicode_name(str(journal.root))}: the dataset is not there: say where it is with --dataset"
            )
        with locked(journal.root, alone=journal.mode is Mode.MOVE):
            try:
                return undo(folder, journal, force=force)
            except OSError as error:
                said = f"{unicode_name(str(error.filename or folder))}: {error.strerror or error}"
                raise WriteError(f"{said}; make room or grant permission, and the same command goes on") from error
            except KeyboardInterrupt as error:
                raise Interrupted("interrupted; the same command goes on") from error


def undo(folder: Path, journal: Journal, *, force: bool = False) -> Undone:
    """Undo an apply whose folders are held already; see `restore`."""
    return _unmove(folder, journal, force) if journal.mode is Mode.MOVE else _unmake(folder, journal, force)


def _refuse(problems: Sequence[str], force: bool) -> None:
    if problems and not force:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CouldNotFinish(
            f"{problems[0]}{more}: nothing was touched; put that right, or leave such files alone with --force"
        )


# a move


def _unmove(folder: Path, journal: Journal, force: bool) -> Undone:
    quarantine = folder / QUARANTINE
    root = Path(os.path.realpath(journal.root))
    for entry in journal.entries:
        refuse_outside(root, root / entry.name, follow_links=True)
        refuse_outside(Path(os.path.realpath(quarantine)), quarantine / entry.name, follow_links=True)
    told = {entry.name: _trouble(root / entry.name, quarantine / entry.name, entry) for entry in journal.entries}
    strangers = [f"{QUARANTINE}/{name}: is not of the quarantine" for name in _strangers(quarantine, journal)]
    _refuse([*filter(None, told.values()), *strangers], force)
    folders = {name: _times(journal, name) for name in journal.folders}
    if journal.state is not State.UNDOING:  # our own moves change the folders' times: note whose are not ours
        reach(folder, State.UNDOING, touched={name: 0 for name, times in folders.items() if times is None})
    moved = sum(_back(root, quarantine, entry, journal) for entry in journal.entries if not told[entry.name])
    _settle(root, quarantine, journal)
    _remove_folders(quarantine)
    for name, times in folders.items():
        if times is not None:
            os.utime(root / name, ns=times)
    left = tuple(unicode_name(name) for name, trouble in told.items() if trouble)
    remove_journal(folder)
    return Undone(mode=journal.mode, root=journal.root, files=moved, left=left)


def _trouble(source: Path, held: Path, entry: Entry) -> str:
    """Say why a file cannot be put back, "" if it can or is."""
    name = unicode_name(entry.name)
    if os.path.lexists(held):
        if not _is(held, entry):
            return f"{QUARANTINE}/{name}: was changed since"
        if os.path.lexists(source) and not _is(source, entry):
            return f"{name}: another file has come to lie there since"
        return ""
    if not os.path.lexists(source):
        return f"{name}: is neither in the dataset nor in the quarantine"
    return "" if _is(source, entry) else f"{name}: was changed since"


def _is(file: Path, entry: Entry) -> bool:
    """Tell whether a file is the one that was verified: by its bytes, or by where it leads if it is a link."""
    if entry.link is not None:
        return file.is_symlink() and os.readlink(file) == entry.link  # noqa: PTH115
    return not file.is_symlink() and hash_or_empty(file) == entry.sha256


def _back(root: Path, quarantine: Path, entry: Entry, journal: Journal) -> int:
    source, held = root / entry.name, quarantine / entry.name
    if not os.path.lexists(held):
        return 0
    if os.path.lexists(source):  # copied over filesystems, and both are verified
        held.unlink()
        return 1
    _bring_folders_back(root, entry.name, journal)
    move(held, source, entry)
    return 1


def _bring_folders_back(root: Path, name: str, journal: Journal) -> None:
    """Make the folder of a file again, if somebody removed it when it was empty."""
    parent = os.path.dirname(name)  # noqa: PTH120  a name, not a path
    if not parent or (root / parent).is_dir():
        return
    (root / parent).mkdir(parents=True)
    (root / parent).chmod(journal.folders.get(parent, (0o755, 0))[0])


def _times(journal: Journal, name: str) -> tuple[int, int] | None:
    """Return the times a folder had before the move; None if somebody else changed it since."""
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
    told = {entry.name: _changed(journal.root / entry.name, target, entry, journal.mode) for entry in journal.steps}
    told |= {name: _text_changed(target, name, value, journal.state) for name, value in journal.texts.items()}
    strangers = [f"{target.name}/{name}: was put there since" for name in _strangers(target, journal)]
    _refuse([*filter(None, told.values()), *strangers], force)
    if journal.state is not State.UNDOING:
        reach(folder, State.UNDOING)
    removed = sum(_gone(target / name) for name, trouble in told.items() if not trouble)
    for parent in {(target / name).parent for name in told}:
        (parent / PART).unlink(missing_ok=True)
    _remove_folders(target)
    left = tuple(unicode_name(name) for name, trouble in told.items() if trouble) + tuple(strangers)
    remove_journal(folder)
    return Undone(mode=journal.mode, root=journal.root, files=removed, left=left)


def _changed(original: Path, target: Path, entry: Entry, mode: Mode) -> str:
    """Say why a link or copy may not be removed, "" if it may."""
    made, name = target / entry.name, unicode_name(entry.name)
    if not os.path.lexists(made):
        return ""
    if mode is Mode.SYMLINK:
        return "" if made.is_symlink() else f"{target.name}/{name}: is no longer the link that was made"
    if made.is_symlink() or hash_or_empty(made) != entry.sha256:
        return f"{target.name}/{name}: was changed since"
    if hash_or_empty(original) != entry.sha256:
        return f"{name}: the original was changed or is gone, and {target.name}/{name} is its last copy"
    return ""


def _text_changed(target: Path, name: str, value: str, state: State) -> str:
    file = target / name
    if state is State.BEGUN or not os.path.lexists(file):  # half-written by a process that was killed
        return ""
    same = not file.is_symlink() and file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == value
    return "" if same else f"{target.name}/{name}: was changed since"


def _gone(file: Path) -> int:
    if not os.path.lexists(file):
        return 0
    file.unlink()
    return 1


# both


def _strangers(target: Path, journal: Journal) -> Iterator[str]:
    """Yield the names below a target that no step of the journal put there."""
    known = {entry.name for entry in journal.steps} | set(journal.texts)
    for folder, inside, files in os.walk(target):
        linked = [name for name in inside if (Path(folder) / name).is_symlink()]
        for file in (*files, *linked):
            name = os.path.relpath(Path(folder) / file, target).replace(os.sep, "/")
            if name not in known and file != PART:
                yield unicode_name(name)


def _remove_folders(target: Path) -> None:
    """Remove the empty folders of a target, and itself if nothing is left in it."""
    for folder, _, _ in os.walk(target, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
