"""Which labels do the images themselves contradict? Confident learning, on pooled vectors.

The most similar images, the own leakage group left out, vote for their classes; a nearer one counts for more, and a
class of few images is given the votes that it cannot cast. An image counts for another class where its share of the
votes reaches what the images of that class have on average: this threshold of each class makes up for classes that are
harder to recognise. Classes that their own images name hardly more often than chance, such as defects too small for a
pooled vector, are not asked.

Source: Northcutt et al. 2021 (Confident Learning, JAIR 70), §3.1, Eq. 1. Differs: probabilities are votes of similar
images, not of a trained classifier, so that classes of three images can be asked too; ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.records import EmbeddedImages, IntArray
from curate.scores.similar import similar_images

VOTES = tuple(rank**-0.5 for rank in range(1, 11))
"""What the most similar images count, the nearest first."""

RECOGNISED = 0.4
"""A class is asked if its own images give it so much of the way from its share of all images, which it gets by chance,
to all votes."""

MAJORITY = 2 / 3
"""A share of the votes that counts for a class even where its own images have more on average."""


@dataclass(frozen=True, kw_only=True)
class ConfidentLabel:
    """The class that an image seems to be of, and how likely that is, 0-1."""

    label: str
    probability: float


def confident_labels(images: EmbeddedImages) -> Mapping[int, ConfidentLabel]:
    """Find the images that are of another class than their label says, by row.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    names, labels = np.unique(np.array(images.labels), return_inverse=True)
    pairs = np.unique(np.stack([labels, images.groups], axis=1), axis=0)
    comparable = np.flatnonzero(np.bincount(pairs[:, 0], minlength=len(names))[labels] > 1)
    if len(names) < 2 or not len(comparable):
        return {}
    classes, probability = votes(images, labels, comparable)
    other = contradicted(classes, probability, labels[comparable])
    return {
        int(comparable[i]): ConfidentLabel(
            label=str(names[other[i]]), probability=float(probability[i][classes[i] == other[i]].max())
        )
        for i in np.flatnonzero(other >= 0).tolist()
    }


def votes(images: EmbeddedImages, labels: IntArray, rows: IntArray) -> tuple[IntArray, NDArray[np.float64]]:
    """Return the classes that the images most similar to some are of, and their shares of the votes.

    Args:
        images: of the whole dataset, N.
        labels: (N,) class numbers.
        rows: (R,) the images that are asked about.

    Returns:
        (R, 1 + K) classes, each image's own first; -1 for none. (R, 1 + K) shares, 0-1, adding up to 1.

    Raises:
        CouldNotFinish: faiss is not installed.
    """
    near = similar_images(images.embeddings, images.groups, len(VOTES), rows=rows).near  # (R, K)
    of, own = np.where(near >= 0, labels[near], -1), labels[rows][:, None]
    same = of[:, :, None] == of[:, None, :]  # (R, K, K)
    most = np.concatenate([np.zeros(1), np.cumsum(VOTES)])[np.minimum(np.bincount(labels), len(VOTES))]
    cast = (same * np.array(VOTES)).sum(axis=2) / np.maximum(most[of], 1e-12)
    first = (of >= 0) & ~np.tril(same, -1).any(axis=2)
    for_own = (np.where(first & (of == own), cast, 0)).sum(axis=1, keepdims=True)
    others = first & (of != own)
    classes = np.concatenate([own, np.where(others, of, -1)], axis=1)
    total = np.concatenate([for_own, np.where(others, cast, 0)], axis=1)
    return classes, total / np.maximum(total.sum(axis=1, keepdims=True), 1e-12)


def contradicted(classes: IntArray, probability: NDArray[np.float64], labels: IntArray) -> IntArray:
    """Return (R,) the class that contradicts each label; -1 where none does.

    Args:
        classes: (R, C) the classes near each image, its own first; -1 for none.
        probability: (R, C) of each of them.
        labels: (R,) the class that each image is said to be of.

    Source: Northcutt et al. 2021, §3.1, Eq. 1: an image counts for the likeliest class whose threshold it reaches.
    Differs: `MAJORITY` is enough.
    """
    images = np.bincount(labels, minlength=int(classes.max()) + 1)
    totals = np.bincount(labels, weights=probability[:, 0], minlength=len(images))
    thresholds = np.where(images > 0, totals / np.maximum(images, 1), 2.0)
    by_chance = images / len(labels)
    asked = (thresholds >= by_chance + RECOGNISED * (1 - by_chance)) & (images > 0)
    reached = (classes >= 0) & (probability >= np.minimum(thresholds, MAJORITY)[classes]) & asked[classes]
    best = np.where(reached, probability, -1.0).argmax(axis=1)
    rows = np.arange(len(labels))
    likeliest = classes[rows, best]
    other = reached[rows, best] & (likeliest != labels) & asked[labels]
    other &= probability[rows, best] > probability[:, 0]
    return np.where(other, likeliest, -1)
