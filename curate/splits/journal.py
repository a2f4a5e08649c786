"""The journal of an apply: all that is going to be done, on disk before the first file is touched.

Every step can be told from what lies on disk (a file is at its place, at its target, or at both), so that an apply that
was killed at any moment can be finished or undone from its journal alone. The file is JSON, one value a line: a head,
one line an entry, then one line for each state reached. A last line that was cut off is as good as not written.
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

from curate.errors import CouldNotFinish, InputError
from curate.images.names import unicode_name
from curate.splits.files import refuse_path, to_disk
from curate.splits.modes import Mode

JOURNAL, DATA, PARTIAL, QUARANTINE = "journal.jsonl", "data", "data.partial", "quarantine"
VERSION = 1


class State(StrEnum):
    """How far an apply is."""

    BEGUN = "begun"
    APPLIED = "applied"
    UNDOING = "undoing"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of the dataset that is linked, copied or moved.

    Attributes:
        name: its path below the dataset's root, as the system gives it; below the target, too.
        sha256: of its bytes, hex.
        link: where it leads, if it is itself a link; None for a file.
        size_bytes, mtime_ns: as it was when it was verified.
    """

    name: str
    sha256: str
    link: str | None
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What an apply is about to do, and how far it is.

    Attributes:
        mode: how.
        root: the dataset's folder, resolved.
        plan: sha256 of the plan.
        entries: files to link, copy, move or name.
        folders: permission bits and mtime_ns of the dataset's folders that a move changes, by name below the root.
        texts: sha256 of manifests that are written into the target, by name.
        state: the last one reached.
        touched: mtime_ns of `folders` when the move was done.
    """

    mode: Mode
    root: Path
    plan: str
    entries: Sequence[Entry]
    folders: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    state: State = State.BEGUN
    touched: Mapping[str, int] = field(default_factory=dict)

    @property
    def steps(self) -> Sequence[Entry]:
        """The files that something happens to: none where they are only named."""
        return () if self.mode is Mode.MANIFEST else self.entries


def write_journal(folder: Path, journal: Journal) -> None:
    """Put a journal on disk, whole or not at all, so that it outlasts a loss of power."""
    head = {
        "curate_journal": VERSION,
        "mode": journal.mode.value,
        "root": str(journal.root),
        "plan": journal.plan,
        "folders": journal.folders,
        "texts": journal.texts,
        "entries": len(journal.entries),
    }
    part = folder / f"{JOURNAL}.part"
    with part.open("w", encoding="ascii") as file:
        file.write(json.dumps(head) + "\n")
        file.writelines(json.dumps(asdict(entry)) + "\n" for entry in journal.entries)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, folder / JOURNAL)
    sync_folder(folder)


def reach(folder: Path, state: State, **more: Any) -> None:
    """Note in the journal that a state is reached."""
    with (folder / JOURNAL).open("a", encoding="ascii") as file:
        file.write("\n" + json.dumps({"state": state.value, **more}) + "\n")  # the line before may be cut off
        file.flush()
        os.fsync(file.fileno())


def remove_journal(folder: Path) -> None:
    """End the story: nothing is applied."""
    (folder / JOURNAL).unlink()
    sync_folder(folder)


def read_journal(folder: Path) -> Journal | None:
    """Return the journal of a folder, None where nothing is applied or begun.

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
        raise InputError(f"{file}: a damaged journal ({error}): nothing was touched") from error


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


def _entry(told: Mapping[str, Any]) -> Entry:
    refuse_path(told["name"])
    if not isinstance(told["sha256"], str) or not isinstance(told["link"], str | None):
        raise ValueError("an entry is wrong")
    return Entry(**told)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system knows how."""
    with suppress(OSError):
        to_disk(folder)


@contextmanager
def locked(folder: Path, *, alone: bool = True) -> Iterator[None]:
    """Hold a folder while the block runs, against other processes of curate; no file is made for it.

    Args:
        folder: one that is there.
        alone: nobody else may hold it; else only those who hold it alone are kept out.

    Raises:
        CouldNotFinish: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: nothing is held; a rename of a file that is gone fails, and the apply is undone
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(PermissionError, NotADirectoryError):
            _hold(fcntl, descriptor, folder, alone=alone)
        yield
    finally:
        os.close(descriptor)


def _hold(fcntl: Any, descriptor: int, folder: Path, *, alone: bool) -> None:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CouldNotFinish(
            f"{unicode_name(str(folder))}: another curate is at work on it: wait until that one has ended"
        ) from error
    except OSError:  # a filesystem that knows no locks
        return
