"""The pixels of an image file, upright: files of up to 8 bits as Pillow images, deeper ones as numbers.

What is judged may show less than the file holds: alpha, further bands. `parts` then has the samples as they are stored.
"""

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
from curate.images.integrity import Unreadable, all_transparent, attempt, extra_channels, transparent
from curate.records import Finding

PILLOW_READS_WHOLE = frozenset(("uint16", "int16", "int32", "float32"))
"""Single-band TIFF samples that Pillow's libtiff decodes without loss, whatever the compression."""
LIBTIFF_HALVES = ("RGB;16L", "RGB;16B") if sys.byteorder == "little" else ("RGB;16B", "RGB;16L")
"""Raw modes that keep the high, then the low bytes of libtiff's samples, which have the machine's byte order."""


Parts = tuple[NDArray[Any], ...]
"""The samples of a file as they are stored, upright, (H, W) or (H, W, C) each: all bands, or colour and alpha."""
Bands = tuple[int, ...]
"""Which bands make the picture of a file of many bands: one as grey or three as RGB, from 1; () for the first."""


@dataclass(frozen=True, kw_only=True)
class ShallowImage:
    """An upright image of mode L or RGB, and remarks from decoding it.

    Attributes:
        parts: the samples as stored where `image` shows less of them, or others; () where it shows them all.
        partial: whether the file holds samples that are neither in `image` nor in `parts`.
    """

    image: Image.Image
    notes: tuple[Finding, ...] = ()
    parts: Parts = ()
    partial: bool = False


@dataclass(frozen=True, kw_only=True)
class DeepImage:
    """The pixels of a file of more than 8 bits: (H, W, 1 or 3) numbers as stored; `inverted` where 0 is white.

    `parts` and `partial` as of `ShallowImage`.
    """

    values: NDArray[Any]
    inverted: bool = False
    notes: tuple[Finding, ...] = ()
    parts: Parts = ()
    partial: bool = False


def read_shallow(
    data: bytes, header: Header, at_least: tuple[int, int] | None = None, *, bands: Bands = ()
) -> ShallowImage:
    """Return an image of up to 8 bits, upright, grey or RGB.

    Args:
        at_least: stored (width, height) that a JPEG may be reduced to while it is decoded; None for full size.
        bands: of a file of many bands.
    """
    if header.format is FileFormat.NETPBM and data[1:2] in b"2356":
        return ShallowImage(image=_from_pixels(pnm.read_samples(data).astype(np.uint8)))
    if header.format is FileFormat.TIFF:
        return _shallow_tiff(data, header, bands)
    image = DECODERS[header.format](io.BytesIO(data))
    if at_least is not None and isinstance(image, JpegImageFile):
        image.draft(None, at_least)
    image.load()
    flat = flatten(image)
    return replace(
        flat,
        image=orientation.turn_image(flat.image, header.orientation),
        parts=_upright(flat.parts, header.orientation),
    )


def _upright(parts: Parts, turn: int) -> Parts:
    return tuple(orientation.turn_array(part, turn) for part in parts)


def _from_pixels(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return (H, W, 1 or 3) pixels as an image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _shallow_tiff(data: bytes, header: Header, bands: Bands) -> ShallowImage:
    page = tiff.read_page(io.BytesIO(data))
    if page.extra and page.photometric in tiff.PLAIN:
        samples = attempt(lambda: tiff.read_samples(data))
        if not isinstance(samples, Finding):
            return _from_samples(samples, header, page, bands=bands)
        if bands:
            raise Unreadable(Code(samples.code), samples.message)
    try:
        image: Image.Image = _open_tiff(data, header.page)
    except SyntaxError:  # a band count or layout that Pillow does not know
        return _from_samples(tiff.read_samples(data), header, page, bands=bands)
    image.load()  # Pillow turns a TIFF upright itself
    flat = flatten(image)
    if not page.extra:
        return flat
    return replace(flat, notes=(_named(page, ()), *flat.notes), partial=True)


def _open_tiff(data: bytes, page: int) -> TiffDecoder:
    """Open one page of a TIFF; raises SyntaxError where Pillow does not know its layout, or cannot reach it."""
    image = TiffDecoder(io.BytesIO(data))
    if page < 0:
        raise SyntaxError("a page that belongs to another one")
    if page:
        image.seek(page)
    return image


def _from_samples(samples: NDArray[Any], header: Header, page: tiff.TiffPage, *, bands: Bands) -> ShallowImage:
    """Return an image of (H, W, bands) samples of up to 8 bits."""
    read = _bands(samples, page, bands)
    pixels = orientation.turn_array(read.values, header.orientation)
    pixels = np.round(pixels * (255 / (2**page.bits - 1))).astype(np.uint8)
    pixels = 255 - pixels if read.inverted else pixels
    parts = _upright(read.parts, header.orientation)
    if read.inverted and parts:  # the same samples the other way round are another picture
        parts = (pixels, *parts)
    return ShallowImage(image=_from_pixels(pixels), notes=read.notes, parts=parts)


def flatten(image: Image.Image) -> ShallowImage:
    """Return the image as L or RGB.

    Transparent parts are laid over black. An alpha channel that is opaque everywhere is dropped, and so is one that is
    transparent everywhere: exporters leave it empty.
    """
    mode = image.mode
    if "transparency" not in image.info and not mode.upper().endswith("A"):
        if mode in ("L", "RGB"):
            return ShallowImage(image=image)
        if mode in ("1", "P"):  # the same colours in another form
            return ShallowImage(image=image.convert("L" if mode == "1" else "RGB"))
        return ShallowImage(image=image.convert("RGB"), parts=(np.asarray(image),))
    with_alpha = image.convert("LA" if mode in ("LA", "La") else "RGBA")
    alpha = with_alpha.getchannel("A")
    colour = with_alpha.convert("L" if with_alpha.mode == "LA" else "RGB")
    lowest, highest = alpha.getextrema()
    if lowest == 255:
        return ShallowImage(image=colour)
    if highest == 0:
        return ShallowImage(image=colour, notes=(all_transparent(),))
    black = Image.new(colour.mode, colour.size)
    black.paste(colour, mask=alpha)
    return ShallowImage(image=black, notes=(transparent(),), parts=(np.asarray(colour), np.asarray(alpha)))


def read_deep(data: bytes, header: Header, *, bands: Bands = ()) -> DeepImage:
    """Return the pixels of a deep file, upright, alpha laid over black; `bands` of a file of many."""
    stored = _deep_samples(data, header, bands)
    return replace(
        stored,
        values=orientation.turn_array(stored.values, header.orientation),
        parts=_upright(stored.parts, header.orientation),
    )


def _deep_samples(data: bytes, header: Header, bands: Bands) -> DeepImage:
    if header.format is FileFormat.TIFF:
        return _deep_tiff(data, bands)
    if header.format is FileFormat.PNG:
        values = _deep_png(data, header.mode)
        if values.shape[2] in (2, 4):
            return _over_black(values, values.shape[2] - 1)
        # a colour that stands for transparent is not laid over black: the file holds more than is shown
        return DeepImage(values=values, partial=b"tRNS" in data)
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


def _deep_tiff(data: bytes, bands: Bands) -> DeepImage:
    page = tiff.read_page(io.BytesIO(data))
    if page.samples == 1 and page.dtype in PILLOW_READS_WHOLE:
        with suppress(SyntaxError):  # a layout that Pillow does not know, such as the mosaic of a sensor (CFA)
            values = np.asarray(_open_tiff(data, page.index)).astype(page.dtype, copy=False)[..., None]
            # undo Pillow's own turning: all deep files are turned in one place
            return _bands(orientation.turn_array(values, _inverse(orientation.valid(page.orientation))), page, bands)
    return _bands(_tiff_samples(data, page), page, bands)


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


def _bands(samples: NDArray[Any], page: tiff.TiffPage, bands: Bands) -> DeepImage:
    """Return grey or RGB of (H, W, bands) samples; `parts` has all of them where the picture has not."""
    used, inverted = tiff.used_bands(page), page.photometric == tiff.MIN_IS_WHITE
    notes = (_named(page, bands),) if page.extra else ()
    if page.extra and bands:
        chosen = samples[..., [band - 1 for band in bands]]
        return DeepImage(values=chosen, inverted=inverted, notes=notes, parts=(samples,))
    if page.colours == 4:
        return DeepImage(values=_cmyk_to_rgb(samples[..., :4]), notes=notes, parts=(samples,))
    if 0 < page.alpha < samples.shape[2]:
        laid = _over_black(samples[..., [*range(used), page.alpha]], used, premultiplied=page.premultiplied)
        return replace(laid, notes=notes + laid.notes, parts=(samples,)) if page.extra else laid
    parts = (samples,) if page.extra else ()
    return DeepImage(values=samples[..., :used], inverted=inverted, notes=notes, parts=parts)


def _named(page: tiff.TiffPage, bands: Bands) -> Finding:
    """Return the finding that names the bands in use.

    Raises:
        Unreadable: one that was asked for is not there.
    """
    if bands and max(bands) > page.samples:
        reason = f"the file has {page.samples} bands, and --bands asks for band {max(bands)}: choose others"
        raise Unreadable(Code.UNSUPPORTED, reason)
    return extra_channels(page.samples, bands or tuple(range(1, tiff.used_bands(page) + 1)))


def _full_scale(kind: np.dtype[Any]) -> float:
    return 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)


def _cmyk_to_rgb(samples: NDArray[Any]) -> NDArray[Any]:
    full = _full_scale(samples.dtype)
    inks = samples.astype(np.float64) / full
    light = (1 - inks[..., :3]) * (1 - inks[..., 3:])
    return np.asarray(light * full).astype(samples.dtype)


def _over_black(samples: NDArray[Any], alpha: int, *, premultiplied: bool = False) -> DeepImage:
    """Return the channels before `alpha`, laid over black where they are transparent, unless they are already."""
    full = _full_scale(samples.dtype)
    opacity, colour = samples[..., alpha:], samples[..., :alpha]
    if (opacity >= full).all():
        return DeepImage(values=colour)
    if not opacity.any():
        return DeepImage(values=colour, notes=(all_transparent(),))
    laid = colour if premultiplied else colour.astype(np.float64) * (opacity.astype(np.float64) / full)
    return DeepImage(values=laid.astype(samples.dtype), notes=(transparent(),), parts=(colour, opacity))
