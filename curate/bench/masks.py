"""Anomaly maps against the masks of the defects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from curate.bench.measures import Figures, pixels
from curate.bench.sets import LabelledSet
from curate.images.masks import defect_pixels
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
    if not any(source.masks[row] for row in rows):
        return {}
    resized_maps, masks = [], []
    for row, anomaly_map in zip(rows.tolist(), maps, strict=True):
        files = source.masks[row]
        if not files and not source.nominal[row]:
            continue
        height, width = _size(files[0] if files else source.files[row])
        resized_maps.append(resized(anomaly_map, height, width))
        masks.append(_mask(files, height, width))
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


def _mask(files: Sequence[Path], height: int, width: int) -> BoolArray:
    """Return where any of some masks shows a defect: where at least half of a pixel is not background."""
    union = np.zeros((height, width), np.bool_)
    for file in files:
        whole = Image.fromarray(defect_pixels(file).astype(np.uint8) * 255)
        union |= np.asarray(whole.resize((width, height), Image.Resampling.BOX)) > 127
    return union
