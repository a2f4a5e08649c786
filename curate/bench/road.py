"""From a draw to the images table of its audit, by the same functions as `curate scan`.

A set's images are embedded once, whatever the number of draws: a draw is a choice of rows. Only where a draw's own
sizes or levels ask for another setting (`embed_settings`) is the set embedded once more, so that a cell gives what a
scan of the draw's folder gives. This is the one file of the bench that knows how `curate.audit` puts the road
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

from curate.audit import Silent, Stages, embed_settings, optics_of, pixels_of, refine_config
from curate.bench.draws import Draw
from curate.bench.sets import LabelledSet
from curate.bench.variants import Variant
from curate.config import ScanConfig
from curate.embeddings.backbones import Backbone, load_backbone
from curate.embeddings.engines.local import Cache, EmbedSettings, embed
from curate.errors import CouldNotFinish
from curate.images.duplicates import confirmed_keys, duplicate_groups, kin
from curate.records import Embeddings, FloatArray, ImageFacts, IntArray, Layout, Listing, Progress, Scores, no_progress
from curate.reports.outcome import Outcome
from curate.reports.tables import audit_tables
from curate.scores.base import NO_GUIDE, Guide, Scorer
from curate.scores.stpm import Images
from curate.scores.views import make_scorers
from curate.verdicts.judge import judge
from curate.verdicts.rounds import refine

HYBRID = "anomaly_score"


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """A whole labelled set under one setting.

    Attributes:
        facts: (N,) of every file.
        embeddings: of those that could be read.
        places: (N,) where each file stands in the embeddings; -1 for one that could not be read.
        seconds: wall time, and by stage.
    """

    facts: tuple[ImageFacts, ...]
    embeddings: Embeddings
    places: IntArray
    seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class DrawnSet:
    """A draw, embedded: what every scorer, baseline and detector of a cell looks at.

    Attributes:
        draw: N images.
        listing, facts, duplicates: of the N images, as a scan has them.
        embeddings: of the M that could be read; their `images` are rows of the draw.
        kin: (M,) see `Scorer.score`.
        whole: the whole set, embedded under the same setting.
        pixels, backbone: gives the pixels of a row of the draw, and the network; some students learn from them.
    """

    draw: Draw
    listing: Listing
    facts: tuple[ImageFacts, ...]
    duplicates: IntArray
    embeddings: Embeddings
    kin: IntArray
    whole: Embedded
    pixels: Images
    backbone: Backbone

    @property
    def readable(self) -> IntArray:
        """The rows of the draw that could be read."""
        return self.embeddings.images

    @property
    def labels(self) -> list[str]:
        """The labels of the images that could be read."""
        return [self.draw.labels[i] for i in self.readable]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What `curate` says of a draw.

    Attributes:
        images: the table of the audit, one row an image, in the order of the draw.
        maps: by column of a score, the anomaly maps of the images that could be read.
        contamination: the estimated share of anomalous images, 0-1.
        seconds: by scorer, and for the verdicts.
    """

    images: pa.Table
    maps: dict[str, Sequence[FloatArray]]
    contamination: float
    seconds: dict[str, float]


@dataclass
class Road:
    """The road of one labelled set: what was embedded is kept."""

    source: LabelledSet
    config: ScanConfig
    screen: Stages = field(default_factory=Silent)
    _whole: dict[str, Embedded] = field(default_factory=dict)
    _backbone: Backbone | None = None

    @property
    def backbone(self) -> Backbone:
        """The frozen network, loaded when it is first needed."""
        if self._backbone is None:
            chosen = self.config
            self._backbone = load_backbone(chosen.backbone, weights=chosen.weights, offline=chosen.offline)
        return self._backbone

    def drawn(self, draw: Draw) -> DrawnSet:
        """Embed a draw.

        Raises:
            CouldNotFinish: not one of its images could be read.
        """
        files = [self.source.files[row] for row in draw.rows]
        listing = listing_of(self.source, draw.names, files, draw.labels)
        settings = embed_settings(listing, self.config)
        whole = self.embedded(settings)
        facts = tuple(whole.facts[row] for row in draw.rows)
        readable = np.flatnonzero(whole.places[draw.rows] >= 0)
        if not len(readable):
            raise CouldNotFinish(f"{self.source.root}: none of the {len(draw.rows)} drawn images can be read")
        part = whole.embeddings.subset(whole.places[draw.rows[readable]])
        keys = confirmed_keys(listing.files, facts, levels=settings.levels, config=settings.decode)
        duplicates = duplicate_groups(keys)
        return DrawnSet(
            draw=draw,
            listing=listing,
            facts=facts,
            duplicates=duplicates,
            embeddings=replace(part, images=readable),
            kin=kin(duplicates, listing.groups)[readable],
            whole=whole,
            pixels=pixels_of(listing, settings),
            backbone=self.backbone,
        )

    def embedded(self, settings: EmbedSettings) -> Embedded:
        """Embed the whole set under a setting, once."""
        key = repr(settings)
        if key not in self._whole:
            names = [self.source.relative(row) for row in range(len(self.source))]
            order = sorted(range(len(names)), key=names.__getitem__)
            listing = listing_of(self.source, [names[i] for i in order], [self.source.files[i] for i in order])
            cache = Cache(self.config.cache, self.backbone, settings)
            start = perf_counter()
            with self.screen.stage("embed", len(listing)) as progress:
                facts, embeddings, report = embed(listing, self.backbone, settings, cache, progress=progress)
            seconds = {"embed_s": round(perf_counter() - start, 3), **report.seconds}
            self._whole[key] = _in_rows(order, facts, embeddings, seconds)
        return self._whole[key]


def _in_rows(
    order: Sequence[int], facts: Sequence[ImageFacts], embeddings: Embeddings, seconds: dict[str, float]
) -> Embedded:
    """Bring what a listing gave into the rows of the labelled set."""
    places = np.full(len(order), -1, dtype=np.int64)
    rows = np.array(order, dtype=np.int64)
    places[rows[embeddings.images]] = np.arange(len(embeddings))
    by_row = dict(zip(order, facts, strict=True))
    return Embedded(
        facts=tuple(by_row[row] for row in range(len(order))), embeddings=embeddings, places=places, seconds=seconds
    )


def listing_of(
    source: LabelledSet, names: Sequence[str], files: Sequence[Any], labels: Sequence[str] | None = None
) -> Listing:
    """Return files of a set as a scan lists them, class per folder."""
    nothing = ("",) * len(files)
    return Listing(
        root=source.root,
        layout=Layout.CLASSES,
        paths=tuple(names),
        files=tuple(files),
        labels=nothing if labels is None else tuple(labels),
        splits=nothing,
        groups=nothing,
    )


def judge_draw(drawn: DrawnSet, config: ScanConfig, variant: Variant, *, progress: Progress = no_progress) -> Judged:
    """Score and judge a draw as `curate scan` does under a variant of its settings."""
    config = config.model_copy(update=dict(variant.settings))
    config = ScanConfig.model_validate(config.model_dump())
    make = variant.scorers or make_scorers
    scorers = make(config, images=drawn.pixels, teacher=drawn.backbone)
    timed = [_Timed(scorer) for scorer in scorers]
    own = drawn.duplicates[drawn.readable]
    start = perf_counter()
    optics = optics_of(drawn.facts, drawn.embeddings) if config.optics else None
    rounds = refine_config(config)
    refined = refine(drawn.embeddings, drawn.kin, drawn.labels, own, timed, rounds, optics=optics, progress=progress)
    verdicts = judge(refined, drawn.labels, own)
    total = perf_counter() - start
    outcome = Outcome(
        listing=drawn.listing,
        facts=drawn.facts,
        duplicates=drawn.duplicates,
        embeddings=drawn.embeddings,
        refined=refined,
        verdicts=verdicts,
    )
    seconds = {f"{scorer.name}_s": round(scorer.seconds, 3) for scorer in timed}
    return Judged(
        images=audit_tables(outcome, {})["images"],
        maps={HYBRID: refined.hybrid.maps, **{f"score_{view.scorer}": view.maps for view in refined.views}},
        contamination=refined.contamination()["estimate"],
        seconds=seconds | {"judge_s": round(total - sum(seconds.values()), 3)},
    )


@dataclass
class _Timed:
    """A scorer whose seconds are counted."""

    scorer: Scorer
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.scorer.name

    def score(
        self, embeddings: Embeddings, kin: IntArray, *, guide: Guide = NO_GUIDE, progress: Progress = no_progress
    ) -> Scores:
        start = perf_counter()
        try:
            return self.scorer.score(embeddings, kin, guide=guide, progress=progress)
        finally:
            self.seconds += perf_counter() - start
