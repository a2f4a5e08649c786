"""Copies of some of a set's images with planted defects, embedded as the images themselves are.

A planted image is scored as a new one, and nothing is learnt from it: what it scores says what a defect of known kind,
size and contrast scores in this set, and what would be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.embeddings.backbones import Backbone
from curate.embeddings.engines.cache import Cache, EmbedSettings, vector_rows
from curate.embeddings.engines.local import lanes, read_embeddings
from curate.embeddings.engines.network import PatchNetwork
from curate.embeddings.store import content_key
from curate.images.planted_defects import draw_defect, plant
from curate.progress import Progress, no_progress
from curate.records import ImageFacts, IntArray, PlantedImages

SHARE = 0.2
"""Share of the images that a defect is planted into."""

FEWEST, MOST = 40, 200
"""A smaller set has so many planted images, if it has so many images at all; a larger one has no more."""

VERSION = 1
"""Part of the key of a planted image. Raise it when the same image and seed give another one."""

Images = Callable[[int], NDArray[Any]]


def planted_count(images: int) -> int:
    """Return into how many of so many different images a defect is planted."""
    return min(images, MOST, max(FEWEST, round(SHARE * images)))


def embed_planted(
    pixels: Images,
    facts: Sequence[ImageFacts],
    rows: IntArray,
    *,
    network: tuple[Backbone, EmbedSettings, Cache],
    progress: Progress = no_progress,
) -> PlantedImages:
    """Plant a defect into some images, and embed them, or take them from the cache.

    Args:
        pixels: gives the pixels of a file of the listing, as they were embedded.
        facts: of the N files.
        rows: (M,) those that could be read.
        network: the backbone, how the images were embedded, and where descriptors are kept; `seed` draws the images
            and the defects.
        progress: called with the number of images just finished, `planted_count(M)` in all; an image that is not
            needed, since there are fewer without copies, counts as done.

    Raises:
        CouldNotFinish: a file can no longer be read.
        WriteError: the cache cannot be written.
    """
    backbone, settings, cache = network
    base = _chosen([facts[row].pixel_hash for row in rows.tolist()], settings.seed)
    seeds = [_key("draw", facts[row].pixel_hash, settings.seed) for row in rows[base].tolist()]
    keys = [_key("descriptors", facts[row].pixel_hash, settings.seed) for row in rows[base].tolist()]
    generators = [np.random.default_rng(int.from_bytes(seed)) for seed in seeds]
    defects = tuple(draw_defect(generator) for generator in generators)
    describe = PatchNetwork(backbone, settings).describe

    def into(index: int) -> None:
        if cache.vectors.find(keys[index], check_blob=True) is None:
            planted = plant(pixels(int(rows[base[index]])), defects[index], generators[index])
            cache.vectors.append(vector_rows(keys[index : index + 1], *describe(planted[None])))
        progress(1)

    with lanes(settings) as threads:
        list(threads.map(into, range(len(base))))
    progress(planted_count(len(rows)) - len(base))
    cache.flush()
    embeddings = read_embeddings(rows[base].tolist(), keys, backbone=backbone, cache=cache)
    return PlantedImages(embeddings=embeddings, base=base, defects=defects)


def _chosen(hashes: Sequence[str], seed: int) -> IntArray:
    """Return which images get a defect, ascending: by content alone, the first of copies, whatever their order."""
    first: dict[bytes, int] = {}
    for image, pixel_hash in enumerate(hashes):
        first.setdefault(_key("choose", pixel_hash, seed), image)
    return np.array(sorted(first[key] for key in sorted(first)[: planted_count(len(first))]), dtype=np.int64)


def _key(purpose: str, pixel_hash: str, seed: int) -> bytes:
    return content_key("planted", VERSION, purpose, pixel_hash, seed)
