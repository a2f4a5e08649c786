"""The native sizes of some images of a set, read from their headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from curate.images import formats
from curate.images.decode import DecodeConfig, read_file
from curate.images.integrity import attempt
from curate.images.levels import spread
from curate.records import Finding


def native_sizes(files: Sequence[Path], count: int, config: DecodeConfig) -> list[tuple[int, int]]:
    """Return the upright (width, height) in px of up to `count` files, evenly spaced.

    Files that cannot be read are passed over here; decoding reports them.
    """
    found = (_size(file, config) for file in spread(files, count))
    return [size for size in found if size is not None]


def _size(file: Path, config: DecodeConfig) -> tuple[int, int] | None:
    data = read_file(file, config)
    if isinstance(data, Finding):
        return None
    header = attempt(lambda: formats.read_header(data))
    return None if isinstance(header, Finding) else header.upright
