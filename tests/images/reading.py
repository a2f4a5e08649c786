"""Short ways to decode in tests."""

from __future__ import annotations

from curate.images.decode import decode_image
from curate.images.levels import DecodeConfig, Levels
from curate.records import DecodedImage, ImageFacts


def same(width: int, height: int) -> tuple[int, int]:
    """Ask for no resizing."""
    return width, height


def decode(
    data: bytes,
    *,
    size: tuple[int, int] | None = None,
    levels: Levels | None = None,
    max_pixels: int = 1_000_000,
    bands: tuple[int, ...] = (),
) -> DecodedImage | ImageFacts:
    """Decode at native size, or at `size` (width, height)."""
    return decode_image(
        data,
        size=same if size is None else lambda width, height: size,
        levels=levels or Levels(),
        config=DecodeConfig(max_pixels=max_pixels, bands=bands),
    )


def read(data: bytes, **options: object) -> DecodedImage:
    """Decode what must be readable."""
    decoded = decode(data, **options)
    assert isinstance(decoded, DecodedImage), decoded.skip_reason
    return decoded


def codes(decoded: DecodedImage | ImageFacts) -> list[str]:
    """Return the codes of the findings."""
    facts = decoded.facts if isinstance(decoded, DecodedImage) else decoded
    return [finding.code for finding in facts.findings]
