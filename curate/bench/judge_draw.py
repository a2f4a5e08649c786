"""Score and judge a draw as `curate scan` does. The only file of the bench that knows how a scan joins its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import pyarrow as pa

from curate.audit.judged_dataset import JudgedDataset
from curate.audit.tables import audit_tables
from curate.bench.cells import JOINED_SCORE
from curate.bench.embedder import DrawnSet
from curate.bench.variants import Variant
from curate.config import ScanConfig
from curate.embeddings.engines.local import Cache
from curate.pipeline import embedded_images, with_planted
from curate.progress import Progress, Silent, no_progress
from curate.records import Embeddings, FloatArray, IntArray, Scores
from curate.refinement.judge_dataset import judge_dataset
from curate.scores.base import NO_GUIDE, Guide, Scorer, ScorerContext, make_scorers
from curate.shots import find_shots
from curate.verdicts.judged_set import contamination
from curate.verdicts.power import found_share


@dataclass(frozen=True, kw_only=True)
class JudgedDraw:
    """The scores and verdicts of a draw.

    Attributes:
        images: the images table of the audit, one row an image, in the order of the draw.
        maps: the anomaly maps of the images that could be read, by the column of their score.
        contamination: the estimated share of anomalous images, 0-1.
        power_planted: the share of planted defects above the threshold, 0-1; None where none were planted.
        seconds: by scorer, and for the verdicts.
    """

    images: pa.Table
    maps: dict[str, Sequence[FloatArray]]
    contamination: float
    power_planted: float | None
    seconds: dict[str, float]


def judge_draw(
    drawn: DrawnSet, config: ScanConfig, variant: Variant, *, progress: Progress = no_progress
) -> JudgedDraw:
    """Score and judge a draw as `curate scan` does under a variant of its settings."""
    config = ScanConfig.model_validate(config.model_copy(update=dict(variant.settings)).model_dump())
    make = variant.scorers or make_scorers
    context = ScorerContext(config=config, images=drawn.pixels, teacher=drawn.backbone)
    timed = [_TimedScorer(scorer) for scorer in make(context)]
    start = perf_counter()
    same_part = None
    if config.same_part:
        same_part = find_shots(
            drawn.listing, drawn.facts, drawn.embeddings, duplicates=drawn.duplicates, settings=drawn.settings
        )
    images = embedded_images(
        drawn.listing,
        drawn.facts,
        drawn.duplicates,
        embeddings=drawn.embeddings,
        config=config,
        same_part=same_part,
    )
    network = (drawn.backbone, drawn.settings, Cache(config.cache, drawn.backbone, drawn.settings))
    images = with_planted(images, drawn.facts, config, pixels=drawn.pixels, network=network, screen=Silent())
    judged = judge_dataset(images, timed, config, progress=progress)
    total = perf_counter() - start
    dataset = JudgedDataset(
        listing=drawn.listing,
        facts=drawn.facts,
        duplicates=drawn.duplicates,
        embeddings=drawn.embeddings,
        images=judged,
        same_part=same_part,
    )
    seconds = {f"{scorer.name}_s": round(scorer.seconds, 3) for scorer in timed}
    return JudgedDraw(
        images=audit_tables(dataset, {})["images"],
        maps={JOINED_SCORE: dataset.maps, **{f"score_{name}": maps for name, maps in dataset.view_maps.items()}},
        contamination=contamination(judged.judged)["estimate"],
        power_planted=found_share([one.power for one in judged.judged if one.power is not None]),
        seconds=seconds | {"judge_s": round(total - sum(seconds.values()), 3)},
    )


@dataclass
class _TimedScorer:
    """A scorer that counts its own seconds."""

    scorer: Scorer
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.scorer.name

    def score(
        self, embeddings: Embeddings, groups: IntArray, *, guide: Guide = NO_GUIDE, progress: Progress = no_progress
    ) -> Scores:
        start = perf_counter()
        try:
            return self.scorer.score(embeddings, groups, guide=guide, progress=progress)
        finally:
            self.seconds += perf_counter() - start
