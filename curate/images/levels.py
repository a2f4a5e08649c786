"""The black and white level of deep files, one for the whole set, so that its images stay comparable.

    an even sample of the deep files -> markers -> the range of each file -> those of the typical scale -> levels

A 12-bit camera writes its counts into 16-bit files, and nothing in the file says that white is 4095. So white is the
smallest of 255, 1023, 4095, 16383, 65535, ... that holds nearly all counts. Floating-point files are 0-1 or 0-255 if
nearly all values fit there, else stretched over their range. In signed data, black is the smallest value.

No single value and no single file decides: the highest and lowest thousandth of a file's values do not count, nor do
files of another scale than the median file, nor markers of missing measurements such as -9999.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.images import formats, rasters, tiff
from curate.images.files import open_regular, read_file
from curate.images.integrity import attempt, clipped, little_contrast, marked, not_finite
from curate.records import Finding, FloatArray

T = TypeVar("T")

WHITES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0, 2.0**20 - 1, 2.0**24 - 1, 2.0**32 - 1)
FILES_PEEKED = 1024
FILES_READ = 32
HEAD_BYTES = 4096
VALUES_READ = 2**20
"""Of each file in the sample, so many values are looked at, evenly spaced."""
OUTLIERS_FROM = 256
"""From so many values on, the highest and the lowest thousandth do not count."""
OTHER_SCALE = 8
"""A file is of another scale than the median file if it goes beyond that one's levels by eight times their width."""
LEAST_FILLED = 16
"""Where the values fill less than a sixteenth of the levels, the levels close up to twice their range."""
MARKERS = frozenset((-9999.0, -99999.0, -999.0, -32768.0, -32767.0, 9999.0, 99999.0, 32767.0, 65535.0))
"""Values by which sensors and programs mark missing measurements; beside them -1 among values of 0 and more."""
MOST_MARKERS = 4
"""Of one file."""
MARKER_GAP, KNOWN_MARKER_GAP = 100, 1
"""How far a marker lies from all other values, in widths of the middle 80 % of those."""
FEWEST_MEASURED = 16
"""Distinct values beside a marker: in a picture of two values, none is a marker."""
LEAST_CONTRAST = 0.01
CONTRAST_VALUES = 2**14
MAY_BE_DEEP = frozenset((".png", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpx"))


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How image files are decoded.

    Attributes:
        max_pixels: larger images are not decoded but become unreadable rows.
        white_level: the value that is white in files of more than 8 bits; None to find it in the set.
        bands: the bands that make the picture of a TIFF of many bands, from 1: one as grey or three as red, green and
            blue; () for its first.
    """

    max_pixels: int = 512_000_000
    white_level: float | None = None
    bands: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise UsageError(f"max-pixels is {self.max_pixels}: give a number of pixels of at least 1")
        white = self.white_level
        if white is not None and not (math.isfinite(white) and white > 0):
            raise UsageError(f"white-level is {white}: give a positive number such as 4095 for 12-bit cameras")
        if len(self.bands) not in (0, 1, 3) or min(self.bands, default=1) < 1:
            given = ",".join(map(str, self.bands))
            raise UsageError(f"bands is {given}: give one band, or three for red, green and blue, counted from 1")


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What is black and what is white in files of more than 8 bits; integers and floats apart.

    Attributes:
        origin: "default" (no deep file in the sample), "sample", or "given" (--white-level).
        files_sampled: how many deep files were read to decide.
        markers: values that mark missing measurements; they become black.
    """

    integer_black: float = 0.0
    integer_white: float = 65535.0
    float_black: float = 0.0
    float_white: float = 1.0
    origin: str = "default"
    files_sampled: int = 0
    markers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "markers", tuple(self.markers))  # a list, where an audit was read

    def as_json(self) -> dict[str, Any]:
        """Return JSON values only: recorded in the audit, part of the cache's key."""
        return asdict(self) | {"markers": list(self.markers)}

    def bounds(self, kind: np.dtype[Any]) -> tuple[float, float]:
        """Return (black, white) for samples of this type."""
        if kind.kind == "f":
            return self.float_black, self.float_white
        return self.integer_black, self.integer_white


def find_levels(files: Sequence[Path], config: DecodeConfig) -> Levels:
    """Return the levels of a set. Where no file is deep, only the heads of at most 1024 files are read.

    Files that cannot be read are skipped here; decoding reports them.
    """
    if config.white_level is not None:
        return Levels(integer_white=config.white_level, float_white=config.white_level, origin="given")
    candidates = [file for file in files if file.suffix.lower() in MAY_BE_DEEP]
    deep = [file for file in spread(candidates, FILES_PEEKED) if is_deep(file)]
    ranges = (_range(file, config) for file in spread(deep, FILES_READ))
    return _decide([values for values in ranges if values is not None])


def spread(files: Sequence[T], count: int) -> list[T]:
    """Return up to `count` of the files, or of what else is in order, evenly spaced, first and last included."""
    if len(files) <= count:
        return list(files)
    return [files[index * (len(files) - 1) // (count - 1)] for index in range(count)]


def is_deep(file: Path) -> bool:
    """Return whether the head of the file announces more than 8 unsigned bits a sample; False if it cannot be read."""
    return attempt(lambda: _peek(file)) is True


def _peek(file: Path) -> bool:
    with os.fdopen(open_regular(file), "rb") as stream:
        head = stream.read(HEAD_BYTES)
        kind = formats.sniff(head)
        if kind is formats.FileFormat.PNG:
            return head[24] == 16
        if kind is formats.FileFormat.JPEG2000:
            return formats.jpeg2000_bits(head) > 8
        if kind is formats.FileFormat.TIFF:
            stream.seek(0)
            page = tiff.read_page(stream)
            return page.bits > 8 or not page.dtype.startswith(("uint", "bool"))
        return kind is formats.FileFormat.NETPBM and formats.read_header(head).deep


@dataclass(frozen=True, kw_only=True)
class _Range:
    """The finite values of one file.

    Attributes:
        low, high: the range without markers, and without the lowest and the highest thousandth.
        least, most: the range without markers.
        markers: values that mark missing measurements.
    """

    floating: bool
    low: float
    high: float
    least: float
    most: float
    markers: tuple[float, ...]


def _range(file: Path, config: DecodeConfig) -> _Range | None:
    """Return the range of a file's values; None if there are none."""
    data = read_file(file, config.max_pixels)
    if isinstance(data, Finding):
        return None
    measured = attempt(lambda: _measured(data, config))
    return None if isinstance(measured, Finding) else measured


def _measured(data: bytes, config: DecodeConfig) -> _Range | None:
    header = formats.read_header(data)
    if not header.deep or header.stored[0] * header.stored[1] > config.max_pixels:
        return None
    values = rasters.read_deep(data, header, bands=config.bands).values.ravel()
    sample = values[:: -(-len(values) // VALUES_READ) | 1]  # an odd step does not follow columns
    finite = sample[np.isfinite(sample)] if values.dtype.kind == "f" else sample
    if not finite.size:
        return None
    markers = _markers(finite)
    finite = finite[~_is_one_of(finite, markers)]
    beyond = max(1, len(finite) // 1000) if len(finite) >= OUTLIERS_FROM else 0
    ordered = np.partition(finite, (beyond, len(finite) - 1 - beyond))
    return _Range(
        floating=values.dtype.kind == "f",
        low=float(ordered[beyond]),
        high=float(ordered[len(finite) - 1 - beyond]),
        least=float(finite.min()),
        most=float(finite.max()),
        markers=markers,
    )


def _markers(values: NDArray[Any]) -> tuple[float, ...]:
    """Return the values of one file that mark missing measurements: repeated, and far from all others.

    Source: ours.
    """
    markers: list[float] = []
    while len(markers) < MOST_MARKERS:
        marker = next((end for end in (values.min(), values.max()) if _is_marker(end, values)), None)
        if marker is None:
            break
        markers.append(float(marker))
        values = values[values != marker]
    return tuple(markers)


def _is_marker(value: Any, values: NDArray[Any]) -> bool:
    others = values[values != value]
    if not others.size or len(values) - len(others) < 2:
        return False
    least, most = float(others.min()), float(others.max())
    if value == -1 and least >= 0:
        return True
    low, high = np.quantile(others.astype(np.float64, copy=False), (0.1, 0.9))
    gap, known = max(least - float(value), float(value) - most), float(value) in MARKERS
    if gap <= (KNOWN_MARKER_GAP if known else MARKER_GAP) * (high - low):
        return False
    # a negative one cannot be a light in a picture of few values
    return (known and value < 0) or len(np.unique(others[:: len(others) // CONTRAST_VALUES | 1])) >= FEWEST_MEASURED


def _is_one_of(values: NDArray[Any], markers: Sequence[float]) -> NDArray[np.bool_]:
    found = np.zeros(values.shape, np.bool_)
    for marker in markers:
        found |= values == marker
    return found


def _decide(ranges: Sequence[_Range]) -> Levels:
    if not ranges:
        return Levels()
    integers = [one for one in ranges if not one.floating]
    floats = [one for one in ranges if one.floating]
    integer_black, integer_white = _fitted(integers, _integer_levels) if integers else (0.0, 65535.0)
    float_black, float_white = _fitted(floats, _float_levels) if floats else (0.0, 1.0)
    measured = {end for one in ranges for end in (one.least, one.most) if one.least < one.most}
    return Levels(
        integer_black=integer_black,
        integer_white=integer_white,
        float_black=float_black,
        float_white=float_white,
        origin="sample",
        files_sampled=len(ranges),
        # what is a measurement in one file marks nothing in another
        markers=tuple(sorted({marker for one in ranges for marker in one.markers} - measured)),
    )


def _fitted(ranges: Sequence[_Range], levels_of: Callable[[_Range], tuple[float, float]]) -> tuple[float, float]:
    """Return the levels of the files of the typical scale, closed up where the values fill but a part of them.

    Source: ours.
    """
    black, white = levels_of(_joined(ranges, np.median))
    beyond = OTHER_SCALE * (white - black)
    typical = [one for one in ranges if black - beyond <= one.low and one.high <= white + beyond] or ranges
    joined = _joined(typical)
    black, white = levels_of(joined)
    width = joined.high - joined.low
    if 0 < width * LEAST_FILLED < white - black:
        return max(black, joined.low - width / 2), min(white, joined.high + width / 2)
    return black, white


def _joined(ranges: Sequence[_Range], middle: Callable[[list[float]], Any] | None = None) -> _Range:
    """Return the range that holds those of all files, or the one in the middle."""
    lowest, highest = (middle, middle) if middle else (min, max)
    return _Range(
        floating=ranges[0].floating,
        low=float(lowest([one.low for one in ranges])),
        high=float(highest([one.high for one in ranges])),
        least=float(lowest([one.least for one in ranges])),
        most=float(highest([one.most for one in ranges])),
        markers=(),
    )


def _integer_levels(values: _Range) -> tuple[float, float]:
    black, white = _within(values)
    return min(black, 0.0), next((level for level in WHITES if level >= values.high), white)


def _float_levels(values: _Range) -> tuple[float, float]:
    if values.low >= 0 and values.high <= 1:
        return 0.0, 1.0
    if values.low >= 0 and 255 / LEAST_FILLED < values.high <= 255:
        return 0.0, 255.0
    low, high = _within(values)
    return low, high if high > low else low + 1.0


def _within(values: _Range) -> tuple[float, float]:
    """Return the whole range, but no farther out than the usual values are wide: one value does not stretch it."""
    width = values.high - values.low
    if values.low >= 0 > values.least - width:  # what is never negative but for single values has black at 0 or above
        return max(values.least, 0.0), min(values.most, values.high + width)
    return max(values.least, values.low - width), min(values.most, values.high + width)


def apply_levels(values: NDArray[Any], levels: Levels, *, inverted: bool = False) -> tuple[FloatArray, list[Finding]]:
    """Return samples of any numeric type as float32 in 0-255, order kept, and findings on values that were changed.

    Args:
        values: any shape; NaN, infinite values and markers become black.
        inverted: whether 0 is white in this file.
    """
    black, white = levels.bounds(values.dtype)
    findings = []
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values)
        if bad.any():
            findings.append(not_finite(float(bad.mean())))
            values = np.where(bad, values.dtype.type(black), values)
    is_marker = _is_one_of(values, levels.markers)
    if is_marker.any():
        findings.append(marked(float(is_marker.mean()), [one for one in levels.markers if (values == one).any()]))
        values = np.where(is_marker, values.dtype.type(black), values)
    if values.min() < black or values.max() > white:
        findings.append(clipped(float(((values < black) | (values > white)).mean()), black, white))
    # float32 holds integers up to 2**24 exactly, larger ones are clipped; anything else is scaled in float64 first
    exact = values.dtype.kind in "iu" and max(-black, white) <= 2**24
    work = np.float32 if exact else np.float64
    scaled = np.subtract(values, black, dtype=work)
    scaled = np.clip(scaled * work(255.0 / (white - black)), 0, 255).astype(np.float32, copy=False)
    share = _filled(values, white - black)
    if share is not None and share < LEAST_CONTRAST:
        findings.append(little_contrast(float(values.min()), float(values.max()), share))
    return (255 - scaled if inverted else scaled), findings


def _filled(values: NDArray[Any], width: float) -> float | None:
    """Return the share of the levels that the values fill; None where they have no contrast of their own."""
    sample = values.ravel()[:: values.size // CONTRAST_VALUES | 1]
    if len(np.unique(sample)) < FEWEST_MEASURED:
        return None
    return (float(sample.max()) - float(sample.min())) / width
