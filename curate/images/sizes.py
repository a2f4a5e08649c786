"""The native sizes of some images of a set, read from their headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from curate.images import formats
from curate.images.decode import DecodeConfig
from curate.images.files import read_file
from curate.images.formats import FileFormat
from curate.images.integrity import attempt
from curate.images.levels import spread
from curate.records import Finding

HEAD_BYTES = 256 * 2**10
TAIL_BYTES = 64 * 2**10


def native_sizes(files: Sequence[Path], count: int, config: DecodeConfig) -> list[tuple[int, int]]:
    """Return the upright (width, height) in px of up to `count` files, evenly spaced.

    Only the ends of a file are read where they hold its header. Files that cannot be read are skipped here; decoding
    reports them.
    """
    sizes = (_size(file, config) for file in spread(files, count))
    return [size for size in sizes if size is not None]


def _size(file: Path, config: DecodeConfig) -> tuple[int, int] | None:
    data = _ends(file, config)
    size = None if isinstance(data, Finding) else _header_size(data)
    if size is None and not isinstance(data, Finding) and len(data) >= HEAD_BYTES:  # the header may come later
        whole = read_file(file, config.max_pixels)
        size = None if isinstance(whole, Finding) else _header_size(whole)
    return size


def _ends(file: Path, config: DecodeConfig) -> bytes | Finding:
    """Return the head of a file, and of a PNG the tail too: its orientation may follow the pixels."""
    data = read_file(file, config.max_pixels, first_bytes=HEAD_BYTES)
    if (
        isinstance(data, Finding)
        or len(data) < HEAD_BYTES
        or attempt(lambda: formats.sniff(data)) is not FileFormat.PNG
    ):
        return data
    return read_file(file, config.max_pixels, first_bytes=HEAD_BYTES, last_bytes=TAIL_BYTES)


def _header_size(data: bytes) -> tuple[int, int] | None:
    header = attempt(lambda: formats.read_header(data))
    return None if isinstance(header, Finding) else header.upright
