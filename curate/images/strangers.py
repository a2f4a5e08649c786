"""Files whose first bytes say that they are no image that is read here: what they are, and what to do."""

from __future__ import annotations

from curate.findings import Code
from curate.images.integrity import Unreadable

SAVE = "save it as PNG, JPEG or TIFF"
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the image itself: run git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer, not the image itself: run git annex get"),
    (b"\0\x05\x16\x07", "data that macOS keeps beside a file, not an image: remove it"),
    (b"\0\x05\x16\0", "data that macOS keeps beside a file, not an image: remove it"),
    (b"PK\x03\x04", "a ZIP archive, not an image: unpack it"),
    (b"\x1f\x8b", "a gzip archive, not an image: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive, not an image: unpack it"),
    (b"%PDF", f"a PDF, which is not read here: {SAVE}"),
    (b"%!PS", f"PostScript, which is not read here: {SAVE}"),
    (b"8BPS", f"a Photoshop file, which is not read here: {SAVE}"),
    (b"v/1\x01", f"OpenEXR, which is not read here: {SAVE}"),
    (b"\xff\x0a", f"JPEG XL, which is not read here: {SAVE}"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", f"JPEG XL, which is not read here: {SAVE}"),
    (b"SIMPLE  =", f"FITS, which is not read here: {SAVE}"),
    (b"\x93NUMPY", f"a NumPy array, which is not read here: {SAVE}"),
)
TEXTS: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", "a web page, not an image: its download failed, fetch it again"),
    (b"<html", "a web page, not an image: its download failed, fetch it again"),
    (b"<svg", f"SVG, which is not read here: {SAVE}"),
    (b"<?xml", f"XML, not an image: {SAVE}"),
    (b'{"', "JSON, not an image: fetch the image again"),
)
DICOM_AT = 128
PEEK = 256


def stranger(data: bytes) -> Unreadable:
    """Return the error for a file that is no image that is read here; it names what the file is, where that shows."""
    head = data[:PEEK]
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    words = next((words for start, words in SIGNATURES if head.startswith(start)), "")
    words = words or next((words for start, words in TEXTS if text.startswith(start)), "")
    if not words and data[DICOM_AT : DICOM_AT + 4] == b"DICM":
        words = f"DICOM, which is not read here: {SAVE}"
    if not words and not data.strip(b"\0"):
        words = "nothing but zeros, as a copy that broke off leaves it: copy it again from its source"
    if words:
        return Unreadable(Code.NOT_AN_IMAGE, f"the file is {words}")
    return Unreadable(Code.NOT_AN_IMAGE, "the content is no image format that is read here: export the image again")
