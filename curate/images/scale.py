"""The size of an image that is shown or checked smaller than it is."""

from __future__ import annotations


def fit_longest_side(width: int, height: int, longest_px: int) -> tuple[int, int]:
    """Return (width, height) with a longest side of at most `longest_px`: never enlarged, at least 1 px a side.

    Args:
        width, height: of the image, in px, at least 1.
        longest_px: what the longest side may be.
    """
    scale = min(1.0, longest_px / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
