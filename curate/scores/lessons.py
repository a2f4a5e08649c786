"""What the student reads and what it learns from: descriptors made into questions and answers.

A question is what stands around a place and where the place is; the answer is what the teacher's deeper stages say
there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from curate.errors import CouldNotFinish
from curate.records import Embeddings, IntArray, Progress, no_progress
from curate.scores.surroundings import Whitening, around, half_whitening, moments, position


@dataclass(frozen=True)
class Reader:
    """Turns an image's descriptors into questions and answers.

    Attributes:
        looks: reduces a descriptor before its surroundings are taken.
        stages: of each deeper stage, where it stands in a descriptor, and how its channels are brought to one scale.
    """

    looks: Whitening
    stages: tuple[tuple[slice, Whitening], ...]

    def read(self, embeddings: Embeddings, image: int) -> tuple[Tensor, Tensor]:
        """Return an image's questions (places, inputs) and answers (places, outputs).

        Raises:
            CouldNotFinish: a descriptor is not finite.
        """
        rows, columns = embeddings.grids[image].tolist()
        descriptors = checked_patches(embeddings, image)
        seen = around(self.looks(descriptors).reshape(rows, columns, -1))
        answers = [whitening(descriptors[:, part]) for part, whitening in self.stages]
        return torch.cat([seen, position(rows, columns)], dim=1), torch.cat(answers, dim=1)

    def answer_columns(self) -> list[slice]:
        """Return where each deeper stage stands in an answer."""
        edges = np.cumsum([0, *(whitening.matrix.shape[1] for _, whitening in self.stages)]).tolist()
        return [slice(a, b) for a, b in pairwise(edges)]


def checked_patches(embeddings: Embeddings, image: int) -> Tensor:
    """Return an image's descriptors, (places, D).

    Raises:
        CouldNotFinish: one is not finite.
    """
    patches = embeddings.patches(image)
    if not np.isfinite(patches).all():
        raise CouldNotFinish(
            f"image {int(embeddings.images[image])}: its descriptors are not finite; empty the cache and scan again"
        )
    return torch.from_numpy(patches)


def fit_reader(embeddings: Embeddings, images: IntArray, width: int, *, progress: Progress = no_progress) -> Reader:
    """Measure on some images how descriptors vary.

    Args:
        embeddings: of N images.
        images: those that are measured.
        width: that a descriptor is reduced to for the surroundings.
        progress: called with the number of images just read.
    """
    read = (checked_patches(embeddings, i) for i in _counted(images, progress))
    mean, covariance = moments(read, embeddings.width)
    deeper = embeddings.parts[1:] or embeddings.parts
    stages = tuple(
        (part, half_whitening(mean[part], covariance[part, part], part.stop - part.start)) for part in deeper
    )
    return Reader(half_whitening(mean, covariance, min(width, embeddings.width)), stages)


@dataclass(frozen=True)
class Lessons:
    """A sample of places of some images, ready to be learnt from.

    Attributes:
        questions: (P, inputs).
        answers: (P, outputs).
        start, count: (N,) where each image's places stand; count is 0 for an image that has none here.
    """

    questions: Tensor
    answers: Tensor
    start: Tensor
    count: Tensor

    def draw(self, images: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw places of some images: an image first, each as likely, then a place of it."""
        chosen = images[torch.randint(len(images), (size,), generator=generator)]
        places = self.start[chosen] + (torch.rand(size, generator=generator) * self.count[chosen]).long()
        return self.questions[places], self.answers[places]


def gather(
    embeddings: Embeddings,
    reader: Reader,
    images: IntArray,
    places: int,
    rng: np.random.Generator,
    *,
    progress: Progress = no_progress,
) -> Lessons:
    """Sample places of some images: all of them, or as many of each that there are `places` in all.

    `progress` is called with the number of images just read.
    """
    counts = embeddings.patch_counts()[images]
    share = min(1.0, places / max(1, int(counts.sum())))
    sizes = np.maximum(1, (share * counts).astype(np.int64))
    start, count = torch.zeros((2, len(embeddings)), dtype=torch.long)
    start[images], count[images] = torch.from_numpy(np.cumsum(sizes) - sizes), torch.from_numpy(sizes)
    room: tuple[Tensor, ...] = ()
    for image in _counted(images, progress):
        read = reader.read(embeddings, image)
        # in one piece from the start: pieces that are joined later take twice the room
        room = room or tuple(torch.empty((int(sizes.sum()), part.shape[1])) for part in read)
        size = int(count[image])
        some = torch.from_numpy(np.sort(rng.permutation(len(read[0]))[:size]))
        for whole, part in zip(room, read, strict=True):
            whole[start[image] : start[image] + size] = part[some]
    questions, answers = room
    return Lessons(questions, answers, start, count)


def _counted(images: IntArray, progress: Progress) -> Iterator[int]:
    for image in images.tolist():
        yield image
        progress(1)
