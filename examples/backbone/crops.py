"""Cut batches of crops out of the pool and change their look, so that no crop is seen twice."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

SHAPES = ((160, 32), (160, 32), (160, 32), (224, 16), (256, 12))  # (side px, images); the side that audits use is 256


def batch(rng: Generator, pool: NDArray[np.uint8], ready: int) -> NDArray[np.float32]:
    """Return one batch, (B, side, side, 3) float32 in 0-1.

    Args:
        pool: (N, S, S, 3) drawn images.
        ready: how many of them, from the first, may be used.
    """
    side, count = SHAPES[rng.integers(len(SHAPES))]
    crops = np.stack([crop(rng, pool[i], side) for i in rng.integers(ready, size=count)]).astype(np.float32) / 255
    return changed_light(rng, pasted(rng, crops))


def crop(rng: Generator, image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a window of the image at a scale between whole and slightly enlarged, turned and mirrored."""
    size = len(image)
    window = float(np.exp(rng.uniform(np.log(min(0.75 * side, size)), np.log(size))))
    left, top = rng.uniform(0, size - window, 2)
    method = Image.Resampling.BOX if window > 2 * side else Image.Resampling.BILINEAR
    picture = Image.fromarray(image).resize((side, side), method, box=(left, top, left + window, top + window))
    turned = np.rot90(np.asarray(picture), rng.integers(4))
    return turned[:, ::-1] if rng.random() < 0.5 else turned


def pasted(rng: Generator, crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Paste a window of one crop into another here and there: sharp borders that no drawing has."""
    side = crops.shape[1]
    for index in np.flatnonzero(rng.random(len(crops)) < 0.25):
        height, width = (rng.uniform(0.05, 0.6, 2) * side).astype(int) + 1
        top, left = rng.integers(0, side - height), rng.integers(0, side - width)
        window = (slice(top, top + height), slice(left, left + width))
        share = rng.choice([1.0, 0.5])
        crops[index][window] += share * (crops[index - 1][window] - crops[index][window])
    return crops


def changed_light(rng: Generator, crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Change gain, offset and colours of each crop; grey, negative and noisy now and then."""
    count = len(crops)
    tint = np.where(rng.random((count, 1)) < 0.5, rng.normal(0, 0.15, (count, 3)), 0)
    gain = np.exp(rng.normal(0, 0.3, (count, 1)) + tint)
    offset = rng.normal(0, 0.1, (count, 1)) * (rng.random((count, 1)) < 0.5)
    gain, offset = (a.astype(np.float32).reshape(count, 1, 1, -1) for a in (gain, offset))
    crops = crops * gain + offset
    for index in range(count):
        chance = rng.random(4)
        if chance[0] < 0.15:
            crops[index] = crops[index].mean(-1, keepdims=True)
        if chance[1] < 0.2:
            crops[index] = crops[index][..., rng.permutation(3)]
        if chance[2] < 0.05:
            crops[index] = 1 - crops[index]
        if chance[3] < 0.3:
            crops[index] += rng.standard_normal(crops[index].shape, dtype=np.float32) * np.float32(
                rng.uniform(0.005, 0.05)
            )
    return np.clip(crops, 0, 1)
