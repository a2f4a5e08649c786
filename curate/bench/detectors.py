"""Does cleaning help? Anomaly detectors, trained on a training set as it is, cleaned, or truly clean; tested elsewhere.

A detector gets the images to learn from and the images to score, and gives scores and anomaly maps. `neighbours`, the
variants of `flow` and `student`, and `softpatch` are ours and work on the embeddings; `patchcore` and `stfpm` are
anomalib's and work on the files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.bench import anomalib_models, softpatch
from curate.bench.gaps import Gaps
from curate.bench.measures import Figures, pixels, ranking
from curate.bench.road import Embedded
from curate.bench.sets import LabelledSet
from curate.bench.variants import FROM_IMAGES, VIEWS, Maker
from curate.config import ScanConfig
from curate.errors import UsageError
from curate.records import BoolArray, Embeddings, FloatArray, IntArray
from curate.scores.alignment import measure_alignment
from curate.scores.base import Guide
from curate.scores.neighbours import NeighboursConfig, top_mean

PIXELS_LONG = 256
"""Longest side, in pixels, at which anomaly maps are held against masks."""

FEWEST_TRAINING = 2


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a detector is given; rows are those of the labelled set, and can be read.

    Attributes:
        source: the labelled set.
        whole: its embeddings.
        gaps: distances between its images, in places of the embeddings.
        training: rows to learn from.
        test: rows to score.
        seed: of what is random.
        device: "auto", "cpu" or "cuda".
        backbone, weights: of a detector that brings its own network; None for its default.
    """

    source: LabelledSet
    whole: Embedded
    gaps: Gaps
    training: IntArray
    test: IntArray
    seed: int
    device: str = "auto"
    backbone: str | None = None
    weights: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Detected:
    """What a detector says of T test images: scores, higher is more anomalous, and a map of any size each."""

    scores: NDArray[np.float64]
    maps: Sequence[FloatArray]


def memory_bank(task: Task) -> Detected:
    """Score as `neighbours` does on parts that lie alike, but without the place; fitted on the training set."""
    settings = NeighboursConfig()
    train, test = task.whole.places[task.training], task.whole.places[task.test]
    similar = _most_similar(task.whole.embeddings, train, test, settings.compared)
    maps = []
    for place, others in zip(test.tolist(), similar, strict=True):
        gaps = np.sort(task.gaps.of(place, others), axis=0)[: settings.images].mean(axis=0)
        maps.append(gaps.reshape(task.whole.embeddings.grids[place]))
    return Detected(scores=np.array([top_mean(m, settings.top_share) for m in maps], dtype=np.float64), maps=maps)


def _most_similar(embeddings: Embeddings, train: IntArray, test: IntArray, count: int) -> list[IntArray]:
    """Return the training images most like each test image as a whole, scaled by the training set alone."""
    known, asked = embeddings.pooled[train].astype(np.float64), embeddings.pooled[test].astype(np.float64)
    middle = known.mean(axis=0)
    known, asked = known - middle, asked - middle
    for stage in embeddings.stages:
        length = max(float(np.sqrt(np.square(known[:, stage]).sum(axis=1).mean())), 1e-6)
        known[:, stage] /= length
        asked[:, stage] /= length
    far = np.square(asked).sum(axis=1)[:, None] - 2 * asked @ known.T + np.square(known).sum(axis=1)
    return [train[row] for row in np.argsort(far, axis=1, kind="stable")[:, :count]]


def soft_patch(task: Task) -> Detected:
    """Score by SoftPatch's weighted bank; see `curate.bench.softpatch`. The image score is the map's maximum."""
    embeddings = task.whole.embeddings
    bank = softpatch.fit(embeddings.subset(task.whole.places[task.training]), task.seed)
    maps = [
        bank.anomaly_map(embeddings.patches(place)).reshape(embeddings.grids[place])
        for place in task.whole.places[task.test].tolist()
    ]
    return Detected(scores=np.array([m.max() for m in maps], dtype=np.float64), maps=maps)


def view_detector(make: Maker) -> Callable[[Task], Detected]:
    """Return a view as a detector: it learns from the training images alone, each model from its folds of them."""

    def run(task: Task) -> Detected:
        rows = np.concatenate([task.training, task.test])
        learnt = np.arange(len(rows)) < len(task.training)
        (scorer,) = make(ScanConfig(seed=task.seed))
        embeddings = task.whole.embeddings.subset(task.whole.places[rows])
        lie = measure_alignment(embeddings.subset(np.flatnonzero(learnt)), np.arange(len(task.training)))
        told = scorer.score(embeddings, np.arange(len(rows)), guide=Guide(nominal=learnt, alignment=lie))
        return Detected(scores=told.values[~learnt].astype(np.float64), maps=told.maps[len(task.training) :])

    return run


def _anomalib(name: str) -> Callable[[Task], Detected]:
    def run(task: Task) -> Detected:
        train, test = ([task.source.files[row] for row in rows] for rows in (task.training, task.test))
        training = anomalib_models.Training(
            name=name, seed=task.seed, device=task.device, backbone=task.backbone, weights=task.weights
        )
        scores, maps = anomalib_models.train_and_score(training, train, test)
        return Detected(scores=scores, maps=maps)

    return run


DETECTORS: Mapping[str, Callable[[Task], Detected]] = MappingProxyType(
    {
        "neighbours": memory_bank,
        **{name: view_detector(make) for name, make in VIEWS.items() if name not in FROM_IMAGES},
        "softpatch": soft_patch,
        **{name: _anomalib(name) for name in anomalib_models.MODELS},
    }
)
"""For --detectors."""


def check_installed(names: Sequence[str]) -> None:
    """Refuse a detector whose library is missing.

    Raises:
        UsageError: it says what to install.
    """
    for name in names:
        if name in anomalib_models.MODELS and find_spec("anomalib") is None:
            raise UsageError(
                f"--detectors {name}: anomalib is not installed: pip install 'curate[bench]', or leave {name} out"
            )


def run_detector(name: str, task: Task) -> Figures:
    """Train a detector and measure it on the test images: image AUROC and AP, pixel AUROC and PRO where masks are.

    Raises:
        ValueError: fewer than two images to learn from.
    """
    if len(task.training) < FEWEST_TRAINING:
        raise ValueError(f"{len(task.training)} images are too few to train on")
    found = DETECTORS[name](task)
    wrong = np.array([not task.source.nominal[row] for row in task.test], dtype=np.bool_)
    ranks = ranking(wrong, found.scores)
    figures = {"image_auroc": ranks["auroc"], "image_ap": ranks["ap"], "trained_on": float(len(task.training))}
    return figures | against_masks(task.source, task.test, found.maps)


def against_masks(source: LabelledSet, rows: IntArray, maps: Sequence[FloatArray]) -> Figures:
    """Hold anomaly maps of images against their masks; a defective image without a mask is left out."""
    if not any(source.masks[row] is not None for row in rows):
        return {}
    sized, masks = [], []
    for row, anomaly_map in zip(rows.tolist(), maps, strict=True):
        file = source.masks[row]
        if file is None and not source.nominal[row]:
            continue
        height, width = _sizes(file or source.files[row])
        sized.append(resized(anomaly_map, height, width))
        masks.append(np.zeros((height, width), np.bool_) if file is None else _mask(file, height, width))
    return pixels(sized, masks)


def resized(anomaly_map: FloatArray, height: int, width: int) -> FloatArray:
    """Return a map brought to a size in pixels, bilinear."""
    picture = Image.fromarray(np.ascontiguousarray(anomaly_map, dtype=np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def _sizes(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        width, height = picture.size
    scale = min(1.0, PIXELS_LONG / max(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _mask(file: Path, height: int, width: int) -> BoolArray:
    with Image.open(file) as picture:
        grey = picture.convert("L").resize((width, height), Image.Resampling.BOX)
    return np.asarray(np.asarray(grey) > 127, dtype=np.bool_)
