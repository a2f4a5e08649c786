"""The student: how far is each patch from what a small network predicts there?

The teacher is the frozen backbone. The student is a small network that learns to predict the deeper stages of a patch
from the descriptors around it and from its position (`surroundings.py`), on the set itself. Where student and teacher
disagree, the image shows what the rest of the set does not. Each image is judged by a student that was trained without
it and its leakage group. The map is the mean of the stages' differences, each stage weighing half as much as the one
before it; the score of an image is the mean of its highest 2 %.

The Evolving Meta-Set (`published/mlg_stpm.py`) can guide the training: after a warm-up, the loss of a step is that of a
batch plus that of a sample of the images with the lowest disagreement. By default the student trains on batches alone,
which found more. At the end all images are ranked in any case, and the meta-set is handed on.

The methods as published, STPM and MLG-STPM, are in `published/`; `StudentKind.STPM` runs them.

Source: MLG-STPM (Sensors 2025, 25(19), 6255), on STPM (Wang et al. 2021): a student that learns the teacher's pyramid,
the disagreement as the anomaly map, the meta-set. Differs: the published student is a network of the teacher's own kind
that learns the pyramid from the image, and judges images that it was trained on; ours predicts the cached pyramid from
the patches around, is small, and is trained by folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from curate.choices import StudentKind
from curate.embeddings.backbones import Backbone
from curate.embeddings.threads import one_core_each
from curate.errors import UsageError
from curate.progress import Progress, no_progress
from curate.records import Embeddings, FloatArray, IntArray, Scores
from curate.scores.alignment import known_alignment
from curate.scores.base import NO_GUIDE, Guide, Images, ScorerContext
from curate.scores.folds import group_folds
from curate.scores.neighbours import empty_maps
from curate.scores.published.mlg_stpm import EvolvingMetaSet, appearance_clusters
from curate.scores.published.stpm import Stpm
from curate.scores.similar import balanced
from curate.scores.student_config import StudentConfig
from curate.scores.student_training import StudentModel, TrainingTask, image_scores, prepare_trainer


@dataclass(frozen=True, kw_only=True)
class Student:
    """The scorer `student`. It has no state but its settings.

    Attributes:
        config: see there.
        images, teacher: gives the pixels of a row of the listing (`Embeddings.images`), and the frozen backbone;
            needed by `StudentKind.STPM` alone.
    """

    config: StudentConfig = field(default_factory=StudentConfig)
    images: Images | None = None
    teacher: Backbone | None = None
    name: str = "student"

    def score(
        self, embeddings: Embeddings, groups: IntArray, *, guide: Guide = NO_GUIDE, progress: Progress = no_progress
    ) -> Scores:
        """Score every image by its disagreement with a student that was trained without it; see `Scorer.score`.

        A set in which all images are of one leakage group (one image, say) scores 0 throughout: no student can be
        trained.

        Raises:
            CouldNotFinish: a descriptor is not finite, or faiss is not installed.
            UsageError: `StudentKind.STPM` without images or teacher, or images do not cover their patch grids.
        """
        if self.config.kind is StudentKind.STPM:
            return self._score_as_published(embeddings, guide, progress)
        alignment = known_alignment(guide, embeddings, groups)
        config = self.config.for_alignment(alignment)
        rng = np.random.default_rng(config.seed)
        meta_set = _new_meta_set(embeddings, guide, config, rng=rng)
        folds = group_folds(groups, config.folds, rng)
        model = guide.model if isinstance(guide.model, StudentModel) else None
        if folds.any():
            with one_core_each("student") as pool:
                task = TrainingTask(embeddings=embeddings, folds=folds, meta_set=meta_set, config=config, pool=pool)
                trainer = prepare_trainer(task, model, rng=rng, progress=progress)
                maps, model = trainer.train(), trainer.model()
        else:
            progress(len(embeddings))
            maps = empty_maps(embeddings)
        scores = self._scores(maps, meta_set, config, last_epoch=config.epochs)
        return replace(scores, facts={**scores.facts, **alignment.as_json()}, model=model)

    def _score_as_published(self, embeddings: Embeddings, guide: Guide, progress: Progress) -> Scores:
        """Score by STPM or MLG-STPM: one student for all images, without folds."""
        config = self.config
        meta_set = _new_meta_set(embeddings, guide, config, rng=np.random.default_rng(config.seed))
        maps = self._published_maps(embeddings, meta_set, progress)
        return self._scores(maps, meta_set, config, last_epoch=config.stpm.epochs)

    def _published_maps(
        self, embeddings: Embeddings, meta_set: EvolvingMetaSet, progress: Progress
    ) -> Sequence[FloatArray]:
        """Return the maps of STPM as published, one for all images, each of its patch grid's shape."""
        if self.images is None or self.teacher is None:
            raise UsageError("the student stpm learns from images: give it their source and the backbone")
        config, pixels = self.config, self.images
        stpm = Stpm(
            teacher=next(iter(self.teacher.parts), self.teacher),  # STPM copies one network
            config=config.stpm,
            curriculum=config.curriculum,
            top_share=config.top_share,
            seed=config.seed,
        )
        maps = stpm.anomaly_maps(lambda i: pixels(int(embeddings.images[i])), meta_set, progress=progress)
        for i, grid in enumerate(embeddings.grids.tolist()):
            if list(maps[i].shape) != grid:
                raise UsageError(f"image {i}: its pixels do not cover its patch grid; give them as they were embedded")
        return maps

    def _scores(
        self, maps: Sequence[FloatArray], meta_set: EvolvingMetaSet, config: StudentConfig, *, last_epoch: int
    ) -> Scores:
        """Rank the meta-set for the last time, and return the scores of N maps."""
        values = image_scores(maps, config.top_share)
        meta_set.rank(last_epoch, values, growth=1.0)
        return Scores(
            scorer=self.name,
            values=values,
            maps=maps,
            neighbours=np.zeros((len(maps), 0), dtype=np.int64),
            facts={"settings": asdict(config)},
            meta_set=meta_set.record(),
        )


def make_student(context: ScorerContext) -> Student:
    """Return the scorer of a scan's settings.

    Raises:
        UsageError: STPM as published, where there are no images at hand.
    """
    config = StudentConfig(kind=context.config.student, seed=context.config.seed)
    if config.kind is StudentKind.STPM and (context.images is None or context.teacher is None):
        raise UsageError("--student stpm: learns from images, which are not at hand here; take surroundings")
    return Student(config=config, images=context.images, teacher=context.teacher)


def _new_meta_set(
    embeddings: Embeddings, guide: Guide, config: StudentConfig, *, rng: np.random.Generator
) -> EvolvingMetaSet:
    """Return a meta-set before its first ranking, which images that the guide rejects cannot enter."""
    clusters = appearance_clusters(balanced(embeddings), config.meta_set.clusters, rng)
    return EvolvingMetaSet(config.meta_set, clusters, guide.learnable(len(embeddings)))
