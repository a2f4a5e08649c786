"""Do the images of a set lie alike, so that a place shows the same in each of them?

What goes by the place of a patch (`flow`, and the position in `neighbours`) sees much on parts that always lie the same
way. Where they are turned or moved, the place says little, and what merely lies elsewhere is taken for odd. So the set
itself is asked: how much farther is the nearest like of a patch, in the images most like its own, if it is looked for
around the patch's own place alone? The median over those images: a few turned parts do not make a set look turned.

The student learns from the surroundings, and they differ more from image to image there: it is made larger and learns
longer (`StudentConfig.for_parts_anywhere`). What resembles an image as a whole resembles its patches less there: they
are held against more images (`NeighboursConfig.for_parts_anywhere`).

Ours. Measured (examples/bench/unaligned.py, on four sets of real parts as they are, and turned, moved and scaled at
random): it costs 0.00 to 0.19 on the sets as they are and 0.27 to 0.75 on the others, without defects and with 40 %.
Fine texture all over an image may cost as much as turned parts; there the place says nothing either way. On the turned
sets (one draw, mean AUROC / average precision in %, at 10 and 40 %):

    all as on aligned parts, flow without a say         79.5 / 46.1   78.7 / 73.1
    larger student, more compared images                81.4 / 51.2   80.7 / 75.8

Larger everywhere is not better: on magnetic_tile, which lies alike, such a student alone (three draws, `curate bench
magnetic_tile --shares 0.1,0.4 --ablate student-plain,student-larger`) finds 83.5 / 53.9 for 76.0 / 43.1 at 10 %, but
67.1 / 65.3 for 75.5 / 73.1 at 40 %, where it learns the defects, too; and it takes 6 to 7 times as long.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from curate.embeddings.threads import one_core_each
from curate.records import Embeddings, IntArray
from curate.scores.base import Guide
from curate.scores.places import places_of
from curate.scores.similar import similar_images

MOST_COST = 0.22
"""A set in which the place costs more does not lie alike; between what was measured on either kind."""

MORE = 4
"""How many times as much the other views look at, and learn, where the images do not lie alike."""

SAMPLE, LIKE, KNOWN = 16, 8, 10_000
"""Images that are asked, and how many images most like each they are held against, out of how many at most."""

PATCHES_ASKED = 256
"""Patches of an image that are asked, at most, evenly spread."""

AROUND = 1 / 16
"""How far from its own place, as a share of the sides, a patch's like may lie; one cell of the grid at least."""

RESOLUTION = 1e-3
"""Distances are told apart down to this share of a patch's usual length."""


def known_cost(guide: Guide, embeddings: Embeddings, kin: IntArray) -> float:
    """Return the cost of the place that a guide knows; where it knows none, measure it: see `place_cost`.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    return place_cost(embeddings, kin) if guide.place_cost is None else float(guide.place_cost)


def place_cost(embeddings: Embeddings, kin: IntArray) -> float:
    """Say what it costs to look for a patch's like around its own place alone.

    Args:
        embeddings: of N images.
        kin: (N,) see `Scorer.score`.

    Returns:
        By how much, as a share, the distance grows that a quarter of the patches exceed: 0 for parts that always lie
        the same way. The median over an even sample of images; 0 where none has another to be held against.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    known = np.arange(0, len(kin), -(-len(kin) // KNOWN))
    part, kin = embeddings.subset(known), kin[known]
    asked = np.arange(0, len(kin), -(-len(kin) // SAMPLE))
    near = similar_images(part, kin, LIKE, asked).near
    pairs = [(image, others[others >= 0]) for image, others in zip(asked.tolist(), near, strict=True)]
    with one_core_each("alignment") as pool:
        found = list(pool.map(lambda pair: _cost(part, *pair), [pair for pair in pairs if len(pair[1])]))
    return float(np.median(found)) if found else 0.0


def _cost(embeddings: Embeddings, image: int, near: IntArray) -> float:
    """Return what `place_cost` says of one image, held against the images `near`."""
    patches, shape = torch.from_numpy(embeddings.patches(image)), tuple(embeddings.grids[image].tolist())
    step = -(-len(patches) // PATCHES_ASKED)
    patches = patches[::step]
    anywhere, around = torch.zeros(len(near), len(patches)), torch.zeros(len(near), len(patches))
    for row, other in enumerate(near.tolist()):
        gaps = torch.cdist(
            patches, torch.from_numpy(embeddings.patches(other)), compute_mode="donot_use_mm_for_euclid_dist"
        )
        beyond = _beyond(shape, tuple(embeddings.grids[other].tolist()), step)
        nearest, like = gaps.amin(dim=1), gaps.add_(beyond).amin(dim=1)
        anywhere[row], around[row] = nearest, torch.where(like.isfinite(), like, nearest)  # a coarse grid may have none
    free, bound = anywhere.quantile(0.5, dim=0), around.quantile(0.5, dim=0)
    least = max(RESOLUTION * float(patches.square().sum(dim=1).mean().sqrt()), 1e-12)
    return float(((bound - free) / free.clamp(min=least)).quantile(0.75))


@lru_cache(maxsize=4)  # most sets have one grid; a mask of a large image takes megabytes
def _beyond(here: tuple[int, int], there: tuple[int, int], step: int) -> Tensor:
    """Return 0 where a place of one grid lies around one of another, of which each `step`th counts, else infinity."""
    reach = torch.tensor([max(AROUND, 1 / side) + 1e-4 for side in here])
    places, others = torch.from_numpy(places_of(*here))[::step], torch.from_numpy(places_of(*there))
    inside = ((places[:, None] - others[None]).abs() <= reach).all(dim=2)
    return torch.where(inside, 0.0, torch.inf)
