"""Judge a dataset: partition it, judge each nominal set by itself, check labels across classes, decide."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from curate.config import ScanConfig
from curate.partition.nominal_sets import NominalSet, partition
from curate.progress import Progress, no_progress
from curate.records import EmbeddedImages
from curate.refinement.judge_set import judge_set
from curate.refinement.label_checks import check_labels, checks_labels
from curate.scores.base import Scorer
from curate.verdicts.judge import JudgedImages, decide
from curate.verdicts.rejection_cap import RejectionCap

log = logging.getLogger(__name__)


def judge_dataset(
    images: EmbeddedImages, scorers: Sequence[Scorer], config: ScanConfig, *, progress: Progress = no_progress
) -> JudgedImages:
    """Judge every image among the images of its nominal set.

    Args:
        images: all that could be read; the sets and verdicts returned are of the dataset's own.
        scorers: the views, in the order in which they run; see `scores.base.make_scorers`.
        config: the settings of the scan.
        progress: called with the number of images just finished; `progress_total` in all.

    Raises:
        CouldNotFinish: a descriptor is not finite, or faiss is not installed.
    """
    whole = [
        one
        for one in partition(images, subpopulations=config.subpopulations)
        if (one.rows < images.listed).any()  # the others are subpopulations of images outside the dataset
    ]
    parts = [images.subset(one.rows) for one in whole]
    judged = tuple(judge_set(part, scorers, config, progress=progress) for part in parts)
    sets = tuple(_of_dataset(one, images.listed) for one in whole)
    log.info("nominal sets: %s", json.dumps({one.name: len(one.rows) for one in sets}))
    for one, result in zip(sets, judged, strict=True):
        if result.trusted_note:
            log.warning("%s: %s; p- and q-values are model-based", one.name or "all images", result.trusted_note)
    images = images.subset(np.arange(images.listed, dtype=np.int64)) if images.outside else images
    checks = check_labels(images, sets, judged, progress=progress)
    cap = RejectionCap(max_share=config.max_share, min_keep=config.min_keep)
    verdicts = tuple(
        decide(result, one, checks.within(one.rows), duplicates=part.duplicates[: part.listed], cap=cap)
        for result, one, part in zip(judged, sets, parts, strict=True)
    )
    return JudgedImages(sets=sets, judged=judged, checks=checks, verdicts=verdicts)


def _of_dataset(nominal_set: NominalSet, listed: int) -> NominalSet:
    """Return a nominal set without the images outside the dataset, whose rows are not below `listed`."""
    own = nominal_set.rows < listed
    return replace(nominal_set, rows=nominal_set.rows[own], group_sizes=nominal_set.group_sizes[own])


def progress_total(images: EmbeddedImages, scorers: Sequence[Scorer], config: ScanConfig) -> int:
    """Return how many images `judge_dataset` reports: one a scorer, round and image; a round not needed counts as done.

    That a few rejected images are scored against another class is not counted.
    """
    checked = checks_labels(images.labels, [scorer.name for scorer in scorers])
    scored = len(images) + (0 if images.planted is None else len(images.planted))
    return scored * len(scorers) * config.rounds + images.listed * checked
