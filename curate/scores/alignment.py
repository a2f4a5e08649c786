"""Do the images of a set lie alike, so that a place shows the same in each of them?

What goes by the place of a patch (`flow`, and the position in `neighbours`) sees much on parts that always lie the same
way. Where they are turned or moved, the place says little, and what merely lies elsewhere is taken for odd. So the set
itself is asked: how much farther is the nearest like of a patch, in the images most like its own, if it is looked for
around the patch's own place alone? The median over those images: a few turned parts do not make a set look turned.

A texture costs as much by place as parts at any angle do, but there nothing is lost: a patch may lie anywhere. It
resembles itself: what a patch is like is found elsewhere in its own image, too, hardly farther than in the images most
like it; of a part that lies anywhere there is but one. So `flow` has a say on a texture.

The student learns from the surroundings, and they differ more from image to image there: it is made larger and learns
longer (`StudentConfig.for_parts_anywhere`). What resembles an image as a whole resembles its patches less there: they
are held against more images (`NeighboursConfig.for_parts_anywhere`).

Ours. Measured (examples/bench/unaligned.py, on four sets of real parts as they are, and turned, moved and scaled at
random): it costs 0.00 to 0.19 on the sets as they are and 0.27 to 0.75 on the others, without defects and with 40 %.
To stay in the own image costs -0.18 to 0.10 on drawn textures (examples/bench/drawn.py), as they are and turned, and on
magnetic_tile and the turned cells of elpv_mono, which are textures in this sense; 0.62 and more on all else. On the
turned sets (one draw, mean AUROC / average precision in %, at 10 and 40 %):

    all as on aligned parts, flow without a say         79.5 / 46.1   78.7 / 73.1
    larger student, more compared images                81.4 / 51.2   80.7 / 75.8
    flow with a say on what is a texture (all rounds)   80.4 / 48.9   79.3 / 73.6

On turned solar cells flow costs (AUROC 69.9 and 68.4 for 73.6 and 73.9 without it, tried by hand); on drawn textures it
gains (README: 88.5 and 87.0 for 82.5 and 82.7), and those stand nearer to what a factory has.

Larger everywhere is not better: on magnetic_tile, which lies alike, such a student alone (three draws, `curate bench
magnetic_tile --shares 0.1,0.4 --ablate student-plain,student-larger`) finds 83.5 / 53.9 for 76.0 / 43.1 at 10 %, but
67.1 / 65.3 for 75.5 / 73.1 at 40 %, where it learns the defects, too; and it takes 6 to 7 times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
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

MOST_OWN_COST = 0.3
"""A set in which it costs more to stay in the own image is no texture; likewise."""

MORE = 4
"""How many times as much the other views look at, and learn, where the images do not lie alike."""

SAMPLE, LIKE, KNOWN = 16, 8, 10_000
"""Images that are asked, and how many images most like each they are held against, out of how many at most."""

PATCHES_ASKED = 256
"""Patches of an image that are asked, at most, evenly spread."""

AROUND, AWAY = 1 / 16, 1 / 8
"""How far from its own place, as a share of the sides, a patch's like may lie, one cell of the grid at least; and how
far away in its own image it must lie at least."""

RESOLUTION = 1e-3
"""Distances are told apart down to this share of a patch's usual length."""


@dataclass(frozen=True)
class Alignment:
    """How the images of a set lie; each cost says, as a share, by how much the distance from a patch to its like grows.

    A cost is the growth that a quarter of the patches exceed, 0 for none, in the median over an even sample of images;
    the growth is that of the distance to the nearest like in any place of the images most like the patch's own.

    Attributes:
        place_cost: where the like is looked for around the patch's own place alone, 0 or more: 0 for parts that always
            lie the same way.
        own_cost: where it is looked for away from there in the patch's own image; below 0 where images resemble
            themselves more than each other, infinite where an image is too coarse to be asked.
    """

    place_cost: float = 0.0
    own_cost: float = np.inf

    @property
    def alike(self) -> bool:
        """Whether a place shows the same in each image, as far as one can go by it."""
        return self.place_cost <= MOST_COST

    @property
    def texture(self) -> bool:
        """Whether any place of an image shows what any other does."""
        return self.own_cost <= MOST_OWN_COST

    def told(self) -> dict[str, float]:
        """Return what is recorded of it."""
        costs = {"place_cost": round(self.place_cost, 4), "own_cost": round(self.own_cost, 4)}
        return {name: cost for name, cost in costs.items() if np.isfinite(cost)}


def known_alignment(guide: Guide, embeddings: Embeddings, kin: IntArray) -> Alignment:
    """Return what a guide knows of how the images lie; where it knows nothing, measure it: see `measure_alignment`.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    known: Alignment | None = guide.alignment
    return measure_alignment(embeddings, kin) if known is None else known


def measure_alignment(embeddings: Embeddings, kin: IntArray) -> Alignment:
    """Say how the images of a set lie.

    Args:
        embeddings: of N images.
        kin: (N,) see `Scorer.score`.

    Returns:
        See there; that of a set which lies alike where no image has another to be held against.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    known = np.arange(0, len(kin), -(-len(kin) // KNOWN))
    part, kin = embeddings.subset(known), kin[known]
    asked = np.arange(0, len(kin), -(-len(kin) // SAMPLE))
    near = similar_images(part, kin, LIKE, asked).near
    with one_core_each("alignment") as pool:
        pairs = [(image, others[others >= 0]) for image, others in zip(asked.tolist(), near, strict=True)]
        found = list(pool.map(lambda pair: _costs(part, *pair), [pair for pair in pairs if len(pair[1])]))
    return Alignment(*np.median(found, axis=0).tolist()) if found else Alignment()


def _costs(embeddings: Embeddings, image: int, near: IntArray) -> tuple[float, float]:
    """Return both costs of one image, held against the images `near`."""
    patches, shape = torch.from_numpy(embeddings.patches(image)), tuple(embeddings.grids[image].tolist())
    step = -(-len(patches) // PATCHES_ASKED)
    asked = patches[::step]
    anywhere, around = torch.zeros(len(near), len(asked)), torch.zeros(len(near), len(asked))
    for row, other in enumerate(near.tolist()):
        gaps = _gaps(asked, torch.from_numpy(embeddings.patches(other)))
        nearest = gaps.amin(dim=1)
        around_here = _around(shape, tuple(embeddings.grids[other].tolist()), step, AROUND)
        like = gaps.masked_fill_(~around_here, torch.inf).amin(dim=1)
        anywhere[row], around[row] = nearest, torch.where(like.isfinite(), like, nearest)  # a coarse grid may have none
    own = _gaps(asked, patches).masked_fill_(_around(shape, shape, step, AWAY), torch.inf).amin(dim=1)
    least = max(RESOLUTION * float(asked.square().sum(dim=1).mean().sqrt()), 1e-12)
    free, bound = anywhere.quantile(0.5, dim=0), around.quantile(0.5, dim=0)
    place, away = (((far - free) / free.clamp(min=least)).sort().values for far in (bound, own))
    return float(place.quantile(0.75)), float(away[int(0.75 * len(away))])  # of infinite ones no mean is taken


def _gaps(patches: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(patches, others, compute_mode="donot_use_mm_for_euclid_dist")


@lru_cache(maxsize=8)  # most sets have one grid; a mask of a large image takes megabytes
def _around(here: tuple[int, int], there: tuple[int, int], step: int, reach: float) -> Tensor:
    """Return whether each place of one grid, of which each `step`th counts, has each of another around it."""
    far = torch.tensor([max(reach, 1 / side) + 1e-4 for side in here])
    places, others = torch.from_numpy(places_of(*here))[::step], torch.from_numpy(places_of(*there))
    return ((places[:, None] - others[None]).abs() <= far).all(dim=2)
