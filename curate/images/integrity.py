"""The findings of reading one image file: how a failed read becomes one sentence, and remarks on what was read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.findings import Code
from curate.records import Finding

TRANSIENT_CODES = frozenset((Code.NO_MEMORY, Code.UNSUPPORTED))
"""Another run may read the same file: with more memory free, or with a decoder installed since."""
TRUNCATION_WORDS = ("truncat", "failed to read", "unexpected end", "not enough image data", "requires a buffer")
UNSUPPORTED_WORDS = ("unknown pixel mode", "unsupported", "not supported", "cannot handle", "precision")

T = TypeVar("T")


class Unreadable(Exception):
    """An image that cannot be used; `attempt` turns it into the finding that it carries."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(code=code, message=message)


def attempt(step: Callable[[], T]) -> T | Finding:
    """Return what `step` returns, or the finding that says why it failed. Every decoder is called through here."""
    try:
        return step()
    except Unreadable as unreadable:
        return unreadable.finding
    # Decoders are third-party code, and a hostile file makes them raise anything (struct.error, IndexError,
    # RecursionError, ...). Whatever a file holds, the run goes on and the file becomes a row with a reason.
    except Exception as error:  # noqa: BLE001
        return failure(error)


def needs_imagecodecs(compression: str) -> Unreadable:
    """Return the error for a TIFF whose compression only the optional package imagecodecs decodes."""
    return Unreadable(
        Code.UNSUPPORTED,
        f"the compression {compression} needs a package: pip install imagecodecs, or save it as PNG or plain TIFF",
    )


def failure(error: Exception) -> Finding:
    """Return the finding for what a decoder raised."""
    one_line = f"{type(error).__name__}: {' '.join(str(error).split())}"[:160].rstrip(": ")
    reason = "".join(letter if letter.isprintable() else "?" for letter in one_line)
    lower = reason.lower()
    if isinstance(error, MemoryError):
        return Finding(code=Code.NO_MEMORY, message="memory ran out while decoding: lower --max-pixels or free memory")
    if isinstance(error, Image.DecompressionBombError):
        return Finding(
            code=Code.TOO_LARGE, message=f"too many pixels for the decoder ({reason}): save it smaller or tiled"
        )
    if isinstance(error, EOFError) or any(word in lower for word in TRUNCATION_WORDS):
        return Finding(code=Code.TRUNCATED, message=f"the file is cut short ({reason}): copy it again from its source")
    if isinstance(error, NotImplementedError) or any(word in lower for word in UNSUPPORTED_WORDS):
        return Finding(
            code=Code.UNSUPPORTED, message=f"a variety that is not supported ({reason}): save it as PNG or TIFF"
        )
    return Finding(code=Code.DAMAGED, message=f"the file is damaged ({reason}): copy it again from its source")


def is_one_colour(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> bool:
    """Return whether every pixel of (H, W) or (H, W, C) is the same."""
    first = pixels[0, 0]
    # the middle row first: it settles nearly every real image at a thousandth of the cost
    return bool((pixels[len(pixels) // 2] == first).all() and (pixels == first).all())


def several_pages(*, largest: bool = False) -> Finding:
    """Say that only one of several pages or frames is used: the first, or the largest if that is another."""
    which = "largest" if largest else "first"
    message = f"the file has more than one page or frame: only the {which} is used"
    return Finding(code=Code.SEVERAL_PAGES, message=message)


def transparent() -> Finding:
    """Say that transparent pixels were laid over black."""
    return Finding(code=Code.TRANSPARENT, message="parts are transparent: laid over black")


def all_transparent() -> Finding:
    """Say that an alpha channel of zeros was taken for none."""
    message = "every pixel is transparent: the alpha channel is ignored"
    return Finding(code=Code.TRANSPARENT, message=message)


def one_colour() -> Finding:
    """Say that an image shows nothing."""
    return Finding(code=Code.ONE_COLOUR, message="every pixel has the same colour: check camera, shutter and export")


def extra_channels(channels: int, used: Sequence[int]) -> Finding:
    """Say which bands of a file are used, by their numbers from 1: one as grey, or three as red, green and blue."""
    names = ", ".join(map(str, used))
    which = f"band {names} is used, as grey" if len(used) == 1 else f"bands {names} are used, as red, green and blue"
    message = f"of {channels} bands only {which}: --bands chooses others"
    return Finding(code=Code.EXTRA_CHANNELS, message=message)


def reduced_depth(bits: int) -> Finding:
    """Say that a decoder gave 8 bits of a deeper image."""
    return Finding(code=Code.REDUCED_DEPTH, message=f"{bits}-bit colour JPEG 2000 is read with 8 bits: save it as TIFF")


def other_format(is_format: str, suffix: str) -> Finding:
    """Say that a file's content is not what its name claims."""
    return Finding(code=Code.OTHER_FORMAT, message=f"the file is named {suffix} but holds {is_format}: rename it")


def clipped(share: float, black: float, white: float) -> Finding:
    """Say that a share (0-1) of the values lies outside the levels of the set."""
    message = f"{share:.2%} of the values lie outside the set's levels {black:g} to {white:g} and are clipped"
    return Finding(code=Code.CLIPPED, message=f"{message}: set --white-level if they matter")


def not_finite(share: float) -> Finding:
    """Say that a share (0-1) of the values is NaN or infinite."""
    return Finding(code=Code.NOT_FINITE, message=f"{share:.2%} of the values are NaN or infinite and are set to black")


def marked(share: float, values: Sequence[float]) -> Finding:
    """Say that a share (0-1) of the values are markers of missing measurements."""
    names = ", ".join(f"{value:g}" for value in values)
    message = f"{share:.2%} of the values are {names}, which marks missing measurements here, and are set to black"
    return Finding(code=Code.MARKER, message=message)


def little_contrast(low: float, high: float, share: float) -> Finding:
    """Say that the values of an image, `low` to `high`, fill only a share (0-1) of the set's levels."""
    message = f"the values {low:g} to {high:g} fill only {share:.2%} of the set's levels: too little contrast to judge"
    return Finding(code=Code.LITTLE_CONTRAST, message=f"{message}; set --white-level, or scan this kind of file apart")


def perhaps_mask(message: str) -> Finding:
    """Say why an image may be a mask, in the words of `curate.images.masks`."""
    return Finding(code=Code.PERHAPS_MASK, message=message)


def invalid_name(path: str) -> Finding:
    """Say that a file's name is not valid UTF-8; `path` is the escaped form."""
    return Finding(
        code=Code.INVALID_NAME, message=f"the name is not valid UTF-8, shown here as {path}: rename the file"
    )
