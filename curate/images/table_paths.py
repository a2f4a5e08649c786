"""From a path in a table to a file below a folder: as it is written, else in the one other way that names a file there.

Other ways are those in which programs and systems differ: blanks around it, backslashes, composed or decomposed accents
(NFC, NFD), upper and lower case, and an absolute path of another machine whose end is below the folder. Where none
names a file the path stays as it is written, and decoding says that the file is missing.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from curate.errors import InputError
from curate.images.folders import walk

DRIVE = re.compile(r"[A-Za-z]:/|//")


class TablePaths:
    """The files below a folder, by the paths of a table.

    Args:
        folder: as it was named.
        what: its name in messages: "the manifest's folder".
    """

    def __init__(self, folder: Path, what: str = "the manifest's folder") -> None:
        self._homes = (os.path.normpath(folder.absolute()), os.fspath(folder.resolve()))
        self._what = what
        self._moved_from = ""

    def name(self, text: str, where: str) -> str:
        """Return the path of a row below the folder, "/" between folders.

        Args:
            text: the path as the table has it.
            where: the row's place, for messages.

        Raises:
            InputError: the path is empty, leads out of the folder, or names several files.
        """
        if not text.strip():
            raise InputError(f"{where}: the path is empty: name an image or remove the row")
        for spelling in spellings(text):
            name = self._inside(spelling)
            if name is not None and self._is_there(name):
                return name
        plain = text if os.sep in text.strip() else text.strip().replace("\\", "/")
        name = self._inside(plain) if not DRIVE.match(plain.replace("\\", "/")) else None
        if name is None:
            return self._moved(text.strip().replace("\\", "/"), text, where)
        return self._other_case(name, where) or name

    def _inside(self, name: str) -> str | None:
        """Return a path below the folder, by name only; None if it leads out."""
        full = os.path.normpath(os.path.join(self._homes[0], name))  # noqa: PTH118  of each row
        for folder in self._homes:
            start = folder.rstrip(os.sep) + os.sep
            if full.startswith(start):
                return full[len(start) :].replace(os.sep, "/")
        return None

    def _is_there(self, name: str) -> bool:
        return os.path.lexists(os.path.join(self._homes[0], name)) if "\0" not in name else False  # noqa: PTH118

    def _moved(self, plain: str, text: str, where: str) -> str:
        """Return what is left of an absolute path of another place: all paths of a table lose the same beginning."""
        absolute = plain.startswith("/") or DRIVE.match(plain)
        if absolute and self._moved_from and plain.startswith(self._moved_from):
            return plain.removeprefix(self._moved_from)
        parts = plain.split("/")
        if absolute and not self._moved_from and ".." not in parts:
            for at in range(1, len(parts)):
                tail = "/".join(parts[at:])
                if tail and not tail.startswith("/") and self._is_there(tail):
                    self._moved_from = plain.removesuffix(tail)
                    return tail
        raise InputError(
            f"{where}: {text!r} leads out of {self._what}: move the manifest above the images, or name their folder "
            "with --root"
        )

    def _other_case(self, name: str, where: str) -> str:
        """Return the one file whose name differs in case and accents alone, "" if there is none."""
        names = self._by_key.get(_key(name), [])
        if len(names) > 1:
            raise InputError(f"{where}: {name!r} may be {names[0]!r} or {names[1]!r}: write the one that is meant")
        return names[0] if names else ""

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        """The images below the folder by `_key`; they are listed once, when the first path names no file."""
        names: dict[str, list[str]] = {}
        for file in sorted(walk(Path(self._homes[1]), Counter())):
            names.setdefault(_key(file.name), []).append(file.name)
        return names


def spellings(text: str) -> Iterator[str]:
    """Yield a path as it is written, then in the other ways that programs and systems write it, each once."""
    plain = text.strip()
    quoted = plain[1:-1] if len(plain) > 2 and plain[0] == plain[-1] == '"' else plain
    ways = [text, plain, quoted, quoted.replace("\\", "/")]
    ways += [unicodedata.normalize(form, quoted.replace("\\", "/")) for form in ("NFC", "NFD")]
    yield from dict.fromkeys(ways)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
