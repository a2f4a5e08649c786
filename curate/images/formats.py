"""The format of an image file by its content, and what its header says.

The first bytes decide the format, and only its decoder is called: a text named `.png` is refused, a JPEG named `.png`
is read, and no decoder of another format (PostScript, PDF) is ever reached.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from PIL import Image, ImageFile, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from curate.findings import Code
from curate.images import orientation, pnm, tiff
from curate.images.integrity import Unreadable, reduced_depth, several_pages
from curate.images.strangers import stranger
from curate.records import Finding

# The one process-wide setting: keep Pillow's warnings of careless metadata, and of images of more than 89 megapixels
# (--max-pixels is our limit), from the user's stderr.
warnings.filterwarnings("ignore", module=r"PIL\.")


class FileFormat(StrEnum):
    """The file formats that are read, as messages name them."""

    PNG = "PNG"
    JPEG = "JPEG"
    BMP = "BMP"
    GIF = "GIF"
    WEBP = "WebP"
    TIFF = "TIFF"
    NETPBM = "Netpbm"
    JPEG2000 = "JPEG 2000"
    HEIC = "HEIC"
    AVIF = "AVIF"


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says about itself before a pixel is decoded.

    Attributes:
        stored: (width, height) as stored, before orientation.
        orientation: EXIF's, 1-8.
        mode, bit_depth: see `records.ImageFacts`.
        deep: samples do not fit 8 unsigned bits: they are read as numbers and mapped by `levels`.
        elements: samples to hold while decoding; may be far more than pixels for a TIFF of many bands.
        partial: whether the file holds more than its first picture at full depth: pages, frames, bits.
        notes: findings from the header alone.
        page: of a TIFF, see `tiff.TiffPage.index`.
    """

    format: FileFormat
    stored: tuple[int, int]
    orientation: int
    mode: str
    bit_depth: int
    deep: bool
    elements: int
    partial: bool = False
    notes: tuple[Finding, ...] = ()
    page: int = 0

    @property
    def upright(self) -> tuple[int, int]:
        """Return (width, height) as a person sees the image."""
        return orientation.swap(self.stored, self.orientation)


class _Jpeg(JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Read no resolution: it is not used, and broken EXIF blocks make Pillow warn."""


class TiffDecoder(TiffImageFile):
    """Pillow's, without its own pixel limit."""

    def load_prepare(self) -> None:
        """Prepare without Pillow's own pixel limit: ours was checked on the header."""
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size).im
        ImageFile.ImageFile.load_prepare(self)


PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
"""Chunks that are of no use here, and whose length, packed or not, Pillow limits by failing."""


def open_png(stream: io.BytesIO) -> PngImageFile:
    """Open a PNG without the texts and the colour profile in it: however long they are, they do not stop it."""
    data = stream.getvalue()
    if not any(kind in data for kind in PNG_TEXTS):
        return PngImageFile(stream)
    parts, at, start = list[bytes](), 8, 0  # `start`: of the chunks that are still to be kept
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in PNG_TEXTS:
            parts.append(data[start:at])
            start = end
        at = end
    return PngImageFile(io.BytesIO(b"".join([*parts, data[start:]])))


def _open_heic(stream: io.BytesIO) -> ImageFile.ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise Unreadable(
            Code.UNSUPPORTED, "HEIC needs a package: pip install pillow-heif, or save the image as PNG or JPEG"
        ) from error
    image: ImageFile.ImageFile = HeifImageFile(stream)
    return image


def _open_avif(stream: io.BytesIO) -> ImageFile.ImageFile:
    if not features.check("avif"):  # None below Pillow 11.3
        raise Unreadable(
            Code.UNSUPPORTED, "AVIF is not read by this Pillow: pip install -U pillow, or save the image as PNG or JPEG"
        )
    from PIL.AvifImagePlugin import AvifImageFile

    return AvifImageFile(stream)


DECODERS: Mapping[FileFormat, Callable[[io.BytesIO], ImageFile.ImageFile]] = MappingProxyType(
    {
        FileFormat.PNG: open_png,
        FileFormat.JPEG: _Jpeg,
        FileFormat.BMP: BmpImageFile,
        FileFormat.GIF: GifImageFile,
        FileFormat.WEBP: WebPImageFile,
        FileFormat.TIFF: TiffDecoder,
        FileFormat.NETPBM: PpmImageFile,
        FileFormat.JPEG2000: Jpeg2KImageFile,
        FileFormat.HEIC: _open_heic,
        FileFormat.AVIF: _open_avif,
    }
)
ISO_BRANDS: Mapping[bytes, FileFormat] = MappingProxyType(
    dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), FileFormat.HEIC)
    | dict.fromkeys((b"avif", b"avis"), FileFormat.AVIF)
)
"""Kinds of image files in the container of MP4, by its major brand."""
READ_IN_PART = frozenset((FileFormat.HEIC, FileFormat.AVIF))
"""Their samples may be deeper than the 8 bits that are read, and their header here does not tell."""
DEEP_PNG_MODES: Mapping[int, str] = MappingProxyType({0: "I;16", 2: "RGB;16", 4: "LA;16", 6: "RGBA;16"})
BITS_OF_MODE: Mapping[str, int] = MappingProxyType({"1": 1, "I;16": 16, "I;16B": 16, "I": 32, "F": 32})


def sniff(data: bytes) -> FileFormat:
    """Return the format by the first bytes.

    Raises:
        Unreadable: they are of no known format.
    """
    for start, kind in (
        (b"\x89PNG\r\n\x1a\n", FileFormat.PNG),
        (b"\xff\xd8\xff", FileFormat.JPEG),
        (b"BM", FileFormat.BMP),
        (b"GIF8", FileFormat.GIF),
        (b"\0\0\0\x0cjP  \r\n\x87\n", FileFormat.JPEG2000),
        (b"\xff\x4f\xff\x51", FileFormat.JPEG2000),
    ):
        if data.startswith(start):
            return kind
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return FileFormat.TIFF
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return FileFormat.WEBP
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3] in b" \t\r\n#" and len(data) > 3:
        return FileFormat.NETPBM
    if data[4:8] == b"ftyp" and data[8:12] in ISO_BRANDS:
        return ISO_BRANDS[data[8:12]]
    raise stranger(data)


def read_header(data: bytes) -> Header:
    """Return the header of a file; no pixel is decoded. Raises whatever the decoder raises."""
    kind = sniff(data)
    if kind is FileFormat.TIFF:
        return _tiff_header(data)
    if kind is FileFormat.NETPBM and data[1:2] in b"2356":
        width, height, channels, largest = pnm.read_header(data)
        mode, deep = "RGB" if channels == 3 else "L", largest > 255
        return Header(
            format=kind,
            stored=(width, height),
            orientation=1,
            mode=(f"{mode};16" if channels == 3 else "I;16") if deep else mode,
            bit_depth=largest.bit_length(),
            deep=deep,
            elements=width * height * channels,
        )
    return _pillow_header(data, kind)


def _pillow_header(data: bytes, kind: FileFormat) -> Header:
    image = DECODERS[kind](io.BytesIO(data))
    mode, bits = image.mode, BITS_OF_MODE.get(image.mode, 8)
    deep = mode in ("I;16", "I;16B", "I", "F")
    exif = orientation.png_exif(data) if kind is FileFormat.PNG else image.info.get("exif", b"")
    notes: list[Finding] = []
    if kind is FileFormat.PNG:
        bits, deep = data[24], data[24] == 16
        mode = DEEP_PNG_MODES.get(data[25], mode) if deep else mode
    if kind is FileFormat.JPEG2000:
        bits = jpeg2000_bits(data)
        notes += [reduced_depth(bits)] if bits > 8 and not deep else []
    if _has_frames(image, kind):
        notes.append(several_pages())
    return Header(
        format=kind,
        stored=image.size,
        orientation=orientation.read_orientation(exif) if isinstance(exif, bytes) else 1,
        mode=mode,
        bit_depth=bits,
        deep=deep,
        elements=image.width * image.height * len(image.getbands()),
        partial=bool(notes) or kind in READ_IN_PART,
        notes=tuple(notes),
    )


def _has_frames(image: ImageFile.ImageFile, kind: FileFormat) -> bool:
    if kind is FileFormat.JPEG:
        return "mpoffset" in image.info  # the index of several pictures in one file, as phones and stereo cameras write
    if kind not in (FileFormat.GIF, FileFormat.WEBP, FileFormat.PNG, FileFormat.AVIF, FileFormat.HEIC):
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except (OSError, EOFError, SyntaxError, ValueError, IndexError, struct.error):
        return False  # the second frame is broken: the first may still be good


def _tiff_header(data: bytes) -> Header:
    page = tiff.read_page(io.BytesIO(data))
    deep = page.bits > 8 or not page.dtype.startswith(("uint", "bool"))
    mode = page.dtype if page.samples == 1 else f"{page.dtype}x{page.samples}"
    return Header(
        format=FileFormat.TIFF,
        stored=(page.width_px, page.height_px),
        orientation=orientation.valid(page.orientation),
        mode=mode,
        bit_depth=page.bits,
        deep=deep,
        elements=page.elements,
        partial=page.several_pages or page.index != 0,  # the first page, if it is not the one that is used
        notes=(several_pages(largest=page.index != 0),) if page.several_pages else (),
        page=page.index,
    )


def jpeg2000_bits(data: bytes) -> int:
    """Return the bits per channel from the codestream's size marker; 8 if there is none."""
    at = data.find(b"\xff\x4f\xff\x51")
    return (data[at + 42] & 0x7F) + 1 if 0 <= at < len(data) - 42 else 8
