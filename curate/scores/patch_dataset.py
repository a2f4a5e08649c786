"""The student's data set: patches as inputs and targets.

The input of a patch are the descriptors around it and its position; its target are the teacher's deeper stages there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from curate.errors import CouldNotFinish
from curate.progress import Progress, no_progress
from curate.records import Embeddings, IntArray
from curate.scores.surroundings import (
    PartialWhitening,
    moments,
    partial_whitening,
    position_encoding,
    surrounding_means,
)


@dataclass(frozen=True)
class FeatureExtractor:
    """Turns an image's descriptors into the student's inputs and targets.

    Attributes:
        reduction: reduces a descriptor before its surroundings are averaged.
        stages: of each deeper stage, its columns in a descriptor, and the whitening of its channels.
    """

    reduction: PartialWhitening
    stages: tuple[tuple[slice, PartialWhitening], ...]

    def extract(self, embeddings: Embeddings, image: int) -> tuple[Tensor, Tensor]:
        """Return an image's inputs (patches, inputs) and targets (patches, outputs), row-major over its grid.

        Raises:
            CouldNotFinish: a descriptor is not finite.
        """
        rows, columns = embeddings.grids[image].tolist()
        descriptors = checked_patches(embeddings, image)
        means = surrounding_means(self.reduction(descriptors).reshape(rows, columns, -1))
        targets = [whitening(descriptors[:, part]) for part, whitening in self.stages]
        return torch.cat([means, position_encoding(rows, columns)], dim=1), torch.cat(targets, dim=1)

    def target_columns(self) -> list[slice]:
        """Return the columns of each deeper stage in a target."""
        edges = np.cumsum([0, *(whitening.matrix.shape[1] for _, whitening in self.stages)]).tolist()
        return [slice(a, b) for a, b in pairwise(edges)]


def checked_patches(embeddings: Embeddings, image: int) -> Tensor:
    """Return an image's descriptors, (patches, D).

    Raises:
        CouldNotFinish: one is not finite.
    """
    patches = embeddings.patches(image)
    if not np.isfinite(patches).all():
        raise CouldNotFinish(
            f"image {int(embeddings.images[image])}: its descriptors are not finite; empty the cache and scan again"
        )
    return torch.from_numpy(patches)


def fit_extractor(
    embeddings: Embeddings, images: IntArray, width: int, *, progress: Progress = no_progress
) -> FeatureExtractor:
    """Fit the reduction and the whitening of each stage to the descriptors of some images.

    Args:
        embeddings: of N images.
        images: indices of those to fit to.
        width: that a descriptor is reduced to; at most D of it.
        progress: called with the number of images just read.

    Raises:
        CouldNotFinish: a descriptor is not finite.
    """
    blocks = (checked_patches(embeddings, i) for i in _counted(images, progress))
    mean, covariance = moments(blocks, embeddings.width)
    deeper = embeddings.parts[1:] or embeddings.parts
    stages = tuple(
        (part, partial_whitening(mean[part], covariance[part, part], part.stop - part.start)) for part in deeper
    )
    return FeatureExtractor(partial_whitening(mean, covariance, min(width, embeddings.width)), stages)


@dataclass(frozen=True, kw_only=True)
class PatchDataset:
    """A sample of P patches of some of N images, as inputs and targets.

    Attributes:
        inputs: (P, inputs).
        targets: (P, outputs).
        start, count: (N,) the first row of each image, and how many it has; 0 for an image that is not in the sample.
    """

    inputs: Tensor
    targets: Tensor
    start: Tensor
    count: Tensor

    def draw(self, images: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the inputs and targets of `size` patches: an image first, each as likely, then a patch of it."""
        chosen = images[torch.randint(len(images), (size,), generator=generator)]
        rows = self.start[chosen] + (torch.rand(size, generator=generator) * self.count[chosen]).long()
        return self.inputs[rows], self.targets[rows]


def sample_patches(
    embeddings: Embeddings,
    extractor: FeatureExtractor,
    images: IntArray,
    *,
    size: int,
    rng: np.random.Generator,
    progress: Progress = no_progress,
) -> PatchDataset:
    """Sample patches of some images: all of them, or the same share of each image, about `size` in all.

    Args:
        embeddings: of N images.
        extractor: gives inputs and targets of an image.
        images: indices of those to sample from, ascending; each gives one patch at least.
        size: patches in all.
        rng: draws the patches of an image.
        progress: called with the number of images just read.

    Raises:
        CouldNotFinish: a descriptor is not finite.
    """
    counts = embeddings.patch_counts()[images]
    share = min(1.0, size / max(1, int(counts.sum())))
    sizes = np.maximum(1, (share * counts).astype(np.int64))
    start, count = torch.zeros((2, len(embeddings)), dtype=torch.long)
    start[images], count[images] = torch.from_numpy(np.cumsum(sizes) - sizes), torch.from_numpy(sizes)
    columns: tuple[Tensor, ...] = ()
    for image in _counted(images, progress):
        extracted = extractor.extract(embeddings, image)
        # allocated whole from the start: pieces that are joined later take twice the memory
        columns = columns or tuple(torch.empty((int(sizes.sum()), part.shape[1])) for part in extracted)
        rows = slice(int(start[image]), int(start[image] + count[image]))
        chosen = torch.from_numpy(np.sort(rng.permutation(len(extracted[0]))[: int(count[image])]))
        for whole, part in zip(columns, extracted, strict=True):
            whole[rows] = part[chosen]
    inputs, targets = columns
    return PatchDataset(inputs=inputs, targets=targets, start=start, count=count)


def _counted(images: IntArray, progress: Progress) -> Iterator[int]:
    for image in images.tolist():
        yield image
        progress(1)
