"""The pixels of an image file, upright: files of up to 8 bits as Pillow images, deeper ones as numbers."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from curate.findings import Code
from curate.images import orientation, pnm, tiff
from curate.images.formats import DECODERS, FileFormat, Header, TiffDecoder, open_png
from curate.images.integrity import Unreadable, attempt, transparent
from curate.records import Finding

PILLOW_READS_WHOLE = frozenset(("uint16", "int16", "int32", "float32"))
"""Single-band TIFF samples that Pillow's libtiff decodes without loss, whatever the compression."""
LIBTIFF_HALVES = ("RGB;16L", "RGB;16B") if sys.byteorder == "little" else ("RGB;16B", "RGB;16L")
"""Raw modes that keep the high, then the low bytes of libtiff's samples, which have the machine's byte order."""


@dataclass(frozen=True, kw_only=True)
class ShallowImage:
    """An upright image of mode L or RGB, and remarks from decoding it."""

    image: Image.Image
    notes: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeepImage:
    """The pixels of a file of more than 8 bits: (H, W, 1 or 3) numbers as stored; `inverted` where 0 is white."""

    values: NDArray[Any]
    inverted: bool = False
    notes: tuple[Finding, ...] = ()


def read_shallow(data: bytes, header: Header, at_least: tuple[int, int] | None = None) -> ShallowImage:
    """Return an image of up to 8 bits, upright, grey or RGB.

    Args:
        at_least: stored (width, height) that a JPEG may be reduced to while it is decoded; None for full size.
    """
    if header.format is FileFormat.NETPBM and data[1:2] in b"2356":
        return ShallowImage(image=_from_pixels(pnm.read_samples(data).astype(np.uint8)))
    if header.format is FileFormat.TIFF:
        return _shallow_tiff(data, header)
    image = DECODERS[header.format](io.BytesIO(data))
    if at_least is not None and isinstance(image, JpegImageFile):
        image.draft(None, at_least)
    image.load()
    flat, notes = flatten(image)
    return ShallowImage(image=orientation.turn_image(flat, header.orientation), notes=notes)


def _from_pixels(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return (H, W, 1 or 3) pixels as an image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _shallow_tiff(data: bytes, header: Header) -> ShallowImage:
    try:
        image: Image.Image = _open_tiff(data, header.page)
    except SyntaxError:  # a band count or layout that Pillow does not know
        page = tiff.read_page(io.BytesIO(data))
        samples = _bands(tiff.read_samples(data), page)
        pixels = orientation.turn_array(samples.values, header.orientation)
        pixels = np.round(pixels * (255 / (2**page.bits - 1))).astype(np.uint8)
        pixels = 255 - pixels if samples.inverted else pixels
        return ShallowImage(image=_from_pixels(pixels), notes=samples.notes)
    image.load()  # Pillow turns a TIFF upright itself
    flat, notes = flatten(image)
    return ShallowImage(image=flat, notes=notes)


def _open_tiff(data: bytes, page: int) -> TiffDecoder:
    """Open one page of a TIFF; raises SyntaxError where Pillow does not know its layout, or cannot reach it."""
    image = TiffDecoder(io.BytesIO(data))
    if page < 0:
        raise SyntaxError("a page that belongs to another one")
    if page:
        image.seek(page)
    return image


def flatten(image: Image.Image) -> tuple[Image.Image, tuple[Finding, ...]]:
    """Return the image as L or RGB; transparent parts are laid over black, an opaque alpha channel is dropped."""
    mode = image.mode
    if mode in ("L", "RGB") and "transparency" not in image.info:
        return image, ()
    if mode == "1":
        return image.convert("L"), ()
    if "transparency" not in image.info and not mode.upper().endswith("A"):
        return image.convert("RGB"), ()
    with_alpha = image.convert("LA" if mode in ("LA", "La") else "RGBA")
    alpha = with_alpha.getchannel("A")
    colour = with_alpha.convert("L" if with_alpha.mode == "LA" else "RGB")
    if alpha.getextrema()[0] == 255:
        return colour, ()
    black = Image.new(colour.mode, colour.size)
    black.paste(colour, mask=alpha)
    return black, (transparent(),)


def read_deep(data: bytes, header: Header) -> DeepImage:
    """Return the pixels of a deep file, upright, alpha laid over black."""
    stored = _deep_samples(data, header)
    return replace(stored, values=orientation.turn_array(stored.values, header.orientation))


def _deep_samples(data: bytes, header: Header) -> DeepImage:
    if header.format is FileFormat.TIFF:
        return _deep_tiff(data)
    if header.format is FileFormat.PNG:
        values = _deep_png(data, header.mode)
        return _over_black(values, values.shape[2] - 1) if values.shape[2] in (2, 4) else DeepImage(values=values)
    if header.format is FileFormat.NETPBM:
        return DeepImage(values=pnm.read_samples(data))
    stored: NDArray[Any] = np.asarray(DECODERS[header.format](io.BytesIO(data)))
    if header.format is FileFormat.JPEG2000 and stored.dtype == np.uint16:
        stored = np.right_shift(stored, max(0, 16 - header.bit_depth))  # Pillow stretches to 16 bits
    return DeepImage(values=stored.reshape(*stored.shape[:2], -1))


def _deep_png(data: bytes, mode: str) -> NDArray[np.uint16]:
    """Return (H, W, channels) of a 16-bit PNG.

    Pillow keeps 16 bits of grey only. Colour is decoded twice, as big-endian and as little-endian 16-bit samples:
    Pillow keeps the upper half each time, once the high and once the low bytes.
    """
    if mode == "I;16":
        return np.asarray(open_png(io.BytesIO(data)), dtype=np.uint16)[..., None]
    if mode == "LA;16":  # 32 bits a pixel: read as four bytes
        both = _as_raw(open_png(io.BytesIO(data)), "RGBA")
        high, low = both[..., 0::2], both[..., 1::2]
    else:
        high, low = (_as_raw(open_png(io.BytesIO(data)), mode + order) for order in "BL")
    return _joined(high, low)


def _joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return np.bitwise_or(np.left_shift(high.astype(np.uint16), 8), low, dtype=np.uint16)


def _as_raw(image: ImageFile, raw_mode: str) -> NDArray[np.uint8]:
    arguments = image.tile[0].args
    raw = (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode
    image.tile = [image.tile[0]._replace(args=raw)]
    return np.asarray(image)


def _deep_tiff(data: bytes) -> DeepImage:
    page = tiff.read_page(io.BytesIO(data))
    if page.samples == 1 and page.dtype in PILLOW_READS_WHOLE:
        with suppress(SyntaxError):  # a layout that Pillow does not know, such as the mosaic of a sensor (CFA)
            values = np.asarray(_open_tiff(data, page.index)).astype(page.dtype, copy=False)[..., None]
            # undo Pillow's own turning: all deep files are turned in one place
            return _bands(orientation.turn_array(values, _inverse(orientation.valid(page.orientation))), page)
    return _bands(_tiff_samples(data, page), page)


def _tiff_samples(data: bytes, page: tiff.TiffPage) -> NDArray[Any]:
    try:
        return tiff.read_samples(data)
    except Unreadable as unreadable:
        if unreadable.finding.code != Code.UNSUPPORTED or not _libtiff_knows(page):
            raise
        samples = attempt(lambda: _libtiff_colour(data, page))
        if isinstance(samples, Finding):
            raise
        return samples


def _libtiff_knows(page: tiff.TiffPage) -> bool:
    pixel = (page.photometric, page.samples, page.dtype, page.bits)
    return pixel == (tiff.RGB, 3, "uint16", 16) and not page.planes  # of planes, Pillow keeps but one


def _libtiff_colour(data: bytes, page: tiff.TiffPage) -> NDArray[np.uint16]:
    """Return (H, W, 3) of a 16-bit RGB TIFF from Pillow's libtiff, which decodes LZW and ZSTD; in halves as a PNG."""
    high, low = (_as_raw(_open_tiff(data, page.index), raw_mode) for raw_mode in LIBTIFF_HALVES)
    return orientation.turn_array(_joined(high, low), _inverse(orientation.valid(page.orientation)))


def _inverse(turn: int) -> int:
    return {6: 8, 8: 6}.get(turn, turn)


def _bands(samples: NDArray[Any], page: tiff.TiffPage) -> DeepImage:
    """Return grey or RGB of (H, W, bands) samples."""
    used = tiff.used_bands(page)
    if page.colours == 4:
        return DeepImage(values=_cmyk_to_rgb(samples[..., :4]))
    if page.alpha > 0 and page.alpha < samples.shape[2]:
        return _over_black(samples[..., [*range(used), page.alpha]], used)
    return DeepImage(values=samples[..., :used], inverted=page.photometric == tiff.MIN_IS_WHITE)


def _full_scale(kind: np.dtype[Any]) -> float:
    return 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)


def _cmyk_to_rgb(samples: NDArray[Any]) -> NDArray[Any]:
    full = _full_scale(samples.dtype)
    inks = samples.astype(np.float64) / full
    light = (1 - inks[..., :3]) * (1 - inks[..., 3:])
    return np.asarray(light * full).astype(samples.dtype)


def _over_black(samples: NDArray[Any], alpha: int) -> DeepImage:
    """Return the channels before `alpha`, laid over black where they are transparent."""
    full = _full_scale(samples.dtype)
    opacity, colour = samples[..., alpha:], samples[..., :alpha]
    if (opacity >= full).all():
        return DeepImage(values=colour)
    laid = colour.astype(np.float64) * (opacity.astype(np.float64) / full)
    return DeepImage(values=laid.astype(samples.dtype), notes=(transparent(),))
