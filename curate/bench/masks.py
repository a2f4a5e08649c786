"""Anomaly maps against the masks of the defects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from curate.bench.measures import Figures, pixels
from curate.bench.sets import LabelledSet
from curate.images.scale import fit_longest_side
from curate.records import BoolArray, FloatArray, IntArray

LONGEST_PX = 256
"""Longest side, in pixels, at which maps and masks are compared."""


def measure_maps(maps: Sequence[FloatArray], source: LabelledSet, rows: IntArray) -> Figures:
    """Compare anomaly maps with masks.

    Args:
        maps: of the R images, of any size each.
        source: the labelled set, which names the masks.
        rows: (R,) rows of the set. A defective image without a mask is left out.

    Returns:
        See `measures.pixels`; nothing where the rows have no mask.
    """
    if not any(source.masks[row] is not None for row in rows):
        return {}
    resized_maps, masks = [], []
    for row, anomaly_map in zip(rows.tolist(), maps, strict=True):
        file = source.masks[row]
        if file is None and not source.nominal[row]:
            continue
        height, width = _size(file or source.files[row])
        resized_maps.append(resized(anomaly_map, height, width))
        masks.append(np.zeros((height, width), np.bool_) if file is None else _mask(file, height, width))
    return pixels(resized_maps, masks)


def resized(anomaly_map: FloatArray, height: int, width: int) -> FloatArray:
    """Return a map scaled to a size in pixels, bilinear."""
    picture = Image.fromarray(np.ascontiguousarray(anomaly_map, dtype=np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def _size(file: Path) -> tuple[int, int]:
    """Return height and width of an image file, scaled down to `LONGEST_PX`."""
    with Image.open(file) as picture:
        width, height = fit_longest_side(*picture.size, LONGEST_PX)
    return height, width


def _mask(file: Path, height: int, width: int) -> BoolArray:
    with Image.open(file) as picture:
        grey = picture.convert("L").resize((width, height), Image.Resampling.BOX)
    return np.asarray(np.asarray(grey) > 127, dtype=np.bool_)
