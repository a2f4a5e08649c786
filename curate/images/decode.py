"""Read an image file as pixels for the network: decoded, turned upright, resized, hashed.

    bytes -> header -> pixels (<= 8 bits: Pillow; deeper: numbers, levels) -> resized -> DecodedImage

Whatever a file holds, the result is a `DecodedImage`, or `ImageFacts` with a `skip_reason`; nothing is raised.
Pillow and hashlib release the interpreter's lock, so threads decode in parallel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.findings import Code
from curate.images import files, formats, integrity, orientation, rasters
from curate.images.formats import FileFormat, Header
from curate.images.levels import DecodeConfig, Levels, apply_levels
from curate.records import DecodedImage, Finding, FloatArray, ImageFacts

__all__ = [
    "REDUCED",
    "DecodeConfig",
    "check_suffix",
    "decode_image",
    "full_key",
    "header_pixels",
    "read_file",
    "read_image",
    "unread",
]

Pixels = NDArray[np.uint8] | FloatArray
SizeRule = Callable[[int, int], tuple[int, int]]

DRAFT_MARGIN = 1.5
"""A JPEG is decoded at 1/2, 1/4 or 1/8 if that leaves at least 1.5 times the wanted size."""

RESAMPLING = Image.Resampling.BICUBIC
REDUCING_GAP = 1.5
"""Box-reduce by whole factors down to 1.5 times the wanted size, then bicubic: faster, and nearly the same pixels."""

SAMPLES_PER_PIXEL = 4
REDUCED = "reduced:"
"""Prefix of the duplicate key of a JPEG decoded at reduced scale; equal ones need `duplicates.confirmed_keys`."""
BYTES = "bytes:"
"""Prefix of the duplicate key of a file that holds more than was read: only files of equal bytes are its duplicates."""
INVERTED = b"inverted "
SUFFIXES: dict[FileFormat, tuple[str, ...]] = {
    FileFormat.PNG: (".png",),
    FileFormat.JPEG: (".jpg", ".jpeg", ".jfif", ".jpe", ".jif", ".pjpeg"),
    FileFormat.BMP: (".bmp", ".dib"),
    FileFormat.GIF: (".gif",),
    FileFormat.WEBP: (".webp",),
    FileFormat.TIFF: (".tif", ".tiff"),
    FileFormat.NETPBM: (".pgm", ".ppm", ".pbm", ".pnm"),
    FileFormat.JPEG2000: (".jp2", ".j2k", ".j2c", ".jpx"),
    FileFormat.HEIC: (".heic", ".heif", ".hif"),
    FileFormat.AVIF: (".avif",),
}
KNOWN_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)


@dataclass(frozen=True, kw_only=True)
class _Resized:
    """Resized pixels, the duplicate key of the stored samples ("" if not all were read), and findings."""

    pixels: Pixels
    duplicate_key: str
    findings: tuple[Finding, ...]


def read_file(file: Path, config: DecodeConfig) -> bytes | Finding:
    """Return the bytes of a file, or the finding that says why there are none."""
    return files.read_file(file, config.max_pixels)


def read_image(file: Path, *, size: SizeRule, levels: Levels, config: DecodeConfig) -> DecodedImage | ImageFacts:
    """Return the image in a file: `read_file`, `decode_image`, `check_suffix`.

    Nothing that the file holds raises; only `size` itself may.
    """
    data = read_file(file, config)
    if isinstance(data, Finding):
        return unread(data)
    decoded = decode_image(data, size=size, levels=levels, config=config)
    if isinstance(decoded, ImageFacts):
        return decoded
    extra = check_suffix(file, data)
    facts = replace(decoded.facts, findings=decoded.facts.findings + extra)
    return DecodedImage(facts=facts, pixels=decoded.pixels) if extra else decoded


def unread(finding: Finding) -> ImageFacts:
    """Return the facts of a file that could not be read."""
    return ImageFacts(skip_reason=finding.message, findings=(finding,))


def check_suffix(file: Path, data: bytes) -> tuple[Finding, ...]:
    """Return a finding if the suffix names another format than the content is; unknown suffixes give none."""
    suffix = file.suffix.lower()
    kind = integrity.attempt(lambda: formats.sniff(data))
    if isinstance(kind, Finding) or suffix not in KNOWN_SUFFIXES or suffix in SUFFIXES[kind]:
        return ()
    return (integrity.other_format(kind, suffix),)


def decode_image(data: bytes, *, size: SizeRule, levels: Levels, config: DecodeConfig) -> DecodedImage | ImageFacts:
    """Return the image in a file's bytes.

    Args:
        size: from the upright (width, height) of the full image to the one wanted; equal means no resizing.
        levels: black and white of deep files, from `levels.find_levels`.

    Returns:
        `ImageFacts` with a `skip_reason` where it cannot be decoded. `duplicate_key` is SHA-256 over the shape and
        the full upright samples as the file stores them, alpha and all bands included, whatever is shown of them, in
        one canonical form: (H, W) if red, green and blue are equal; uint8, or deeper numbers in the smallest type that
        holds them. So grey, RGB and palette files of equal colours agree; 8 and 16 bits do not. Of a file that holds
        more than was read (pages, frames, bits), it is "bytes:" and `sha256`. Of a JPEG read at reduced scale it is
        "reduced:" and the hash of the reduced samples; where that is not enough, `duplicates.confirmed_keys` decodes in
        full.
    """
    facts = ImageFacts(sha256=hashlib.sha256(data).hexdigest())
    header = integrity.attempt(lambda: formats.read_header(data))
    if isinstance(header, Finding):
        return _skip(facts, header)
    width, height = header.upright
    facts = replace(facts, width_px=width, height_px=height, mode=header.mode, bit_depth=header.bit_depth)
    too_large = _too_large(header, config)
    if too_large is not None:
        return _skip(facts, too_large)
    target = size(width, height)
    read = _read_deep if header.deep else _read_shallow
    resized = integrity.attempt(lambda: read(data, header, target, levels=levels, bands=config.bands))
    if isinstance(resized, Finding):
        return _skip(facts, resized)
    facts = replace(
        facts,
        pixel_hash=_hash(resized.pixels),
        duplicate_key=resized.duplicate_key or BYTES + facts.sha256,
        findings=(*header.notes, *resized.findings),
    )
    resized.pixels.setflags(write=False)
    return DecodedImage(facts=facts, pixels=resized.pixels)


def full_key(file: Path, config: DecodeConfig) -> str | Finding:
    """Return the `duplicate_key` of a file's full samples, as of `decode_image`, or why there is none."""
    data = read_file(file, config)
    return data if isinstance(data, Finding) else integrity.attempt(lambda: _full_key(data, config))


def _full_key(data: bytes, config: DecodeConfig) -> str | Finding:
    header = formats.read_header(data)
    too_large = _too_large(header, config)
    if too_large is not None:
        return too_large
    if header.deep:
        key = _deep_key(rasters.read_deep(data, header, bands=config.bands), header)
    else:
        key = _shallow_key(rasters.read_shallow(data, header, bands=config.bands), header)
    return key or BYTES + hashlib.sha256(data).hexdigest()


def header_pixels(data: bytes) -> int:
    """Return how many pixels decoding a file has to hold, by its header alone; 0 if that cannot be read.

    A file of many bands counts as more pixels, `SAMPLES_PER_PIXEL` samples as one.
    """
    header = integrity.attempt(lambda: formats.read_header(data))
    if isinstance(header, Finding):
        return 0
    width, height = header.stored
    return max(width * height, header.elements // SAMPLES_PER_PIXEL)


def _skip(facts: ImageFacts, finding: Finding) -> ImageFacts:
    return replace(facts, skip_reason=finding.message, findings=(finding,))


def _too_large(header: Header, config: DecodeConfig) -> Finding | None:
    width, height = header.upright
    if width * height <= config.max_pixels and header.elements <= config.max_pixels * SAMPLES_PER_PIXEL:
        return None
    what = f"the image has {width} x {height} pixels ({header.elements} samples)"
    return Finding(
        code=Code.TOO_LARGE, message=f"{what}, more than --max-pixels {config.max_pixels} allows: raise it or crop"
    )


def _read_shallow(
    data: bytes, header: Header, target: tuple[int, int], *, levels: Levels, bands: rasters.Bands
) -> _Resized:
    wanted = orientation.swap(target, header.orientation)
    at_least = (int(wanted[0] * DRAFT_MARGIN), int(wanted[1] * DRAFT_MARGIN))
    shallow = rasters.read_shallow(data, header, at_least, bands=bands)
    image = shallow.image
    key = _shallow_key(shallow, header)
    resized = image if image.size == target else image.resize(target, RESAMPLING, reducing_gap=REDUCING_GAP)
    pixels = np.array(resized.convert("RGB"))
    return _Resized(pixels=pixels, duplicate_key=key, findings=shallow.notes + _emptiness(pixels, np.asarray(image)))


def _read_deep(
    data: bytes, header: Header, target: tuple[int, int], *, levels: Levels, bands: rasters.Bands
) -> _Resized:
    samples = rasters.read_deep(data, header, bands=bands)
    values, changed = apply_levels(samples.values, levels, inverted=samples.inverted)  # (H, W, 1 or 3)
    key = _deep_key(samples, header)
    pixels = np.repeat(values, 3, axis=2) if values.shape[2] == 1 and target == header.upright else values
    if target != header.upright:
        channels = [_resize_float(values[..., channel], target) for channel in range(values.shape[2])]
        pixels = np.stack(channels * (3 // len(channels)), axis=2)
    findings = (*samples.notes, *changed, *_emptiness(pixels, values))
    return _Resized(pixels=np.ascontiguousarray(pixels), duplicate_key=key, findings=findings)


def _resize_float(channel: FloatArray, target: tuple[int, int]) -> FloatArray:
    """Return (H, W) float32 resized and clipped to 0-255: bicubic overshoots at edges."""
    image = Image.fromarray(np.ascontiguousarray(channel))
    resized: FloatArray = np.asarray(image.resize(target, RESAMPLING, reducing_gap=REDUCING_GAP))
    return resized.clip(0, 255)


def _emptiness(pixels: Pixels, full: Pixels) -> tuple[Finding, ...]:
    # the resized image first: the full one, ten times larger, is only checked if that has one colour
    if integrity.is_one_colour(pixels) and integrity.is_one_colour(full):
        return (integrity.one_colour(),)
    return ()


def _shallow_key(shallow: rasters.ShallowImage, header: Header) -> str:
    """Return the key of an image of up to 8 bits; "" if not all that the file holds was read."""
    if header.partial or shallow.partial:
        return ""
    reduced_from = header.upright if shallow.image.size != header.upright else None
    key = _key(shallow.parts or (np.asarray(shallow.image),), str(reduced_from).encode() if reduced_from else b"")
    return REDUCED + key if reduced_from else key


def _deep_key(samples: rasters.DeepImage, header: Header) -> str:
    """Return the key of an image of more than 8 bits; "" if not all that the file holds was read."""
    if header.partial or samples.partial:
        return ""
    parts = tuple(_smallest(part) for part in samples.parts or (samples.values,))
    return _key(parts, INVERTED if samples.inverted else b"")


def _smallest(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers in one type for all files that store the same: uint16, int64, float32 or float64."""
    if values.dtype.kind != "f":
        small = values.dtype == np.uint16 or (values.min() >= 0 and values.max() < 2**16)
        return values.astype(np.uint16 if small else np.int64, copy=False)
    single = values.astype(np.float32, copy=False)
    exact = values.dtype.itemsize <= 4 or np.array_equal(single, values, equal_nan=True)
    return single if exact else values.astype(np.float64, copy=False)


def _key(parts: rasters.Parts, mark: bytes = b"") -> str:
    """Return the hash of stored samples, each part in canonical form."""
    hashes = [_hash(part[..., 0] if part.ndim == 3 and _is_grey(part) else part, mark) for part in parts]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _is_grey(pixels: NDArray[Any]) -> bool:
    """Return whether one channel is there, or red, green and blue are equal; the middle row settles nearly all."""
    return pixels.shape[2] == 1 or (
        pixels.shape[2] == 3 and _channels_equal(pixels[len(pixels) // 2]) and _channels_equal(pixels)
    )


def _channels_equal(pixels: NDArray[Any]) -> bool:
    return all(bool((pixels[..., 0] == pixels[..., channel]).all()) for channel in range(1, pixels.shape[-1]))


def _hash(pixels: NDArray[Any], mark: bytes = b"") -> str:
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype} ".encode() + mark)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
