"""Regular expressions that may make groups of file names.

A name is cut into tokens: runs of letters, runs of digits, and what lies between them. A pattern captures a run of
tokens, counted from the left or from the right, and spells what lies between it and that end: text that is the same in
every name as it is, all else and every number by its kind. The last one, two or three digits of a number may be left
out, which makes series of 10, 100 or 1000 consecutive numbers. The name of a folder above may be captured too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

MOST_TOKENS, MOST_SHAPES, MOST_PATTERNS, LONGEST_TEXT = 12, 4, 1000, 40
"""Tokens of a name, shapes of names, patterns, letters spelt out: the cost is bounded, whatever the names."""
SERIES = (r"\d", r"\d\d", r"\d\d\d")

TOKEN = re.compile(r"[0-9]+|[^\W\d_]+|(?:(?![0-9]|[^\W\d_]).)+", re.DOTALL)
SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
START, EXTENSION, REST = "(?:^|/)", r"\.[^./]*$", "[^/]*$"
DIGITS, LETTERS, BETWEEN = r"\d+", r"\pL+", r"[^\pL\d/]+"


def patterns(paths: Sequence[str]) -> list[str]:
    """Return distinct regular expressions, in RE2's syntax, that may name the parts of some images by their paths."""
    folders = [path.rpartition("/")[0] for path in paths]
    stems = [path.rpartition("/")[2].rpartition(".")[0] for path in paths]
    parents = [folder.rpartition("/")[2] for folder in folders]
    found = [*_folder_patterns(folders), *_of_names(parents, f"/{REST}", f"[^/]*/{REST}")]
    found += [rf"([^/]+){EXTENSION}", *_of_names(stems, EXTENSION, REST)]
    if len(set(folders)) > 1:
        for folder in ("([^/]+)/", "([^/]+)/[^/]+/"):
            found += _of_names(stems, EXTENSION, REST, left=folder, right=f"{folder}[^/]*?")
    return list(islice(dict.fromkeys(found), MOST_PATTERNS))


def _folder_patterns(folders: Sequence[str]) -> list[str]:
    """Return the patterns of whole folders: the parent, the one above it, all of them."""
    return [f"([^/]+)/{REST}", f"([^/]+)/[^/]+/{REST}", f"^(.*)/{REST}"] if any(folders) else []


def _of_names(names: Sequence[str], end: str, rest: str, *, left: str = START, right: str = "") -> Iterator[str]:
    """Yield the patterns of runs in a name.

    Args:
        names: of files without extension, or of folders.
        end: matches what follows a name.
        rest: matches what follows a run, to the end of the path.
        left, right: match what is before a name, for runs counted from the left and from the right.
    """
    tokens = [TOKEN.findall(name) for name in names]
    for shape in _shapes([one[:MOST_TOKENS] for one in tokens]):
        for before, key, _ in _runs(shape):
            yield f"{left}{before}{key}{rest}"
    for shape in _shapes([one[-MOST_TOKENS:] for one in tokens]):
        for _, key, after in _runs(shape):
            yield f"{right}{key}{after}{end}"


def _shapes(names: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the most common shapes of names: a pattern for each token."""
    by_kinds = Counter(tuple(_kind(token) for token in name) for name in names if name)
    common = sorted(by_kinds, key=lambda kinds: (-by_kinds[kinds], kinds))[:MOST_SHAPES]
    same = [[name for name in names if tuple(_kind(token) for token in name) == kinds] for kinds in common]
    return [
        [_pattern(set(place), kind) for place, kind in zip(zip(*some, strict=True), kinds, strict=True)]
        for some, kinds in zip(same, common, strict=True)
    ]


def _kind(token: str) -> str:
    if token[0] in "0123456789":
        return DIGITS
    return LETTERS if token[0].isalpha() else BETWEEN


def _pattern(values: set[str], kind: str) -> str:
    """Return a pattern for the tokens at one place: the text itself if it is the same in all, printable, no number."""
    value = min(values)
    plain = value.isascii() and value.isprintable() and len(value) <= LONGEST_TEXT
    if len(values) > 1 or kind == DIGITS or not plain:
        return "[A-Za-z]+" if kind == LETTERS and all(one.isascii() for one in values) else kind
    return SPECIAL.sub(r"\\\g<0>", value)


def _runs(shape: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield what is before a run of tokens, the run captured, and what is after it, as patterns."""
    for first in range(len(shape)):
        for last in range(first, len(shape)):
            before, run, after = ("".join(part) for part in (shape[:first], shape[first : last + 1], shape[last + 1 :]))
            yield before, f"({run})", after
            if shape[last] == DIGITS:
                yield from ((before, f"({run}){dropped}", after) for dropped in SERIES)
