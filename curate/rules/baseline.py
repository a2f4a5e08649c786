"""Accepted violations of rules, each with a reason, an owner and a day of expiry.

An entry names a rule and a content: the sha256 of the image's file ("path:" and the path where the file could not be
read), or "set:" and the fingerprint of the dataset where the set as a whole breaks the rule. A changed image has
another content, so its entry no longer applies.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from curate.atomic_files import replace_text
from curate.errors import InputError, WriteError
from curate.toml_files import first_fault, read_toml

SET = "set:"
HEAD = "# What `curate check` accepts, written by --update-baseline; reason, owner and expires are yours to edit.\n"


class Entry(BaseModel):
    """One accepted violation. `path`, and `group` where it is about an image, only inform the reader."""

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
        """What identifies the violation: rule, content, and for the set as a whole the group."""
        return self.rule, self.content, self.group if self.content.startswith(SET) else ""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The entries of a baseline file.

    Attributes:
        path: the file.
        entries: in the file's order.
        places: `file:line` of each entry.
        today: entries that expire before this day no longer apply.
    """

    path: Path
    entries: tuple[Entry, ...] = ()
    places: tuple[str, ...] = ()
    today: date

    def accepted(self, rule: str) -> dict[tuple[str, str], Entry]:
        """Return the entries of a rule that apply today, by content and group; the group of an image is ""."""
        return {entry.key[1:]: entry for entry in self.entries if entry.rule == rule and entry.expires >= self.today}

    def notes(self, checked: Sequence[str], used: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
        """Return a sentence for each entry that has expired or no longer accepts anything.

        Args:
            checked: the codes of the rules that were checked; entries of others are left alone.
            used: the keys of the entries that accepted something.
        """
        used_keys, notes = set(used), list[str]()
        for entry, place in zip(self.entries, self.places, strict=True):
            what = f"{place}: {entry.rule} for {entry.path or entry.group or 'the set'}"
            if entry.expires < self.today:
                notes.append(f"{what} expired on {entry.expires}; ask {entry.owner}, correct the data or renew it")
            elif entry.rule in checked and entry.key not in used_keys:
                notes.append(f"{what} no longer accepts anything; remove it")
        return tuple(notes)


def read_baseline(path: Path, today: date, *, may_lack: bool = False) -> Baseline:
    """Read a baseline.

    Args:
        today: entries that expire before this day no longer apply.
        may_lack: treat a missing file as one without entries.

    Raises:
        InputError: an entry is wrong; file and line are named.
    """
    if may_lack and not path.exists():
        return Baseline(path=path, today=today)
    file = read_toml(path)
    rows = file.data.get("accepted", [])
    unknown = [key for key in file.data if key != "accepted"]
    if unknown or not isinstance(rows, list):
        wrong = unknown[0] if unknown else "accepted"
        raise InputError(f"{file.place(wrong)}: unknown key {wrong!r}; a baseline holds only [[accepted]] entries")
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
        replace_text(path, "\n".join(blocks))
    except OSError as error:
        raise WriteError(f"{path}: the baseline cannot be written ({error.strerror or error})") from error


def accepted_words(path: Path, entries: Sequence[Entry]) -> str:
    """Return what a baseline accepts and until when, in one sentence.

    Args:
        path: of the baseline.
        entries: that it holds now.
    """
    if not entries:
        return f"{path}: accepts nothing; no rule fails"
    counts = Counter((entry.rule, entry.content.startswith(SET)) for entry in entries)
    parts = [
        f"{rule} for {'the set' if of_set else 'one image' if count == 1 else f'{count} images'}"
        for (rule, of_set), count in sorted(counts.items())
    ]
    days = sorted({entry.expires for entry in entries})
    until = f"until {days[0]}" if len(days) == 1 else f"the first until {days[0]}, the last until {days[-1]}"
    return f"{path}: accepts {', '.join(parts)}; {until}"


def _block(values: Mapping[str, object]) -> str:
    lines = [f"{name} = {toml_string(str(value))}" for name, value in values.items() if value]
    return "\n".join(["[[accepted]]", *lines, ""])


def toml_string(text: str) -> str:
    """Return text as a basic string of TOML: JSON's escapes, and the one control character that JSON lets through."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
