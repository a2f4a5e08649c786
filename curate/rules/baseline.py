"""Findings that are known and accepted, each with a reason, an owner and a day when that ends.

An entry names a rule and a content: the sha256 of the image's file ("path:" and the path where the file could not be
read), or "set:" and the fingerprint of the dataset for what is true of the set as a whole. A changed image is another
content.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from curate.errors import InputError, WriteError
from curate.toml_files import first_fault, read_toml

HEAD = "# What `curate check` accepts, written by --update-baseline; reason, owner and expires are yours to edit.\n"


class Entry(BaseModel):
    """One accepted finding. `path` and `group` only tell a reader where it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str = Field(min_length=1)
    content: str = Field(min_length=1)
    path: str = ""
    group: str = ""
    reason: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    expires: date

    @field_validator("expires", mode="before")
    @classmethod
    def _day(cls, value: object) -> object:
        if isinstance(value, str):
            return date.fromisoformat(value)
        return value

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same finding: rule, content, and for the set as a whole the group."""
        return self.rule, self.content, self.group if self.content.startswith("set:") else ""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The accepted findings of a file.

    Attributes:
        path: the file.
        entries: in the file's order.
        places: `file:line` of each entry.
        today: the day that decides what has expired.
    """

    path: Path
    entries: tuple[Entry, ...] = ()
    places: tuple[str, ...] = ()
    today: date

    def accepted(self, rule: str) -> dict[tuple[str, str], Entry]:
        """Return the entries of a rule that hold today, by content and group; "" for the group of an image."""
        return {entry.key[1:]: entry for entry in self.entries if entry.rule == rule and entry.expires >= self.today}

    def notes(self, checked: Sequence[str], used: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
        """Return a sentence for each entry that has expired, or accepts nothing any more.

        Args:
            checked: the codes of the rules that were checked; entries of others are left alone.
            used: the keys of the entries that accepted something.
        """
        known, told = set(used), list[str]()
        for entry, place in zip(self.entries, self.places, strict=True):
            what = f"{place}: {entry.rule} for {entry.path or entry.group or 'the set'}"
            if entry.expires < self.today:
                told.append(f"{what} expired on {entry.expires}; ask {entry.owner}, mend the data or renew the entry")
            elif entry.rule in checked and entry.key not in known:
                told.append(f"{what} accepts nothing any more; remove it")
        return tuple(told)


def read_baseline(path: Path, today: date, *, may_lack: bool = False) -> Baseline:
    """Read a baseline.

    Args:
        today: the day that decides what has expired.
        may_lack: take a file that is not there as one without entries.

    Raises:
        InputError: an entry is wrong; file and line are named.
    """
    if may_lack and not path.exists():
        return Baseline(path=path, today=today)
    file = read_toml(path)
    rows = file.data.get("accepted", [])
    strangers = [key for key in file.data if key != "accepted"]
    if strangers or not isinstance(rows, list):
        wrong = strangers[0] if strangers else "accepted"
        raise InputError(f"{file.place(wrong)}: unknown key {wrong!r}; a baseline holds [[accepted]] entries alone")
    entries, places = [], []
    for number, row in enumerate(rows):
        try:
            entries.append(Entry.model_validate(row))
        except ValidationError as error:
            where, what = first_fault(error, Entry.model_fields)
            raise InputError(f"{file.place('accepted', number, *where)}: accepted finding: {what}") from error
        places.append(file.place("accepted", number))
    return Baseline(path=path, entries=tuple(entries), places=tuple(places), today=today)


def write_baseline(path: Path, entries: Iterable[Entry]) -> None:
    """Write entries in the order of their rules and paths: equal entries give equal bytes.

    Raises:
        WriteError: the file cannot be written.
    """
    ordered = sorted(entries, key=lambda entry: (entry.rule, entry.path, entry.group, entry.content))
    blocks = [HEAD, *(_block(entry.model_dump(mode="json")) for entry in ordered)]
    try:
        path.write_text("\n".join(blocks), encoding="utf-8")
    except OSError as error:
        raise WriteError(f"{path}: the baseline cannot be written ({error.strerror or error})") from error


def _block(values: Mapping[str, object]) -> str:
    lines = [f"{name} = {toml_string(str(value))}" for name, value in values.items() if value]
    return "\n".join(["[[accepted]]", *lines, ""])


def toml_string(text: str) -> str:
    """Return text as a basic string of TOML: JSON's escapes, and the one control character that JSON lets through."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
