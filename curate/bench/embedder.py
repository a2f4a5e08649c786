"""From a draw to its embeddings, by the same functions as `curate scan`.

The images of a labelled set are embedded once, whatever the number of draws: a draw is a choice of rows. Only where
the sizes or levels of a draw call for another setting (`embed_settings`) is the set embedded once more, so that a cell
equals a scan of the draw's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from curate.bench.draws import Draw
from curate.bench.sets import LabelledSet
from curate.config import ScanConfig
from curate.embeddings.backbones import Backbone, load_backbone
from curate.embeddings.engines.local import Cache, EmbedSettings, embed
from curate.errors import CouldNotFinish
from curate.images.duplicates import confirmed_keys, duplicate_groups, leakage_groups
from curate.pipeline import embed_settings, embedded_images
from curate.progress import Silent, Stages
from curate.records import Embeddings, ImageFacts, IntArray, Layout, Listing
from curate.scores.base import Images
from curate.shots import find_shots, pixels_of


@dataclass(frozen=True, kw_only=True)
class EmbeddedSet:
    """A whole labelled set of N files, embedded under one setting.

    Attributes:
        facts: (N,) of every file.
        embeddings: of the files that could be read.
        embedding_rows: (N,) the row of each file in the embeddings; -1 for one that could not be read.
        seconds: wall time, and by stage.
    """

    facts: tuple[ImageFacts, ...]
    embeddings: Embeddings
    embedding_rows: IntArray
    seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class DrawnSet:
    """A draw and its embeddings: the input of every scorer, baseline and detector of a cell.

    Attributes:
        draw: N images.
        listing, facts, duplicates: of the N images, as in a scan.
        embeddings: of the M images that could be read; their `images` are rows of the draw.
        groups: (M,) leakage groups; see `Scorer.score`.
        whole: the whole set, embedded under the same setting.
        settings: how they were decoded and embedded.
        pixels, backbone: returns the pixels of a row of the draw, and the network; some students learn from them.
    """

    draw: Draw
    listing: Listing
    facts: tuple[ImageFacts, ...]
    duplicates: IntArray
    embeddings: Embeddings
    groups: IntArray
    whole: EmbeddedSet
    settings: EmbedSettings
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


@dataclass
class LabelledSetEmbedder:
    """Embeds the draws of one labelled set, and keeps what it has embedded."""

    source: LabelledSet
    config: ScanConfig
    screen: Stages = field(default_factory=Silent)
    _by_settings: dict[str, EmbeddedSet] = field(default_factory=dict)
    _backbone: Backbone | None = None

    @property
    def backbone(self) -> Backbone:
        """The frozen network, loaded when it is first needed."""
        if self._backbone is None:
            chosen = self.config
            self._backbone = load_backbone(chosen.backbone, weights=chosen.weights, offline=chosen.offline)
        return self._backbone

    def embed_draw(self, draw: Draw) -> DrawnSet:
        """Embed a draw.

        Raises:
            CouldNotFinish: none of its images can be read.
        """
        files = [self.source.files[row] for row in draw.rows]
        listing = listing_of(self.source, draw.names, files, labels=draw.labels)
        settings = embed_settings(listing, self.config)
        whole = self.embed_all(settings)
        facts = tuple(whole.facts[row] for row in draw.rows)
        readable = np.flatnonzero(whole.embedding_rows[draw.rows] >= 0)
        if not len(readable):
            raise CouldNotFinish(f"{self.source.root}: none of the {len(draw.rows)} drawn images can be read")
        part = whole.embeddings.subset(whole.embedding_rows[draw.rows[readable]])
        keys = confirmed_keys(listing.files, facts, config=settings.decode)
        duplicates = duplicate_groups(keys)
        return DrawnSet(
            draw=draw,
            listing=listing,
            facts=facts,
            duplicates=duplicates,
            embeddings=replace(part, images=readable),
            groups=leakage_groups(duplicates, listing.groups)[readable],
            whole=whole,
            settings=settings,
            pixels=pixels_of(listing, settings),
            backbone=self.backbone,
        )

    def embed_all(self, settings: EmbedSettings) -> EmbeddedSet:
        """Embed the whole set under a setting, once."""
        key = repr(settings)
        if key not in self._by_settings:
            order, listing = self._listed()
            cache = Cache(self.config.cache, self.backbone, settings)
            start = perf_counter()
            with self.screen.stage("embed", len(listing)) as progress:
                facts, embeddings, report = embed(listing, self.backbone, settings, cache=cache, progress=progress)
            seconds = {"embed_s": round(perf_counter() - start, 3), **report.seconds}
            self._by_settings[key] = _by_set_row(order, facts, embeddings, seconds=seconds)
        return self._by_settings[key]

    def leakage_groups(self) -> tuple[int, ...]:
        """Return the leakage groups of the N images of the set, as a scan of all of them finds them.

        A group is called by one of its rows. Copies and shots of the same part are found in the whole set at once,
        whatever a draw takes of it; without `same_part` in the settings, copies of equal pixels alone.
        """
        order, listing = self._listed()
        settings = embed_settings(listing, self.config)
        whole = self.embed_all(settings)
        facts = [whole.facts[row] for row in order]
        keys = confirmed_keys(listing.files, facts, config=settings.decode)
        duplicates, same_part = duplicate_groups(keys), None
        if self.config.same_part:
            with self.screen.stage("same part", 2 * len(whole.embeddings)) as progress:
                same_part = find_shots(
                    listing, facts, whole.embeddings, duplicates=duplicates, settings=settings, progress=progress
                )
        images = embedded_images(
            listing, facts, duplicates, embeddings=whole.embeddings, config=self.config, same_part=same_part
        )
        groups = list(range(len(order)))
        for image, group in zip(whole.embeddings.images.tolist(), images.groups.tolist(), strict=True):
            groups[order[image]] = order[group]
        return tuple(groups)

    def _listed(self) -> tuple[list[int], Listing]:
        """Return the rows of the set in the order of their paths, and the files in this order, as a scan lists them."""
        names = [self.source.relative(row) for row in range(len(self.source))]
        order = sorted(range(len(names)), key=names.__getitem__)
        return order, listing_of(self.source, [names[i] for i in order], [self.source.files[i] for i in order])


def _by_set_row(
    order: Sequence[int], facts: Sequence[ImageFacts], embeddings: Embeddings, *, seconds: dict[str, float]
) -> EmbeddedSet:
    """Bring what was embedded in the order of a listing into the rows of the labelled set."""
    embedding_rows = np.full(len(order), -1, dtype=np.int64)
    set_rows = np.array(order, dtype=np.int64)
    embedding_rows[set_rows[embeddings.images]] = np.arange(len(embeddings))
    by_row = dict(zip(order, facts, strict=True))
    return EmbeddedSet(
        facts=tuple(by_row[row] for row in range(len(order))),
        embeddings=embeddings,
        embedding_rows=embedding_rows,
        seconds=seconds,
    )


def listing_of(
    source: LabelledSet, names: Sequence[str], files: Sequence[Path], *, labels: Sequence[str] | None = None
) -> Listing:
    """Return files of a set as a scan lists them, one folder a class."""
    empty = ("",) * len(files)
    return Listing(
        root=source.root,
        layout=Layout.CLASSES,
        paths=tuple(names),
        files=tuple(files),
        labels=empty if labels is None else tuple(labels),
        splits=empty,
        groups=empty,
    )
