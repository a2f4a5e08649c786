"""Names of files and other texts of a dataset as valid Unicode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def unique_names(names: Iterable[str]) -> Iterator[str]:
    r"""Yield each name as valid Unicode, undecodable bytes as `\xNN`; `~2` follows where a file has that very name."""
    originals = list(names)
    invalid = [name for name in originals if unicode_name(name) != name]
    taken = set(originals) if invalid else set()
    for name in originals:
        shown, number = unicode_name(name), 1
        plain = shown
        while shown != name and shown in taken:
            number += 1
            shown = f"{plain}~{number}"
        if shown != name:
            taken.add(shown)
        yield shown


def unicode_name(name: str) -> str:
    r"""Return a file name or other text as valid Unicode: bytes that are not UTF-8 (Python's surrogates) as `\xNN`."""
    try:
        name.encode()
    except UnicodeEncodeError:
        escaped = (f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in name)
        return "".join(escaped).encode(errors="backslashreplace").decode()
    return name


def printable(text: str) -> str:
    """Return text with control and other invisible characters escaped, those that turn its direction too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
