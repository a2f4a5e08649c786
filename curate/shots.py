"""Which images of a listing are copies of one file, or show the same part: reads their pixels, and says by file.

Candidates come from pooled vectors and from prints; `curate.same_part` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.embeddings.engines.local import EmbedSettings
from curate.embeddings.frame import frame_size
from curate.errors import CouldNotFinish
from curate.images.decode import read_image
from curate.images.duplicates import leakage_groups
from curate.images.scale import fit_longest_side
from curate.progress import Progress, no_progress
from curate.records import DecodedImage, Embeddings, ImageFacts, IntArray, Listing
from curate.same_part.copies import find_copies
from curate.same_part.find import SamePart, find_same_part
from curate.same_part.judge import CANDIDATES
from curate.same_part.planted import SIDE_PX as SHOT_PX
from curate.same_part.prints import Pictures, thumbnails_of
from curate.scores.base import Images
from curate.scores.similar import nearest_vectors, similar_images

COPY_PX = 2048
"""Longest side at which two images are compared for the noise that a copy has and a second shot has not."""
NEAR = 64
"""Images most similar as a whole. In turn with those most similar by their prints, the first may be copies or shots of
the same part, and all show the product."""


def find_shots(
    listing: Listing,
    facts: Sequence[ImageFacts],
    embeddings: Embeddings,
    *,
    duplicates: IntArray,
    settings: EmbedSettings,
    progress: Progress = no_progress,
) -> SamePart:
    """Find the copies of one file, and the images that show the same part.

    See `curate.same_part.copies.find_copies` and `curate.same_part.find.find_same_part`.

    Args:
        listing, facts: of N files; a file that has changed since is not compared.
        embeddings: of the M images that could be read.
        duplicates: (N,) see `duplicate_groups`.
        settings: how they were decoded.
        progress: called with 1 for each image read, and again for each compared.
    """
    readable = embeddings.images
    groups = leakage_groups(duplicates, listing.groups)[readable]
    near = similar_images(embeddings, groups, NEAR).near
    small, full = (pixels_of(listing, settings, longest_px=px, facts=facts) for px in (SHOT_PX, COPY_PX))
    pictures = Pictures(lambda i: small(int(readable[i])), len(readable), progress)
    near = _interleaved(near, nearest_vectors(thumbnails_of(pictures.prints), CANDIDATES))
    likely = near[:, :CANDIDATES]
    copies = find_copies(lambda i: full(int(readable[i])), pictures.prints, likely, groups=groups, seed=settings.seed)
    same_file = _by_file(copies.first, readable, len(listing))
    groups = leakage_groups(duplicates, listing.groups, same_file)[readable]
    found = find_same_part(pictures, near, groups, seed=settings.seed, progress=progress)
    return replace(found, copies=copies)


def _interleaved(one: IntArray, other: IntArray) -> IntArray:
    """Return (M, C + D) the rows of (M, C) and of (M, D) in turn, each once; -1 for none, at the end."""
    near = np.full((len(one), one.shape[1] + other.shape[1]), -1, np.int64)
    width = other.shape[1]
    in_turn = np.concatenate([np.stack([one[:, :width], other], axis=2).reshape(len(one), -1), one[:, width:]], axis=1)
    for row, found in enumerate(in_turn):
        rows = found[np.sort(np.unique(found, return_index=True)[1])]
        rows = rows[rows >= 0]
        near[row, : len(rows)] = rows
    return near


def joined_rows(readable: IntArray, files: int, same_part: SamePart | None) -> Iterator[IntArray]:
    """Yield (N,) the rows of the first copy of one file and of the first shot of one part, if they were looked for."""
    if same_part is not None:
        yield _by_file(same_part.clusters, readable, files)
        if same_part.copies is not None:
            yield _by_file(same_part.copies.first, readable, files)


def _by_file(first: IntArray, readable: IntArray, files: int) -> IntArray:
    """Return (N,) rows of the listing for (M,) rows of the images that could be read; any other file has its own."""
    by_file = np.arange(files, dtype=np.int64)
    by_file[readable] = readable[first]
    return by_file


def pixels_of(
    listing: Listing,
    settings: EmbedSettings,
    *,
    longest_px: int | None = None,
    facts: Sequence[ImageFacts] | None = None,
) -> Images:
    """Return what gives the pixels of a file of the listing, as they were embedded, or at most `longest_px` long.

    Raises (when called):
        CouldNotFinish: the file can no longer be read, or its content is not that of `facts`.
    """

    def size(width: int, height: int) -> tuple[int, int]:
        if longest_px is not None:
            return fit_longest_side(width, height, longest_px)
        return frame_size(width, height, settings.long_px)

    def read(row: int) -> NDArray[Any]:
        image = read_image(
            listing.files[row],
            size=size,
            levels=settings.levels,
            config=settings.decode,
        )
        if not isinstance(image, DecodedImage):
            raise CouldNotFinish(f"{listing.paths[row]}: was read before and cannot be read any more; scan again")
        if facts is not None and image.facts.sha256 != facts[row].sha256:
            raise CouldNotFinish(f"{listing.paths[row]}: has changed since it was read; scan again")
        return image.pixels

    return read
