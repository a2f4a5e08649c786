"""Carry a plan out: link or copy the clean set, or move what is rejected away.

Everything is verified and written into the journal before the first file is touched. An error undoes what was done; a
process that was killed leaves the journal, from which the same command goes on, or `curate restore` undoes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

from curate.errors import CouldNotFinish, CurateError, Interrupted, UsageError, WriteError
from curate.images.names import unicode_name
from curate.records import Layout, Progress
from curate.splits.files import hash_or_empty
from curate.splits.folder import Split
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
    sync_folder,
    write_journal,
)
from curate.splits.layouts import FILES_LIST, file_list, texts
from curate.splits.lists import CLEAN
from curate.splits.modes import Mode
from curate.splits.plan import Action, Row
from curate.splits.transfer import PART, place
from curate.splits.undo import undo
from curate.splits.verify import check_target, is_unchanged, refuse_changed


class Stages(Protocol):
    """Where stages are shown; `curate.screen.Screen` is one."""

    def stage(self, title: str, total: int | None) -> AbstractContextManager[Progress]: ...


Find = Callable[[], tuple[Path, Mapping[str, Entry]]]
"""Gives the dataset's root and its files by path, all verified."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One apply: the journal, where its files go until all are there, and the manifests beside them."""

    split: Split
    journal: Journal
    target: Path
    texts: Mapping[str, bytes] = field(default_factory=dict)

    def source_of(self, entry: Entry) -> Path:
        return self.journal.root / entry.name

    def target_of(self, entry: Entry) -> Path:
        return self.target / entry.name


def apply(split: Split, mode: Mode, find: Find, stages: Stages) -> bool:
    """Carry a plan out, or go on with an apply that was killed.

    Args:
        split: the plan in its folder.
        mode: manifest, hardlink, symlink or copy make `data/` with the clean set; move puts what is rejected
            into `quarantine/`.
        find: not called where an apply goes on.
        stages: where the steps are shown.

    Returns:
        Whether anything was to be done.

    Raises:
        UsageError: another apply stands or was begun.
        CouldNotFinish: an original changed or is missing, or another curate is at work; nothing was touched.
        WriteError: no room or no permission; what was done is undone.
        Interrupted: the same command goes on.
    """
    with locked(split.path):
        journal = read_journal(split.path)
        if journal is not None:
            _refuse_other(split, journal, mode)
            if journal.state is State.APPLIED:
                return False
            with locked(journal.root, alone=mode is Mode.MOVE):
                _carry_out_or_undo(_going_on(split, journal), stages)
            return True
        root, found = find()
        with locked(root, alone=mode is Mode.MOVE):
            _carry_out_or_undo(_begin(split, mode, root, found), stages)
        return True


def _refuse_other(split: Split, journal: Journal, mode: Mode) -> None:
    told = f"{unicode_name(str(split.path))}: `curate restore` it first:"
    if journal.state is State.UNDOING:
        raise UsageError(f"{told} a restore was begun and not finished")
    if journal.plan != split.digest:
        raise UsageError(f"{told} another plan was applied")
    if journal.mode is not mode:
        raise UsageError(f"{told} --apply {journal.mode} was used, not {mode}")


def _begin(split: Split, mode: Mode, root: Path, found: Mapping[str, Entry]) -> Work:
    """Write down all that is going to be done."""
    entries = [found[row.path] for row in _wanted(split, mode)]
    check_target(split.path, root, entries, mode)
    _refuse_left_over(split.path)
    target = split.path / (QUARANTINE if mode is Mode.MOVE else PARTIAL)
    written = _written(split, mode, root, entries)
    journal = Journal(
        mode=mode,
        root=root,
        plan=split.digest,
        entries=entries,
        folders=_folders(root, entries) if mode is Mode.MOVE else {},
        texts={name: hashlib.sha256(text).hexdigest() for name, text in written.items()},
    )
    write_journal(split.path, journal)
    return Work(split=split, journal=journal, target=target, texts=written)


def _refuse_left_over(folder: Path) -> None:
    there = next((name for name in (DATA, PARTIAL, QUARANTINE) if os.path.lexists(folder / name)), None)
    if there is not None:
        raise UsageError(f"{folder / there}: is there, and no apply of this folder made it: move it away")


def _folders(root: Path, entries: Sequence[Entry]) -> dict[str, tuple[int, int]]:
    folders = {os.path.dirname(entry.name) or "." for entry in entries}  # noqa: PTH120  names, not paths
    status = {name: os.stat(root / name) for name in sorted(folders)}
    return {name: (value.st_mode & 0o7777, value.st_mtime_ns) for name, value in status.items()}


def _wanted(split: Split, mode: Mode) -> list[Row]:
    """Return the rows of the files that a mode handles: what is rejected, or the clean set."""
    wanted = frozenset((Action.REJECT,)) if mode is Mode.MOVE else CLEAN
    return [row for row in split.rows if row.sha256 and row.action in wanted]


def _written(split: Split, mode: Mode, root: Path, entries: Sequence[Entry]) -> dict[str, bytes]:
    """Return the manifests of a target: none in a quarantine; for the mode manifest, the images where they lie."""
    if mode is Mode.MOVE:
        return {}
    if mode is not Mode.MANIFEST and split.layout != Layout.FILE_LIST:
        return texts(split.layout, root, split.rows)
    folder = root if mode is Mode.MANIFEST else Path(os.path.realpath(split.path)) / DATA
    rows = zip(_wanted(split, mode), entries, strict=True)
    return {FILES_LIST: file_list([folder / entry.name for row, entry in rows if not row.mask_of])}


def _going_on(split: Split, journal: Journal) -> Work:
    """Check what a killed apply has still to do.

    Raises:
        CouldNotFinish: an original changed or is missing.
    """
    done = split.path / DATA
    target = split.path / QUARANTINE if journal.mode is Mode.MOVE else done if done.is_dir() else split.path / PARTIAL
    written = _written(split, journal.mode, journal.root, journal.entries)
    if {name: hashlib.sha256(text).hexdigest() for name, text in written.items()} != journal.texts:
        raise CouldNotFinish(f"{journal.root}: its metadata changed since: `curate restore` undoes what was done")
    work = Work(split=split, journal=journal, target=target, texts=written)
    waiting = [entry for entry in journal.steps if not os.path.lexists(work.target_of(entry))]
    wrong = [entry for entry in waiting if hash_or_empty(work.source_of(entry)) != entry.sha256]
    if wrong:
        first = wrong[0]
        refuse_changed(unicode_name(first.name), len(wrong), missing=not os.path.lexists(work.source_of(first)))
    return work


def _carry_out_or_undo(work: Work, stages: Stages) -> None:
    try:
        _carry_out(work, stages)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; the same command goes on, `curate restore {unicode_name(str(work.split.path))}` undoes"
        ) from error
    except (OSError, CurateError) as error:
        _give_up(work, error)


def _carry_out(work: Work, stages: Stages) -> None:
    journal, folder = work.journal, work.split.path
    work.target.mkdir(exist_ok=True)
    for name, text in work.texts.items():
        _write(work.target / name, text)
    with stages.stage(journal.mode.value, len(journal.steps)) as progress:
        for entry in journal.steps:
            _step(work, entry)
            progress(1)
    _settle(work)
    if work.target.name == PARTIAL:
        os.rename(work.target, folder / DATA)
        sync_folder(folder)
    touched = {name: os.stat(journal.root / name).st_mtime_ns for name in journal.folders}
    reach(folder, State.APPLIED, touched=touched)


def _step(work: Work, entry: Entry) -> None:
    """Bring one file to its target, or finish what a killed process began."""
    source, target = work.source_of(entry), work.target_of(entry)
    if os.path.lexists(target):
        if work.journal.mode is Mode.MOVE and os.path.lexists(source):  # copied over filesystems, not removed yet
            _finish_move(source, target, entry)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not is_unchanged(source, entry):
        raise CouldNotFinish(f"{unicode_name(entry.name)}: changed while curate was at work")
    place(work.journal.mode, source, target, entry)


def _finish_move(source: Path, target: Path, entry: Entry) -> None:
    if entry.link is None and {hash_or_empty(source), hash_or_empty(target)} != {entry.sha256}:
        raise CouldNotFinish(f"{unicode_name(entry.name)}: is in the dataset and in the quarantine, and they differ")
    source.unlink()


def _write(file: Path, text: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _settle(work: Work) -> None:
    """Bring all names to the disk, and remove what a killed copy left."""
    folders = {work.target_of(entry).parent for entry in work.journal.steps}
    for folder in folders:
        (folder / PART).unlink(missing_ok=True)
        sync_folder(folder)
    for name in work.journal.folders:
        sync_folder(work.journal.root / name)


def _give_up(work: Work, error: OSError | CurateError) -> NoReturn:
    """Undo what was done and say why."""
    said = str(error) if isinstance(error, CurateError) else error.strerror or str(error)
    place = unicode_name(str(work.split.path))
    try:
        undo(work.split.path, work.journal)
    except (OSError, CurateError) as second:
        raise WriteError(f"{place}: {said}; undoing failed, too ({second}): `curate restore` it") from error
    cure = "" if isinstance(error, CurateError) else ": make room or grant permission"
    raise WriteError(f"{place}: {said}; all that was done is undone{cure}") from error
