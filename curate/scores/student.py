"""The student: how far is each place from what a small network expects there?

The teacher is the frozen backbone. The student is a small network that learns to tell the deeper stages of a place
from what stands around it and from where it is (`surroundings.py`), on the set itself. Where the two disagree, the
image shows what the rest of the set does not. Each image is judged by a student that has not seen it or its kin.

It learns in epochs. The Evolving Meta-Set (`meta_set.py`) can guide it: after a warm-up, each step's loss is that of a
batch plus that of a sample of the images with the lowest disagreement. At the end all images are ranked in any case,
and the meta-set is handed on.

Measured (four labelled sets of real parts, the packaged backbone, three draws, AUROC in %, mean over the sets;
`curate bench --ablate student-...` at 5, 10, 20, 40 % of defective images, and `--detectors student-...`):

    learns from             finds noise                 finds defects in unseen images
    batches                 93.2  92.4  92.3  91.9      94.6  94.2  93.7  92.6
    batches and meta-set    92.9  92.1  92.1  91.4      94.4  94.1  93.6  92.5
    meta-set alone          91.4  91.4  91.8  90.9      93.2  93.3  92.6  91.9
    trimmed batches         92.6  92.2  92.2  92.0      94.3  93.9  93.7  92.8

So the published claim, that the meta-set helps under up to 20 % of noise, does not hold for this student; probably
because it is judged out of fold: what it learnt from a defect it cannot repeat on the same image. Batches alone are the
default. Of the joins (same sets, one draw, 10 and 40 %): mean of the stages 91.2, product 90.7; the map's top 1 % 91.2,
its maximum 90.5; channels, places or images normalised by their usual difference found less (88.5 to 90.9). That a
deeper stage weighs half changes little: AUROC / AP 92.6 / 87.6 for 92.4 / 86.8 with the packaged backbone on another
draw, 91.0 / 80.6 for 91.0 / 82.2 with ResNet-18.

Source: MLG-STPM (Sensors 2025, 25(19), 6255), on STPM (Wang et al. 2021). Differs: the published student is a network
of the teacher's own kind that learns the pyramid from the image; ours reads the cached pyramid, and is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from curate.embeddings.backbones import Backbone
from curate.embeddings.threads import one_core_each
from curate.errors import UsageError
from curate.records import Embeddings, FloatArray, IntArray, Progress, Scores, no_progress
from curate.scores.alignment import known_alignment
from curate.scores.base import NO_GUIDE, Guide
from curate.scores.folds import kin_folds
from curate.scores.meta_set import EvolvingMetaSet, looks
from curate.scores.neighbours import empty_maps
from curate.scores.similar import balanced
from curate.scores.stpm import Images, learn_from_images
from curate.scores.student_config import Kind, StudentConfig
from curate.scores.student_training import Model, begin, image_scores, learnt


@dataclass(frozen=True, kw_only=True)
class Student:
    """The scorer `student`. It has no state but its settings.

    Attributes:
        config: see there.
        images, teacher: gives the pixels of a row of the listing (`Embeddings.images`), and the frozen backbone;
            needed by `Kind.STPM` alone.
    """

    config: StudentConfig = field(default_factory=StudentConfig)
    images: Images | None = None
    teacher: Backbone | None = None
    name: str = "student"

    def score(
        self, embeddings: Embeddings, kin: IntArray, *, guide: Guide = NO_GUIDE, progress: Progress = no_progress
    ) -> Scores:
        """Score every image by its disagreement with a student that has not seen it; see `Scorer.score`.

        A set in which all images are kin (one image, say) scores 0 throughout: nothing can be learnt.

        Raises:
            CouldNotFinish: a descriptor is not finite, or faiss is not installed.
        """
        config, facts = self.config, dict[str, Any]()
        if config.kind is not Kind.STPM:
            lie = known_alignment(guide, embeddings, kin)
            config = config if lie.alike else config.for_parts_anywhere()
            facts |= lie.told()
        rng = np.random.default_rng(config.seed)
        kept = EvolvingMetaSet(
            config.meta_set,
            looks(balanced(embeddings), config.meta_set.looks, rng),
            guide.teachers(len(embeddings)),
        )
        if config.kind is Kind.STPM:
            maps, model = self._published(embeddings, kept, progress), None
        else:
            maps, model = _surroundings(embeddings, kin, kept, config, guide.model, rng, progress)
        values = image_scores(maps, config.top_share)
        kept.rank(config.stpm.epochs if config.kind is Kind.STPM else config.epochs, values, grown=1.0)
        return Scores(
            scorer=self.name,
            values=values,
            maps=maps,
            neighbours=np.zeros((len(embeddings), 0), dtype=np.int64),
            facts={"settings": asdict(config)} | facts,
            meta_set=kept.record(),
            model=model,
        )

    def _published(self, embeddings: Embeddings, kept: EvolvingMetaSet, progress: Progress) -> Sequence[FloatArray]:
        """Return the maps of STPM as published, one for all images, each of its patch grid's shape."""
        if self.images is None or self.teacher is None:
            raise UsageError("the student stpm learns from images: give it their source and the backbone")
        config, pixels = self.config, self.images
        maps = learn_from_images(
            lambda i: pixels(int(embeddings.images[i])),
            self.teacher,
            kept,
            config.stpm,
            partial(learnt, config.curriculum),
            top_share=config.top_share,
            seed=config.seed,
            progress=progress,
        )
        odd = [i for i, grid in enumerate(embeddings.grids.tolist()) if list(maps[i].shape) != grid]
        if odd:
            raise UsageError(f"image {odd[0]}: its pixels do not cover its patch grid; give them as they were embedded")
        return maps


def _surroundings(
    embeddings: Embeddings,
    kin: IntArray,
    kept: EvolvingMetaSet,
    config: StudentConfig,
    before: Model | None,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[Sequence[FloatArray], Model | None]:
    """Return the maps of all images, 0 where all are kin, and what the next round starts from."""
    folds = kin_folds(kin, config.folds, rng)
    if not folds.any():
        progress(len(embeddings))
        return empty_maps(embeddings), before
    with one_core_each("student") as pool:
        course = begin(embeddings, folds, kept, config, before, rng, pool, progress)
        return course.run(), course.model()
