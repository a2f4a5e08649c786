"""Numbers of an audit in the form in which people read them."""

from __future__ import annotations

import math


def finite(value: object) -> float | None:
    """Return a finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits, which JSON may hold
        return None
    return number if math.isfinite(number) else None


def percent(share: float) -> str:
    """Return a share, 0-1, in per cent: one decimal below ten."""
    value = round(100 * share, 6)  # 7, not 7.000000000000001
    return f"{value:.0f} %" if value >= 10 or value == round(value) else f"{value:.1f} %"


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: "1 image", "1,200 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
