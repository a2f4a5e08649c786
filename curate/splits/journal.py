"""The journal of an apply: every step, written to disk before the first file is touched.

What lies on disk shows which steps are done (a file is in the dataset, at its target, or at both), so the journal is
enough to finish or undo an apply that was killed at any moment. The file is JSON, one value a line: a head, one line an
entry, then one line for each state reached. A last line that was cut off counts as not written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from curate.atomic_files import replacing_file
from curate.errors import CouldNotFinish, InputError
from curate.images.names import unicode_name
from curate.splits.files import refuse_path, sync
from curate.splits.modes import Mode

JOURNAL, DATA, PARTIAL, QUARANTINE = "journal.jsonl", "data", "data.partial", "quarantine"
VERSION = 1


class State(StrEnum):
    """How far an apply got."""

    BEGUN = "begun"
    APPLIED = "applied"
    UNDOING = "undoing"


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """A file of the dataset that is linked, copied or moved.

    Attributes:
        name: its path below the dataset's root and below the target, as the file system spells it.
        sha256: of its bytes, hex.
        link: the text of a symbolic link; None for a file.
        size_bytes, mtime_ns: when it was verified.
    """

    name: str
    sha256: str
    link: str | None
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What an apply does, and how far it got.

    Attributes:
        mode: how the plan is carried out.
        root: the dataset's folder, resolved.
        plan: sha256 of the plan.
        entries: files to link, copy, move or list.
        folders: permission bits and mtime_ns of the dataset's folders that a move changes, by name below the root.
        texts: sha256 of the manifests that are written into the target, by name.
        state: the last one reached.
        touched: mtime_ns of `folders` after the move.
    """

    mode: Mode
    root: Path
    plan: str
    entries: Sequence[JournalEntry]
    folders: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    state: State = State.BEGUN
    touched: Mapping[str, int] = field(default_factory=dict)

    @property
    def steps(self) -> Sequence[JournalEntry]:
        """The files that are linked, copied or moved; none where they are only listed."""
        return () if self.mode is Mode.MANIFEST else self.entries


def write_journal(folder: Path, journal: Journal) -> None:
    """Write a journal, whole or not at all, so that it survives a loss of power."""
    head = {
        "curate_journal": VERSION,
        "mode": journal.mode.value,
        "root": str(journal.root),
        "plan": journal.plan,
        "folders": journal.folders,
        "texts": journal.texts,
        "entries": len(journal.entries),
    }
    with replacing_file(folder / JOURNAL, durable=True) as file:
        file.write(_line(head))
        file.writelines(_line(asdict(entry)) for entry in journal.entries)
    sync_folder(folder)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def reach(folder: Path, state: State, **facts: Any) -> None:
    """Append to the journal that a state is reached."""
    with (folder / JOURNAL).open("ab") as file:
        file.write(b"\n" + _line({"state": state.value, **facts}))  # the line before may be cut off
        file.flush()
        os.fsync(file.fileno())


def remove_journal(folder: Path) -> None:
    """Remove the journal: nothing is applied any more."""
    (folder / JOURNAL).unlink()
    sync_folder(folder)


def read_journal(folder: Path) -> Journal | None:
    """Return the journal of a folder, None if nothing is applied or begun.

    Raises:
        InputError: it is damaged, of a newer version, or names a path that leads out of the dataset.
    """
    file = folder / JOURNAL
    if not os.path.lexists(file):
        return None
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        return _parsed(json.loads(lines[0]), lines[1:])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{file}: a damaged journal ({error}); nothing was touched") from error


def _parsed(head: Mapping[str, Any], lines: Sequence[str]) -> Journal:
    if head["curate_journal"] != VERSION:
        raise ValueError(f"version {head['curate_journal']}, this curate reads {VERSION}")
    count = int(head["entries"])
    entries = [_entry(json.loads(line)) for line in lines[:count]]
    if len(entries) != count:
        raise ValueError("entries are missing")
    root = Path(head["root"])
    if not root.is_absolute():
        raise ValueError("the dataset's folder is not absolute")
    for name in (*head["texts"], *(name for name in head["folders"] if name != ".")):
        refuse_path(name)
    last: Mapping[str, Any] = {}
    for line in lines[count:]:
        with suppress(ValueError):
            last = json.loads(line)
    return Journal(
        mode=Mode(head["mode"]),
        root=root,
        plan=str(head["plan"]),
        entries=entries,
        folders={name: (int(mode), int(mtime)) for name, (mode, mtime) in head["folders"].items()},
        texts=head["texts"],
        state=State(last.get("state", State.BEGUN)),
        touched=last.get("touched", {}),
    )


def _entry(values: Mapping[str, Any]) -> JournalEntry:
    refuse_path(values["name"])
    if not isinstance(values["sha256"], str) or not isinstance(values["link"], str | None):
        raise ValueError("an entry has a value of another type")
    return JournalEntry(**values)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    with suppress(OSError):
        sync(folder)


@contextmanager
def locked(folder: Path, *, alone: bool = True) -> Iterator[None]:
    """Lock a folder against other curate processes while the block runs, without a lock file.

    Args:
        folder: an existing folder.
        alone: an exclusive lock; False for a shared one.

    Raises:
        CouldNotFinish: another process holds a lock that excludes this one.
    """
    try:
        import fcntl
    except ImportError:  # Windows: no lock; renaming a missing file fails, and the apply is undone
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(PermissionError, NotADirectoryError):
            _lock(fcntl, descriptor, folder, alone=alone)
        yield
    finally:
        os.close(descriptor)


def _lock(fcntl: Any, descriptor: int, folder: Path, *, alone: bool) -> None:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CouldNotFinish(
            f"{unicode_name(str(folder))}: another curate is at work on it; wait until it has finished"
        ) from error
    except OSError:  # a file system without locks
        return
