"""The black and white level of deep files, one for the whole set, so that its images stay comparable.

A 12-bit camera writes its counts into 16-bit files, and nothing in the file says that white is 4095. So white is the
smallest of 255, 1023, 4095, 16383, 65535, ... that holds the largest count in an even sample of the set's deep files.
Floating-point files are 0-1 or 0-255 if the sample fits there, else stretched over the sample's range. In signed data,
black is the sample's smallest value.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.images import formats, rasters, tiff
from curate.images.files import open_regular, read_file
from curate.images.integrity import attempt, clipped, not_finite
from curate.records import Finding, FloatArray

WHITES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0, 2.0**20 - 1, 2.0**24 - 1, 2.0**32 - 1)
FILES_PEEKED = 1024
FILES_READ = 32
HEAD_BYTES = 4096
MAY_BE_DEEP = frozenset((".png", ".tif", ".tiff", ".pgm", ".ppm", ".jp2"))


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How image files are decoded.

    Attributes:
        max_pixels: larger images are not decoded but become unreadable rows.
        white_level: the value that is white in files of more than 8 bits; None to find it in the set.
    """

    max_pixels: int = 512_000_000
    white_level: float | None = None

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise UsageError(f"max-pixels is {self.max_pixels}: give a number of pixels of at least 1")
        white = self.white_level
        if white is not None and not (math.isfinite(white) and white > 0):
            raise UsageError(f"white-level is {white}: give a positive number such as 4095 for 12-bit cameras")


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What is black and what is white in files of more than 8 bits; integers and floats apart.

    Attributes:
        origin: "default" (no deep file in the sample), "sample", or "given" (--white-level).
        files_sampled: how many deep files were read to decide.
    """

    integer_black: float = 0.0
    integer_white: float = 65535.0
    float_black: float = 0.0
    float_white: float = 1.0
    origin: str = "default"
    files_sampled: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return JSON values only: recorded in the audit, part of the cache's key."""
        return asdict(self)

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


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """Return up to `count` of the files, evenly spaced, first and last included."""
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


def _range(file: Path, config: DecodeConfig) -> tuple[bool, float, float] | None:
    """Return (whether floating point, smallest, largest) of the finite samples; None if there are none."""
    data = read_file(file, config.max_pixels)
    if isinstance(data, Finding):
        return None
    extremes = attempt(lambda: _extremes(data, config))
    return None if isinstance(extremes, Finding) else extremes


def _extremes(data: bytes, config: DecodeConfig) -> tuple[bool, float, float] | None:
    header = formats.read_header(data)
    if not header.deep or header.stored[0] * header.stored[1] > config.max_pixels:
        return None
    values = rasters.read_deep(data, header).values
    finite = values if values.dtype.kind != "f" else values[np.isfinite(values)]
    if not finite.size:
        return None
    return values.dtype.kind == "f", float(finite.min()), float(finite.max())


def _decide(ranges: Sequence[tuple[bool, float, float]]) -> Levels:
    if not ranges:
        return Levels()
    integers = [(low, high) for is_float, low, high in ranges if not is_float]
    floats = [(low, high) for is_float, low, high in ranges if is_float]
    integer_black, integer_white = _integer_levels(integers) if integers else (0.0, 65535.0)
    float_black, float_white = _float_levels(floats) if floats else (0.0, 1.0)
    return Levels(
        integer_black=integer_black,
        integer_white=integer_white,
        float_black=float_black,
        float_white=float_white,
        origin="sample",
        files_sampled=len(ranges),
    )


def _integer_levels(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    return min(low, 0.0), next((white for white in WHITES if white >= high), high)


def _float_levels(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    if low >= 0 and high <= 255:
        return 0.0, 1.0 if high <= 1 else 255.0
    return low, high if high > low else low + 1.0


def apply_levels(values: NDArray[Any], levels: Levels, *, inverted: bool = False) -> tuple[FloatArray, list[Finding]]:
    """Return samples of any numeric type as float32 in 0-255, order kept, and findings on values that were changed.

    Args:
        values: any shape; NaN and infinite values become black.
        inverted: whether 0 is white in this file.
    """
    black, white = levels.bounds(values.dtype)
    findings = []
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values)
        if bad.any():
            findings.append(not_finite(float(bad.mean())))
            values = np.where(bad, values.dtype.type(black), values)
    if values.min() < black or values.max() > white:
        findings.append(clipped(float(((values < black) | (values > white)).mean()), black, white))
    # float32 holds integers up to 2**24 exactly, larger ones are clipped; anything else is scaled in float64 first
    exact = values.dtype.kind in "iu" and max(-black, white) <= 2**24
    work = np.float32 if exact else np.float64
    scaled = np.subtract(values, black, dtype=work)
    scaled = np.clip(scaled * work(255.0 / (white - black)), 0, 255).astype(np.float32, copy=False)
    return (255 - scaled if inverted else scaled), findings
