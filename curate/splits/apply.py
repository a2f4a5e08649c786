"""Carry a plan out: link or copy the clean set, or move rejected files away.

Everything is verified and written into the journal before the first file is touched. An error undoes what was done. A
killed process leaves its journal: the same command resumes from it, and `curate restore` undoes it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from curate.errors import CouldNotFinish, CurateError, Interrupted, UsageError, WriteError
from curate.images.names import unicode_name
from curate.progress import Stages
from curate.records import Layout
from curate.splits.files import hash_or_empty
from curate.splits.folder import Split
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
    sync_folder,
    write_journal,
)
from curate.splits.layouts import FILES_LIST, file_list, texts
from curate.splits.lists import CLEAN
from curate.splits.modes import Mode
from curate.splits.plan import Action, PlanRow
from curate.splits.transfer import PART, place
from curate.splits.undo import undo
from curate.splits.verify import check_target, is_unchanged, refuse_changed

Verify = Callable[[], tuple[Path, Mapping[str, JournalEntry]]]
"""Returns the dataset's root, and its files by path, all verified."""


@dataclass(frozen=True, kw_only=True)
class ApplyJob:
    """One apply: its journal, the folder that its files go to, and the manifests that are written there."""

    split: Split
    journal: Journal
    target: Path
    texts: Mapping[str, bytes] = field(default_factory=dict)

    def source_of(self, entry: JournalEntry) -> Path:
        return self.journal.root / entry.name

    def target_of(self, entry: JournalEntry) -> Path:
        return self.target / entry.name


def apply(split: Split, mode: Mode, verify: Verify, *, stages: Stages) -> bool:
    """Carry a plan out, or resume an apply that was killed.

    Args:
        split: the plan in its folder.
        mode: manifest, hardlink, symlink or copy make `data/` with the clean set; move puts rejected files into
            `quarantine/`.
        verify: called unless an apply is resumed.
        stages: where progress is shown.

    Returns:
        False if the plan was applied before.

    Raises:
        UsageError: another plan or mode was applied or begun.
        CouldNotFinish: an original changed or is missing, or another curate is at work; nothing was touched.
        WriteError: no room or no permission; what was done is undone.
        Interrupted: the same command resumes.
    """
    with locked(split.path):
        journal = read_journal(split.path)
        if journal is not None:
            _refuse_other(split, journal, mode)
            if journal.state is State.APPLIED:
                return False
            with locked(journal.root, alone=mode is Mode.MOVE):
                _carry_out_or_undo(_resumed(split, journal), stages)
            return True
        root, originals = verify()
        with locked(root, alone=mode is Mode.MOVE):
            _carry_out_or_undo(_begin(split, mode, root=root, originals=originals), stages)
        return True


def _refuse_other(split: Split, journal: Journal, mode: Mode) -> None:
    advice = f"{unicode_name(str(split.path))}: `curate restore` it first:"
    if journal.state is State.UNDOING:
        raise UsageError(f"{advice} a restore was begun and not finished")
    if journal.plan != split.digest:
        raise UsageError(f"{advice} another plan was applied")
    if journal.mode is not mode:
        raise UsageError(f"{advice} --apply {journal.mode} was used, not {mode}")


def _begin(split: Split, mode: Mode, *, root: Path, originals: Mapping[str, JournalEntry]) -> ApplyJob:
    """Write the journal of a new apply."""
    entries = [originals[row.path] for row in _rows_of(split, mode)]
    check_target(split.path, root, entries, mode=mode)
    _refuse_existing(split.path)
    target = split.path / (QUARANTINE if mode is Mode.MOVE else PARTIAL)
    manifests = _manifests(split, mode, root=root, entries=entries)
    journal = Journal(
        mode=mode,
        root=root,
        plan=split.digest,
        entries=entries,
        folders=_folders(root, entries) if mode is Mode.MOVE else {},
        texts={name: hashlib.sha256(text).hexdigest() for name, text in manifests.items()},
    )
    write_journal(split.path, journal)
    return ApplyJob(split=split, journal=journal, target=target, texts=manifests)


def _refuse_existing(folder: Path) -> None:
    existing = next((name for name in (DATA, PARTIAL, QUARANTINE) if os.path.lexists(folder / name)), None)
    if existing is not None:
        raise UsageError(f"{folder / existing}: exists, and no apply of this folder made it; move it away")


def _folders(root: Path, entries: Sequence[JournalEntry]) -> dict[str, tuple[int, int]]:
    folders = {os.path.dirname(entry.name) or "." for entry in entries}  # noqa: PTH120  names, not paths
    status = {name: os.stat(root / name) for name in sorted(folders)}
    return {name: (value.st_mode & 0o7777, value.st_mtime_ns) for name, value in status.items()}


def _rows_of(split: Split, mode: Mode) -> list[PlanRow]:
    """Return the rows of the files that a mode handles: rejected files for a move, else the clean set."""
    actions = frozenset((Action.REJECT,)) if mode is Mode.MOVE else CLEAN
    return [row for row in split.rows if row.sha256 and row.action in actions]


def _manifests(split: Split, mode: Mode, *, root: Path, entries: Sequence[JournalEntry]) -> dict[str, bytes]:
    """Return the manifests of a target by name: none in a quarantine; for mode manifest a list of the originals."""
    if mode is Mode.MOVE:
        return {}
    if mode is not Mode.MANIFEST and split.layout != Layout.FILE_LIST:
        return texts(split.layout, root, split.rows)
    folder = root if mode is Mode.MANIFEST else Path(os.path.realpath(split.path)) / DATA
    rows = zip(_rows_of(split, mode), entries, strict=True)
    return {FILES_LIST: file_list([folder / entry.name for row, entry in rows if not row.mask_of])}


def _resumed(split: Split, journal: Journal) -> ApplyJob:
    """Return a killed apply as a job, its remaining steps verified.

    Raises:
        CouldNotFinish: an original changed or is missing.
    """
    done = split.path / DATA
    target = split.path / QUARANTINE if journal.mode is Mode.MOVE else done if done.is_dir() else split.path / PARTIAL
    manifests = _manifests(split, journal.mode, root=journal.root, entries=journal.entries)
    if {name: hashlib.sha256(text).hexdigest() for name, text in manifests.items()} != journal.texts:
        raise CouldNotFinish(f"{journal.root}: its metadata changed meanwhile; `curate restore` undoes what was done")
    job = ApplyJob(split=split, journal=journal, target=target, texts=manifests)
    remaining = [entry for entry in journal.steps if not os.path.lexists(job.target_of(entry))]
    changed = [entry for entry in remaining if hash_or_empty(job.source_of(entry)) != entry.sha256]
    if changed:
        first = changed[0]
        refuse_changed(unicode_name(first.name), len(changed), missing=not os.path.lexists(job.source_of(first)))
    return job


def _carry_out_or_undo(job: ApplyJob, stages: Stages) -> None:
    try:
        _carry_out(job, stages)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; the same command resumes, `curate restore {unicode_name(str(job.split.path))}` undoes"
        ) from error
    except (OSError, CurateError) as error:
        _give_up(job, error)


def _carry_out(job: ApplyJob, stages: Stages) -> None:
    journal, folder = job.journal, job.split.path
    job.target.mkdir(exist_ok=True)
    for name, text in job.texts.items():
        _write(job.target / name, text)
    with stages.stage(journal.mode.value, len(journal.steps)) as progress:
        for entry in journal.steps:
            _step(job, entry)
            progress(1)
    _settle(job)
    if job.target.name == PARTIAL:
        os.rename(job.target, folder / DATA)
        sync_folder(folder)
    touched = {name: os.stat(journal.root / name).st_mtime_ns for name in journal.folders}
    reach(folder, State.APPLIED, touched=touched)


def _step(job: ApplyJob, entry: JournalEntry) -> None:
    """Put one file at its target, or finish the step of a killed process."""
    source, target = job.source_of(entry), job.target_of(entry)
    if os.path.lexists(target):
        if job.journal.mode is Mode.MOVE and os.path.lexists(source):  # copied to another file system, not removed yet
            _finish_move(source, target, entry)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not is_unchanged(source, entry):
        raise CouldNotFinish(f"{unicode_name(entry.name)}: changed while curate was at work; scan again")
    place(source, target, entry, mode=job.journal.mode)


def _finish_move(source: Path, target: Path, entry: JournalEntry) -> None:
    if entry.link is None and {hash_or_empty(source), hash_or_empty(target)} != {entry.sha256}:
        raise CouldNotFinish(
            f"{unicode_name(entry.name)}: the copies in the dataset and in the quarantine differ; remove the wrong one"
        )
    source.unlink()


def _write(file: Path, text: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _settle(job: ApplyJob) -> None:
    """Flush all names to the disk, and remove the unfinished copy of a killed process."""
    folders = {job.target_of(entry).parent for entry in job.journal.steps}
    for folder in folders:
        (folder / PART).unlink(missing_ok=True)
        sync_folder(folder)
    for name in job.journal.folders:
        sync_folder(job.journal.root / name)


def _give_up(job: ApplyJob, error: OSError | CurateError) -> NoReturn:
    """Undo what was done, and raise the error with its reason."""
    reason = str(error) if isinstance(error, CurateError) else error.strerror or str(error)
    folder = unicode_name(str(job.split.path))
    try:
        undo(job.split.path, job.journal)
    except (OSError, CurateError) as second:
        raise WriteError(f"{folder}: {reason}; undoing failed, too ({second}): run `curate restore`") from error
    cure = "" if isinstance(error, CurateError) else "; make room or grant permission"
    raise WriteError(f"{folder}: {reason}; all that was done is undone{cure}") from error
