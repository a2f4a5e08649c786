"""Read TIFF by tifffile: the header of the page that is used, and samples of any depth, layout and band count."""

from __future__ import annotations

import io
import itertools
import logging
import math
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from curate.findings import Code
from curate.images.integrity import Unreadable, needs_imagecodecs

# without a handler of its own, tifffile's remarks on unusual files would reach stderr by logging's last resort
logging.getLogger("tifffile").addHandler(logging.NullHandler())

MIN_IS_WHITE, MIN_IS_BLACK, RGB, SEPARATED = 0, 1, 2, 5
SEPARATE = 2
PLAIN = frozenset((MIN_IS_WHITE, MIN_IS_BLACK, RGB))
"""Samples that are grey or RGB as they are stored."""
ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 1, 2
ALPHAS = (ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA)
REDUCED_RESOLUTION = 1
MOST_PAGES = 64
SUB_IMAGES = 330
"""The tag that points to further images of a page."""


@dataclass(frozen=True, kw_only=True)
class TiffPage:
    """The header of the page of a TIFF that is used.

    Attributes:
        width_px, height_px: as stored, before orientation.
        dtype: of the samples, as numpy names it.
        bits: per sample.
        samples: a pixel's samples, alpha and extra bands included.
        elements: samples of the whole page, what a decoder has to hold.
        colours: 1 for grey, 3 for RGB, 4 for CMYK: how many of the samples are colour.
        alpha: index of the alpha sample, -1 if there is none.
        premultiplied: whether colours are multiplied by alpha already (associated alpha).
        extra: whether there are samples that are neither colour nor alpha.
        planes: whether each sample is stored as an image of its own.
        several_pages: whether the file has others, or further planes of a volume, see `_has_others`.
        index: of the page among those of the file; -1 for a page that belongs to the first one.
    """

    width_px: int
    height_px: int
    dtype: str
    bits: int
    samples: int
    elements: int
    photometric: int
    orientation: int
    colours: int
    alpha: int
    premultiplied: bool
    extra: bool
    planes: bool
    several_pages: bool
    index: int = 0


def read_page(file: BinaryIO) -> TiffPage:
    """Return the header of the page that is used, see `_used`; no pixel is read."""
    with tifffile.TiffFile(file, name="image") as tiff:  # a stream opened by descriptor has no name
        index, page = _used(tiff)
        photometric, colours = int(page.photometric), _colours(page)
        kinds = [int(kind) for kind in page.extrasamples]
        alpha = next((at for at, kind in enumerate(kinds) if kind in ALPHAS), -1)
        bits = page.bitspersample
        return TiffPage(
            width_px=int(page.imagewidth),
            height_px=int(page.imagelength),
            dtype=str(page.dtype),
            bits=int(max(bits) if isinstance(bits, tuple) else bits),
            samples=int(page.samplesperpixel),
            elements=math.prod(page.shape),
            photometric=photometric,
            orientation=int(page.tags.valueof(274, 1)),
            colours=colours,
            alpha=colours + alpha if alpha >= 0 else -1,
            premultiplied=alpha >= 0 and kinds[alpha] == ASSOCIATED_ALPHA,
            extra=page.samplesperpixel - colours > sum(kind in ALPHAS for kind in kinds),
            planes=page.samplesperpixel > 1 and int(page.planarconfig) == SEPARATE,
            several_pages=page.imagedepth > 1 or _has_others(tiff, page, index),
            index=index,
        )


def _used(tiff: tifffile.TiffFile) -> tuple[int, tifffile.TiffPage]:
    """Return the first page with its index; the largest, where the first is a thumbnail or smaller than the second.

    Of a file with many pages the first `MOST_PAGES` count.
    """
    first = tiff.pages.first
    pages = [(0, first)]
    if _is_thumbnail(first):
        pages += [(-1, page) for page in itertools.islice(first.pages or (), MOST_PAGES)]
    second = _page(tiff, 1) if _has_next(tiff, first) else None
    if second is not None and (_is_thumbnail(first) or _pixels(second) > _pixels(first)):
        later = (_page(tiff, index) for index in range(2, MOST_PAGES))
        pages += enumerate([second, *itertools.takewhile(lambda page: page is not None, later)], 1)
    index, page = max(pages, key=lambda pair: (_pixels(pair[1]), -abs(pair[0])))
    if not _pixels(page):
        raise ValueError("unsupported sample format")
    return index, page


def _is_thumbnail(page: tifffile.TiffPage) -> bool:
    return bool(int(page.subfiletype) & REDUCED_RESOLUTION)


def _pixels(page: tifffile.TiffPage) -> int:
    """Return how many samples a page has; 0 of one that cannot be read."""
    usable = getattr(page, "dtype", None) is not None and page.dtype.kind in "buif"
    whole = usable and all(isinstance(side, int) for side in page.shape)  # a damaged tag may hold bytes
    return math.prod(page.shape) if whole else 0


def _page(tiff: tifffile.TiffFile, index: int) -> tifffile.TiffPage | None:
    try:
        page = tiff.pages[index]
    except (IndexError, ValueError, struct.error, tifffile.TiffFileError):  # the end, a cycle, or a damaged directory
        return None
    return page if isinstance(page, tifffile.TiffPage) else None


def _has_others(tiff: tifffile.TiffFile, page: tifffile.TiffPage, index: int) -> bool:
    """Return whether the file has pages beside the one that is used; if that is not the first, thumbnails are none."""
    if index == 0:
        return SUB_IMAGES in page.tags or _has_next(tiff, page)
    others = (_page(tiff, other) for other in range(MOST_PAGES) if other != index)
    present = itertools.takewhile(lambda other: other is not None, others)
    return any(other is not None and not _is_thumbnail(other) for other in present)


def _colours(page: tifffile.TiffPage) -> int:
    """Return how many samples are colour: a five-band page is grey with four extra bands unless it says RGB."""
    wanted = {RGB: 3, SEPARATED: 4, 6: 3, 8: 3}.get(int(page.photometric), 1)
    return wanted if page.samplesperpixel >= wanted else 1


def used_bands(page: TiffPage) -> int:
    """Return how many bands make the picture: 1 for grey, 3 for RGB and CMYK."""
    return 3 if page.colours >= 3 else 1


def _has_next(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> bool:
    """Return whether the first directory points to another one: one jump, so that a cycle cannot hold us."""
    form, handle = tiff.tiff, tiff.filehandle
    handle.seek(page.offset)
    (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
    handle.seek(page.offset + form.tagnosize + tags * form.tagsize)
    pointer = handle.read(form.offsetsize)
    if len(pointer) < form.offsetsize:
        return False
    (offset,) = struct.unpack(form.offsetformat, pointer)
    return offset not in (0, page.offset) and offset < handle.size


def read_samples(data: bytes) -> NDArray[Any]:
    """Return the samples of the page that is used as stored, (H, W, samples).

    Raises:
        Unreadable: a strip or tile is missing from the file (tifffile would fill it with zeros), or its
            compression needs the package imagecodecs, which is not there.
        ValueError: damaged data.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        _, page = _used(tiff)
        segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        expected = math.prod(page.chunked)
        if len(segments) < expected or any(not length or start + length > len(data) for start, length in segments):
            raise Unreadable(Code.TRUNCATED, "the file is cut short (strips of pixels are missing): copy it again")
        samples, axes = _decoded(page), page.axes
    for axis in set(axes) - set("YXS"):  # a volume: its first plane
        samples, axes = samples.take(0, axis=axes.index(axis)), axes.replace(axis, "")
    if "S" not in axes:
        samples, axes = samples[..., None], axes + "S"
    return np.ascontiguousarray(np.moveaxis(samples, [axes.index(axis) for axis in "YXS"], [0, 1, 2]))


def _decoded(page: tifffile.TiffPage) -> NDArray[Any]:
    try:
        samples: NDArray[Any] = page.asarray(maxworkers=1)
    except (ImportError, ValueError, KeyError) as error:  # which one depends on the codec
        if isinstance(error, ImportError) or "imagecodecs" in str(error):
            raise needs_imagecodecs(getattr(page.compression, "name", str(page.compression))) from error
        raise
    return samples
