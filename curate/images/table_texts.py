"""Texts of tables as their writers mean them: encodings, blanks around cells, words for nothing, whole numbers."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

EMPTY_WORDS = frozenset(("-", "--", "nan", "null", "nat", "n/a", "#n/a", "<na>"))
"""What programs write for an empty cell, in lower case."""
NO_NAME_WORDS = EMPTY_WORDS | {"none", "na"}
"""The same for a group or a split; a label may be called none."""
WHOLE = re.compile(r"(-?\d+)(\.0+)?")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode_text(data: bytes) -> str:
    """Return a table's text: UTF-8, or UTF-16 as spreadsheets and consoles of Windows write it; no byte order mark.

    Raises:
        UnicodeDecodeError: it is neither.
    """
    if data.startswith(UTF_16):
        return data.decode("utf-16")
    if b"\n\0" in data and not any(data[1::2]):  # UTF-16 of plain letters, without a mark
        return data.decode("utf-16-le")
    return data.decode("utf-8-sig")


def is_utf_16(data: bytes) -> bool:
    """Return whether bytes are UTF-16, by the same signs as for `decode_text`."""
    return data.startswith(UTF_16) or (b"\n\0" in data and not any(data[1::2]))


def cell_text(text: str, empty: frozenset[str] = EMPTY_WORDS) -> str:
    """Return a cell without the blanks around it; "" for a word that stands for nothing."""
    plain = text.strip()
    return "" if plain.lower() in empty else plain


def whole_numbers(column: Sequence[str]) -> list[str]:
    """Return a column with `1` for `1.0`, where all of it are whole numbers or `1` stands there, too."""
    present = set(column)
    matches = {cell: match for cell in present if (match := WHOLE.fullmatch(cell))}
    all_whole = all(cell in matches for cell in present if cell)
    plain = {cell: match[1] for cell, match in matches.items() if all_whole or match[1] in present}
    return [plain.get(cell, cell) for cell in column]
