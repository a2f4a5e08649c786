"""What of the defects planted in a set's own images is found: read from `run.json`, in words and as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curate.findings import Code
from curate.images.names import printable
from curate.reports import plots
from curate.reports.numbers import finite, percent

EASIER = "Planted defects are easier to find than real ones, so these shares are upper limits for real defects."
SETS_NAMED = 5
"""Nominal sets that a sentence names; it says that there are more."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The planted defects of one range of sizes and contrasts.

    Attributes:
        size: low and high end, as shares of the image's longest side, 0-1.
        contrast: low and high end of how much of the defect shows, 0-1.
        planted, found: how many there are, and how many of them score above the threshold.
        interval: of 90 %, of the share that is found, 0-1.
    """

    size: tuple[float, float]
    contrast: tuple[float, float]
    planted: int
    found: int
    interval: tuple[float, float]

    @property
    def size_words(self) -> str:
        """The range of sizes: "7 to 15 %"."""
        return _range(self.size)

    @property
    def contrast_words(self) -> str:
        """The range of contrasts: "up to 65 %"."""
        return _range(self.contrast)

    @property
    def words(self) -> str:
        """What was found, in a phrase."""
        low, high = self.interval
        return (
            f"{self.size_words} of the image's longest side at a contrast of {self.contrast_words}: {self.found} of "
            f"{self.planted} found ({percent(low)} to {percent(high)})"
        )


@dataclass(frozen=True, kw_only=True)
class PlantedDefects:
    """What `run.json` says of the planted defects.

    Attributes:
        planted, found: how many there are, and how many of them score above the threshold.
        cells: by size and contrast, those that hold a defect.
        like_nominal: of each nominal set, the families that score no higher than its nominal images.
        cannot_tell: the nominal sets in which planted defects score hardly more than nominal images vary.
    """

    planted: int
    found: int
    cells: tuple[Cell, ...]
    like_nominal: Mapping[str, tuple[str, ...]]
    cannot_tell: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PowerPanel:
    """The figure of a report, and what it shows in words."""

    svg: str
    words: str
    cells: tuple[Cell, ...]
    sentences: tuple[str, ...]


def planted_defects(run: Mapping[str, Any]) -> PlantedDefects | None:
    """Return what a run says of its planted defects; None where none were planted. What cannot be read is left out."""
    power = run.get("power")
    if not isinstance(power, Mapping):
        return None
    cells = tuple(cell for row in _items(power.get("table")) if (cell := _cell(row)) is not None)
    planted, found = _whole(power.get("planted")), _whole(power.get("found"))
    if planted is None or found is None or not 0 <= found <= planted or not planted:
        return None
    like = power.get("like_nominal")
    return PlantedDefects(
        planted=planted,
        found=found,
        cells=cells,
        like_nominal={str(name): tuple(str(family) for family in _items(families)) for name, families in like.items()}
        if isinstance(like, Mapping)
        else {},
        cannot_tell=tuple(str(name) for name in _items(power.get("cannot_tell"))),
    )


def found_words(defects: PlantedDefects) -> str:
    """Return how many planted defects were found, and of the largest, in one sentence."""
    words = f"Planted defects found: {defects.found:,} of {defects.planted:,}"
    largest = max((cell.size for cell in defects.cells), default=None)
    if largest is None or not largest[0]:
        return f"{words}."
    cells = [cell for cell in defects.cells if cell.size == largest]
    found, planted = sum(cell.found for cell in cells), sum(cell.planted for cell in cells)
    return f"{words}; of those above {percent(largest[0])} of the image {found:,} of {planted:,}."


def unseen_words(defects: PlantedDefects) -> str:
    """Return the sentence about nominal sets in which defects may be there, unseen; "" if there is none."""
    if not defects.cannot_tell:
        return ""
    names = [printable(name) for name in defects.cannot_tell if name]
    where = f" in {', '.join(names[:SETS_NAMED])}{', and more' * (len(names) > SETS_NAMED)}" if names else ""
    return (
        f"Planted defects score hardly more than nominal images vary{where}: real defects may be there, unseen "
        f"({Code.DEFECTS_UNSEEN})."
    )


def power_panel(run: Mapping[str, Any]) -> PowerPanel | None:
    """Return the figure of what of the planted defects was found; None where none were planted."""
    defects = planted_defects(run)
    if defects is None or not defects.cells:
        return None
    words = f"{found_words(defects)} By size and contrast, with the interval of 90 % of the share found: "
    words += "; ".join(cell.words for cell in defects.cells) + "."
    sentences = (found_words(defects), unseen_words(defects), _like_nominal_words(defects), EASIER)
    shares = [(one.size_words, one.contrast_words, one.found / one.planted, one.interval) for one in defects.cells]
    return PowerPanel(
        svg=plots.power(shares, "p-"),
        words=words,
        cells=defects.cells,
        sentences=tuple(sentence for sentence in sentences if sentence),
    )


def _like_nominal_words(defects: PlantedDefects) -> str:
    named = [
        f"{', '.join(map(printable, families))}" + (f" ({printable(name)})" if name else "")
        for name, families in sorted(defects.like_nominal.items())
        if families
    ]
    if not named:
        return ""
    more = "; and more" * (len(named) > SETS_NAMED)
    return f"Kinds of defects not told from nominal images: {'; '.join(named[:SETS_NAMED])}{more}."


def _cell(row: object) -> Cell | None:
    """Return a row of the table; None where it cannot be read."""
    if not isinstance(row, Mapping):
        return None
    names = ("size_low", "size_high", "contrast_low", "contrast_high", "low", "high")
    shares = [value for name in names if (value := finite(row.get(name))) is not None and 0 <= value <= 1]
    planted, found = _whole(row.get("planted")), _whole(row.get("found"))
    if len(shares) < len(names) or planted is None or found is None or not 0 <= found <= planted or not planted:
        return None
    size_low, size_high, contrast_low, contrast_high, low, high = shares
    return Cell(
        size=(size_low, size_high),
        contrast=(contrast_low, contrast_high),
        planted=planted,
        found=found,
        interval=(low, high),
    )


def _range(ends: tuple[float, float]) -> str:
    low, high = ends
    if not low:
        return f"up to {percent(high)}"
    return f"above {percent(low)}" if high == 1 else f"{percent(low).removesuffix(' %')} to {percent(high)}"


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9 else None
