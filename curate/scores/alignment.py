"""Do the images of a set lie alike, so that a place shows the same in each of them?

A view that goes by the place of a patch (`flow`) sees much on parts that always lie the same way. Where they are turned
or moved, the place says little, and such a view takes for odd what merely lies elsewhere. So the set itself is asked:
how much farther is the nearest like of a patch, in the images most like its own, if it is looked for at the patch's own
place alone?

Ours. Measured (examples/bench/unaligned.py, on four sets of real parts as they are, and turned, moved and scaled at
random): it costs 0.00 to 0.16 on the sets as they are and 0.25 to 0.75 on the others, without defects and with 40 %.
"""

from __future__ import annotations

import numpy as np
import torch

from curate.records import Embeddings, FloatArray, IntArray
from curate.scores.places import places_of
from curate.scores.similar import balanced

MOST_COST = 0.2
"""A set in which the place costs more does not lie alike; between what was measured on either kind."""

SAMPLE, LIKE, KNOWN = 24, 8, 10_000
"""Images that are asked, and how many images most like each they are held against, out of how many at most."""

PATCHES_ASKED = 256
"""Patches of an image that are asked, at most, evenly spread."""

CELLS_AROUND = 1.5
"""How far from its own place, in cells of its grid, a patch's like may lie: its own cell, and the eight around."""

RESOLUTION = 1e-3
"""Distances are told apart down to this share of a patch's usual length."""


def place_cost(embeddings: Embeddings, kin: IntArray) -> float:
    """Say what it costs to look for a patch's like at its own place alone.

    Args:
        embeddings: of N images.
        kin: (N,) see `Scorer.score`.

    Returns:
        By how much, as a share, the distance grows that a quarter of the patches exceed: 0 for parts that always lie
        the same way. The median over an even sample of images; 0 where none has another to be held against.
    """
    known = np.arange(0, len(kin), -(-len(kin) // KNOWN))
    part, kin = embeddings.subset(known), kin[known]
    vectors = balanced(part)
    asked = range(0, len(kin), -(-len(kin) // SAMPLE))
    found = [_cost(part, image, near) for image in asked if len(near := _like(vectors, kin, image))]
    return float(np.median(found)) if found else 0.0


def _like(vectors: FloatArray, kin: IntArray, image: int) -> IntArray:
    """Return the images most like one as a whole, nearest first; none of them is its kin."""
    gaps = np.square(vectors - vectors[image]).sum(axis=1)
    gaps[kin == kin[image]] = np.inf
    order: IntArray = np.argsort(gaps, kind="stable")[:LIKE]
    return np.asarray(order[np.isfinite(gaps[order])], dtype=np.int64)


def _cost(embeddings: Embeddings, image: int, near: IntArray) -> float:
    patches, shape = torch.from_numpy(embeddings.patches(image)), embeddings.grids[image]
    places = torch.from_numpy(places_of(*shape.tolist()))
    step = -(-len(patches) // PATCHES_ASKED)
    patches, places = patches[::step], places[::step]
    reach = CELLS_AROUND / torch.from_numpy(shape.astype(np.float32))
    anywhere, here = torch.zeros(len(patches)), torch.zeros(len(patches))
    for other in near.tolist():
        there = torch.from_numpy(places_of(*embeddings.grids[other].tolist()))
        gaps = torch.cdist(patches, torch.from_numpy(embeddings.patches(other)))
        around = ((places[:, None] - there[None]).abs() <= reach).all(dim=2)
        nearest, alike = gaps.amin(dim=1), gaps.masked_fill(~around, torch.inf).amin(dim=1)
        anywhere += nearest
        here += torch.where(alike.isfinite(), alike, nearest)  # a much coarser grid may have none so near
    least = RESOLUTION * float(patches.square().sum(dim=1).mean().sqrt()) * len(near)
    return float(((here - anywhere) / anywhere.clamp(min=max(least, 1e-12))).quantile(0.75))
