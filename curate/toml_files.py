"""TOML with line numbers: whatever is wrong in a file is answered with the file and the line.

`tomllib` forgets where a key stood, so the text is searched for it again: headers and keys are matched a line at a
time, multi-line strings are passed over.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curate.errors import InputError

LARGEST_BYTES = 4 << 20
"""A pack or a settings file is text that a person wrote; a baseline of that size holds some 20,000 entries."""
BARE = r"[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"|'[^']*'"
DOTTED = rf"(?:{BARE})(?:\s*\.\s*(?:{BARE}))*"
HEADER = re.compile(rf"^\s*(\[\[?)\s*({DOTTED})\s*\]\]?")
KEY = re.compile(rf"^\s*({DOTTED})\s*=")
WRONG_SYNTAX = re.compile(r"^(?P<what>.*?) \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class TomlFile:
    """A parsed file that remembers its lines."""

    path: Path
    data: dict[str, Any] = field(repr=False)
    text: str = field(repr=False)

    def place(self, *keys: str | int) -> str:
        """Return `file:line` of a key, or of the nearest of its parents that has a line of its own."""
        for length in range(len(keys), 0, -1):
            if line := self._lines.get(tuple(keys[:length])):
                return f"{self.path}:{line}"
        return f"{self.path}:1"

    @cached_property
    def _lines(self) -> dict[Keys, int]:
        return dict(_lines(self.text))


def read_toml(path: Path) -> TomlFile:
    """Read a TOML file.

    Raises:
        InputError: it is not there, too large, not UTF-8 or not TOML; the line is named.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(
                f"{path}:1: larger than {LARGEST_BYTES >> 20} MB, too large for a file of settings or rules"
            )
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from error
    try:
        return TomlFile(path, tomllib.loads(text), text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(_syntax(path, str(error), text)) from error


def _syntax(path: Path, told: str, text: str) -> str:
    found = WRONG_SYNTAX.match(told)
    line = (found and found["line"]) or str(text.count("\n") + 1)
    what = found["what"] if found else told
    return f"{path}:{line}: not TOML ({what[:1].lower()}{what[1:]}); correct the line"


def _lines(text: str) -> Iterator[tuple[Keys, int]]:
    """Yield the keys of a document with the line that each stands on; entries of arrays of tables are numbered."""
    inside: Keys = ()
    counts: dict[Keys, int] = {}
    multiline = ""
    for number, line in enumerate(text.splitlines(), 1):
        if multiline:
            multiline = "" if multiline in line else multiline
            continue
        if header := HEADER.match(line):
            inside = _keys(header[2])
            if header[1] == "[[":
                counts[inside] = counts.get(inside, -1) + 1
                yield inside, number
                inside = (*inside, counts[inside])
            yield from ((inside[: depth + 1], number) for depth in range(len(inside) - 1, len(inside)))
        elif key := KEY.match(line):
            yield (*inside, *_keys(key[1])), number
            multiline = next((q for q in ('"""', "'''") if line.count(q) == 1), "")


def _keys(dotted: str) -> Keys:
    return tuple(part.strip("\"'") for part in re.findall(BARE, dotted))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean X?" for the known word most like this one; else all that there are."""
    words = list(known)
    close = difflib.get_close_matches(word, words, 1, cutoff=0.55)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(words)}"


def first_fault(error: ValidationError, known: Iterable[str]) -> tuple[Keys, str]:
    """Return where the first fault of a model lies, and what it is in half a sentence.

    Args:
        error: of pydantic.
        known: the names that are allowed, for one that is not.
    """
    fault = error.errors(include_url=False)[0]
    where: Keys = tuple(fault["loc"])
    name = next((part for part in reversed(where) if isinstance(part, str)), "")
    if fault["type"] == "extra_forbidden":
        return where, f"unknown key {name!r}; {nearest(name, known)}"
    if fault["type"] == "missing":
        return where, f"the key {name!r} is missing"
    said = fault["msg"].removeprefix("Value error, ")
    said = said[:1].lower() + said[1:]
    shown = repr(fault["input"])
    return where, f"{name} = {shown if len(shown) <= 60 else shown[:57] + '...'}: {said}"
