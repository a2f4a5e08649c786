"""TOML with line numbers, so that errors name the file and the line.

`tomllib` does not keep the positions of keys. The text is searched for them: headers and keys are matched line by line,
multi-line strings are skipped.
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
"""People write packs and settings by hand; a baseline of this size holds about 20,000 entries."""
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
        """Return `file:line` of a key, or of its nearest parent that has a line of its own."""
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
        InputError: it does not exist, is too large, not UTF-8 or not TOML; the message names the line.
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


def _syntax(path: Path, message: str, text: str) -> str:
    match = WRONG_SYNTAX.match(message)
    line = (match and match["line"]) or str(text.count("\n") + 1)
    fault = match["what"] if match else message
    return f"{path}:{line}: not TOML ({fault[:1].lower()}{fault[1:]}); correct the line"


def _lines(text: str) -> Iterator[tuple[Keys, int]]:
    """Yield the keys of a document with their lines; entries of arrays of tables are numbered."""
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


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return "did you mean X?" for the allowed word most like this one, or else a list of all."""
    words = list(allowed)
    close = difflib.get_close_matches(word, words, 1, cutoff=0.55)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(words)}"


def first_fault(error: ValidationError, allowed: Iterable[str]) -> tuple[Keys, str]:
    """Return the location of the first fault in an error of pydantic, and what it is as half a sentence.

    Args:
        allowed: names of keys, suggested in place of an unknown one.
    """
    fault = error.errors(include_url=False)[0]
    where: Keys = tuple(fault["loc"])
    name = next((part for part in reversed(where) if isinstance(part, str)), "")
    if fault["type"] == "extra_forbidden":
        return where, f"unknown key {name!r}; {nearest(name, allowed)}"
    if fault["type"] == "missing":
        return where, f"the key {name!r} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    shown = repr(fault["input"])
    return where, f"{name} = {shown if len(shown) <= 60 else shown[:57] + '...'}: {message}"
