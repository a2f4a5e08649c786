"""A folder of everything a factory (or a broken disk) can leave behind, drawn by code."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

READ = "read"
WIDTH, HEIGHT = 48, 32


def picture() -> NDArray[np.uint8]:
    """Return (32, 48, 3) RGB, smooth, no two corners alike, so that every mode and turn can be told."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 5, y * 7, 120 + x - y], axis=2).astype(np.uint8)


def grey() -> NDArray[np.uint8]:
    """Return (32, 48) grey."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (x * 3 + y * 3).astype(np.uint8)


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    """Return the bytes of a file of Pillow's making."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def tiff(samples: NDArray[np.generic], **options: object) -> bytes:
    """Return the bytes of a TIFF of tifffile's making."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


def png(samples: NDArray[np.generic], colour_type: int) -> bytes:
    """Return an 8- or 16-bit PNG of (H, W, C) samples, every row filtered by "sub"."""
    height, width, channels = samples.shape
    raw = samples.astype(">u2" if samples.dtype.itemsize == 2 else "u1").tobytes()
    pixel, stride = channels * samples.dtype.itemsize, width * channels * samples.dtype.itemsize
    rows = np.frombuffer(raw, np.uint8).reshape(height, stride)
    rows = np.concatenate([rows[:, :pixel], rows[:, pixel:] - rows[:, :-pixel]], axis=1)
    body = b"".join(b"\1" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, samples.dtype.itemsize * 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(body)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff_by_hand(width: int, height: int, bits: int, data: bytes, next_page: int = 0, strips: int = 1) -> bytes:
    """Return a grey TIFF of one strip whose header may claim anything."""
    tags = (
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)),
        *((277, 3, 1, 1), (278, 4, 1, max(1, height // strips)), (279, 4, 1, len(data))),
    )
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(data))
        + data
        + struct.pack("<H", 9)
        + body
        + struct.pack("<I", next_page)
    )


def packed_12_bit(counts: NDArray[np.uint16]) -> bytes:
    """Return a TIFF of 12-bit samples, two in three bytes, as line cameras write it."""
    bits = "".join(f"{count:012b}" for count in counts.ravel())
    data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    return tiff_by_hand(counts.shape[1], counts.shape[0], 12, data)


def lzw(data: bytes) -> bytes:
    """Return TIFF's LZW of some bytes: every byte a code of its own, the table cleared before codes grow to 10 bits."""
    codes = [code for at in range(0, len(data), 250) for code in (256, *data[at : at + 250])]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def packed_colour_tiff(
    width: int, height: int, *, compression: int, strip: bytes, orientation: int = 1, planes: bool = False
) -> bytes:
    """Return a TIFF of 16-bit RGB in one strip that is compressed already, or one for three equal planes."""
    at, strips = 8 + 6 + 24, 3 if planes else 1
    tables = struct.pack("<3H6I", 16, 16, 16, at, at, at, *[len(strip)] * 3)
    tags = (
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8), (259, 3, 1, compression), (262, 3, 1, 2)),
        *((273, 4, strips, 14 if planes else at), (274, 3, 1, orientation), (277, 3, 1, 3), (278, 4, 1, height)),
        *((279, 4, strips, 26 if planes else len(strip)), (284, 3, 1, 2 if planes else 1)),
    )
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHI", b"II", 42, at + len(strip)) + tables + strip + struct.pack("<H", 11) + body + bytes(4)


def pgm(counts: NDArray[np.uint16], largest: int) -> bytes:
    """Return a binary PGM of counts up to `largest`."""
    return b"P5\n# camera 7\n%d %d\n%d\n" % (*counts.shape[::-1], largest) + counts.astype(">u2").tobytes()


def exif(orientation: int) -> bytes:
    """Return an EXIF block that tells an orientation."""
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def with_alpha(colours: NDArray[np.uint8], alpha: NDArray[np.uint8] | int) -> Image.Image:
    """Return an RGBA image of colours and an alpha channel."""
    return Image.fromarray(np.dstack([colours, np.broadcast_to(np.uint8(alpha), colours.shape[:2])]))


def ramp(bits: int) -> NDArray[np.uint16]:
    """Return (2**bits / 256, 256) counts from 0 to the largest of `bits` bits, each once."""
    return np.arange(2**bits, dtype=np.uint16).reshape(-1, 256)


def modes() -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of one file of every mode that reads without a remark."""
    rgb, one = Image.fromarray(picture()), Image.fromarray(grey())
    deep, deep_rgb = grey().astype(np.uint16) * 257, picture().astype(np.uint16) * 257
    yield "rgb.png", encode(rgb, "PNG")
    yield "grey.png", encode(one, "PNG")
    yield "palette.png", encode(one.convert("P"), "PNG")
    yield "one_bit.png", encode(one.convert("1"), "PNG")
    yield "opaque.png", encode(rgb.convert("RGBA"), "PNG")
    yield "grey_opaque.png", encode(one.convert("LA"), "PNG")
    yield "grey_16.png", encode(Image.fromarray(deep), "PNG")
    yield "rgb_16.png", png(deep_rgb, 2)
    yield "UPPER.PNG", encode(rgb, "PNG")
    yield "rgb.jpg", encode(rgb, "JPEG", quality=95)
    yield "grey.jpeg", encode(one, "JPEG", quality=95)
    yield "cmyk.jpg", encode(rgb.convert("CMYK"), "JPEG", quality=95)
    yield "turned.jpg", encode(rgb, "JPEG", quality=95, exif=exif(6))
    yield "progressive.jpg", encode(rgb, "JPEG", quality=95, progressive=True)
    yield "rgb.bmp", encode(rgb, "BMP")
    yield "one_bit.bmp", encode(one.convert("1"), "BMP")
    yield "rgb.webp", encode(rgb, "WEBP", lossless=True)
    yield "rgb.jp2", encode(rgb, "JPEG2000")
    yield "grey_16.jp2", encode(Image.fromarray(deep), "JPEG2000")
    yield "rgb.ppm", encode(rgb, "PPM")
    yield "grey.pgm", encode(one, "PPM")
    yield "plain.pgm", b"P2\n3 2\n15\n0 1 2\n13 14 15\n"
    yield "ramp_12.pgm", pgm(ramp(12), 4095)
    yield "one.gif", encode(one, "GIF")
    yield "rgb.tif", tiff(picture(), photometric="rgb")
    yield "planes.tif", tiff(np.moveaxis(picture(), 2, 0), photometric="rgb", planarconfig="separate")
    yield "cmyk.tif", encode(rgb.convert("CMYK"), "TIFF")
    yield "ycbcr.tif", encode(rgb.convert("YCbCr"), "TIFF")
    yield "one_bit.tif", encode(one.convert("1"), "TIFF", compression="group4")
    yield "ramp_16.tif", tiff(ramp(16))
    yield "ramp_10.tif", tiff(ramp(10))
    yield "packed_12.tif", packed_12_bit(ramp(12))
    yield "lzw_16.tif", encode(Image.fromarray(deep), "TIFF", compression="tiff_lzw")
    yield "big_endian_16.tif", tiff(deep, byteorder=">")
    yield "tiles_16.tif", tiff(deep, tile=(16, 16))
    yield "deflate_16.tif", tiff(deep, compression="zlib")
    packed = lzw(deep_rgb.astype("<u2").tobytes())
    yield "rgb_lzw_16.tif", packed_colour_tiff(WIDTH, HEIGHT, compression=5, strip=packed)
    yield "turned_lzw_16.tif", packed_colour_tiff(WIDTH, HEIGHT, compression=5, strip=packed, orientation=6)
    yield "rgb_16.tiff", tiff(deep_rgb, photometric="rgb")
    yield "planes_16.tif", tiff(np.moveaxis(deep_rgb, 2, 0), photometric="rgb", planarconfig="separate")
    yield "float32.tif", tiff(grey().astype(np.float32) / 255)
    yield "float64.tif", tiff(grey().astype(np.float64) / 255)
    yield "float16.tif", tiff((grey() / 255).astype(np.float16))
    yield "uint32.tif", tiff(deep.astype(np.uint32))
    yield "int16.tif", tiff((deep // 2).astype(np.int16))
    yield "white_is_zero.tif", tiff(255 - grey(), photometric="miniswhite")
    yield "turned.tif", tiff(picture(), photometric="rgb", extratags=[(274, "H", 1, 8, True)])
    yield "turned_16.tif", tiff(deep, extratags=[(274, "H", 1, 6, True)])


def remarks() -> Iterator[tuple[str, bytes, str]]:
    """Yield the name, bytes and finding code of files that are read with a remark."""
    rgb, one = Image.fromarray(picture()), Image.fromarray(grey())
    deep = grey().astype(np.uint16) * 257
    half = rgb.convert("RGBA")
    half.putalpha(Image.fromarray(grey()))
    keyed = one.convert("P")
    nan = grey().astype(np.float32) / 255
    nan[3, 4], nan[5, 6] = np.nan, np.inf
    two_bands = np.stack([deep, 65535 - deep], axis=2)
    yield "several_pages.tif", tiff(np.stack([grey(), grey()]), photometric="minisblack"), "IMG020"
    yield "animated.gif", encode(one, "GIF", save_all=True, append_images=[one.rotate(180)]), "IMG020"
    yield "animated.webp", encode(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)]), "IMG020"
    yield "endless_pages.tif", _endless_pages(), "IMG020"
    yield "not_finite.tif", tiff(nan), "IMG022"
    yield "blank.png", encode(Image.new("L", (40, 30), 90), "PNG"), "IMG023"
    yield "blank_16.png", encode(Image.fromarray(np.full((30, 40), 700, np.uint16)), "PNG"), "IMG023"
    yield "rgba.png", encode(half, "PNG"), "IMG024"
    yield "empty_alpha.png", encode(with_alpha(picture(), 0), "PNG"), "IMG024"
    yield "palette_keyed.png", encode(keyed, "PNG", transparency=90), "IMG024"
    yield "rgba_16.png", png(np.dstack([picture(), grey()]).astype(np.uint16) * 257, 6), "IMG024"
    yield "grey_alpha_16.png", png(two_bands, 4), "IMG024"
    yield "really_a_jpeg.png", encode(rgb, "JPEG"), "IMG025"
    yield "five_bands.tif", tiff(np.dstack([deep] * 5), photometric="minisblack", planarconfig="contig"), "IMG027"
    yield "faint.tif", tiff(grey().astype(np.float32) / 255 / 200), "IMG029"
    yield "five_bands_8.tif", tiff(np.dstack([grey()] * 5), photometric="minisblack", planarconfig="contig"), "IMG027"


def _endless_pages() -> bytes:
    """Return a TIFF whose second page follows the second page, for ever."""
    body = tiff(np.stack([grey(), grey()]), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(io.BytesIO(body)) as file:
        second = file.pages[1].offset
    tags = struct.unpack_from("<H", body, second)[0]
    at = second + 2 + 12 * tags
    return body[:at] + struct.pack("<I", second) + body[at + 4 :]


def faults() -> Iterator[tuple[str, bytes, str]]:
    """Yield the name, bytes and finding code of files that cannot be read."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    good, photo, page = encode(rgb, "PNG"), encode(rgb, "JPEG"), encode(rgb, "TIFF")
    yield "empty.png", b"", "IMG001"
    yield "text.png", b"this is not an image\n", "IMG002"
    yield "zeros.jpg", bytes(2000), "IMG002"
    yield "signature_alone.png", good[:8], "IMG003"
    yield "cut.png", good[: len(good) // 2], "IMG003"
    yield "cut.jpg", photo[: len(photo) // 2], "IMG003"
    yield "cut.bmp", encode(rgb, "BMP")[:3000], "IMG003"
    yield "cut.gif", encode(rgb, "GIF")[:2000], "IMG003"
    yield "cut.tif", page[:8] + page[9000:], "IMG004"
    yield "cut_16.tif", tiff_by_hand(100, 100, 16, bytes(500)), "IMG003"
    yield "cut.pgm", pgm(ramp(12), 4095)[:900], "IMG003"
    yield "cut.webp", encode(rgb, "WEBP")[:900], "IMG004"
    yield "scratched.png", good[:200] + bytes(500) + good[700:], "IMG004"
    yield "twelve_bits.jpg", photo.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "IMG010"
    yield "bomb.png", _bomb_png(), "IMG005"
    yield "bomb.tif", tiff_by_hand(2_000_000, 2_000_000, 16, bytes(100)), "IMG005"
    yield "bomb.gif", b"GIF89a\xff\xff\xff\xff" + encode(rgb, "GIF")[10:], "IMG005"
    yield "claims_more.tif", tiff_by_hand(20_000, 20_000, 64, bytes(100), strips=100), "IMG003"


def _bomb_png() -> bytes:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


HOSTILE_NAMES: tuple[bytes, ...] = (
    b"new\nline.png",
    b"carriage\rreturn.png",
    b"tab\there.png",
    b"quotes'\"`$(x).png",
    b"comma,semicolon;.png",
    b"<script>alert(1)<script>.png",
    "emoji \N{HAMMER AND WRENCH}\N{VARIATION SELECTOR-16}.png".encode(),
    "right \N{RIGHT-TO-LEFT OVERRIDE}gnp.png".encode(),
    b"%s{0}%00.png",
    b" leading space.png",
    b"-dash.png",
    b"back\\slash.png",
    b"\x1b[31mred.png",
    b"n" * 246 + b".png",
    b"invalid \xff\xfe.png",
    rb"invalid \xff\xfe.png",
)


def _write(folder: Path, drawn: dict[str, str], name: str, data: bytes, expected: str) -> None:
    (folder / name).write_bytes(data)
    drawn[name] = expected


def _names(folder: Path, drawn: dict[str, str]) -> None:
    for number, name in enumerate(HOSTILE_NAMES):
        data = encode(Image.fromarray(np.roll(picture(), number + 1, axis=1)), "PNG")
        try:
            Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(data)
        except (OSError, ValueError):
            continue  # a file system that does not take the name (macOS: invalid UTF-8; Windows: quotes)
        drawn[os.fsdecode(name)] = "IMG030" if b"\xff" in name else READ


def _special(folder: Path, drawn: dict[str, str]) -> None:
    """Draw what is no regular file: links, pipes, and folders that are named like images."""
    makers: tuple[tuple[str, Callable[[Path], None], str | None], ...] = (
        ("broken_link.png", lambda path: path.symlink_to("nowhere.png"), "IMG007"),
        ("link_to_itself.png", lambda path: path.symlink_to("link_to_itself.png"), "IMG007"),
        ("link.png", lambda path: path.symlink_to("rgb.png"), READ),
        ("pipe.png", lambda path: os.mkfifo(path), "IMG008"),  # noqa: PLW0108  Windows has none
        ("device.png", lambda path: path.symlink_to("/dev/zero"), "IMG008"),
        ("folder.png", lambda path: path.mkdir(), None),
        ("loop", lambda path: path.symlink_to("."), None),
    )
    for name, make, expected in makers:
        try:
            make(folder / name)
        except (OSError, AttributeError, NotImplementedError):
            continue  # no links or pipes on this system
        if expected is not None:
            drawn[name] = expected


def draw_torture_set(folder: Path) -> dict[str, str]:
    """Draw the files into `folder` and return, for each name, "read" or the code of the finding that is due.

    Names are as the system gives them (`os.fsdecode`). Codes IMG001 to IMG011 mean an unreadable row, the others a
    row that is read with a remark. Hidden files, a text file, an empty folder and a loop lie there too, with no row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, str] = {}
    for name, data in modes():
        _write(folder, drawn, name, data, READ)
    for name, data, code in (*remarks(), *faults()):
        _write(folder, drawn, name, data, code)
    _names(folder, drawn)
    _special(folder, drawn)
    (folder / ".hidden.png").write_bytes(b"hidden")
    (folder / "Thumbs.db").write_bytes(b"not an image")
    return drawn
