"""Which images are ordinary among another class? A good part in a defect's folder is not odd there.

A folder of defects holds many looks, so its fence lies far above a good part that strayed into it. But the good part
is ordinary among the good ones, and a defect is not. So each image is held, by the scorer `neighbours`, against the
images of a *tighter* class, one whose own images score lower than those of the image's own class; it belongs there
where it scores no higher than the median of that class's own images. A looser class says nothing about an image of a
tighter one: nearly everything is ordinary in it.

Ours. By construction half of the strayed images are found, those more ordinary than the median: measured (four sets, a
tenth of each folder of defects really good; examples/bench/good_among_defects.py) 25 of 51 are, and 15 of 461 true
defects are called good, 10 of them on magnetic_tile, where many are too faint to be seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.embeddings.threads import one_core_each
from curate.records import BoolArray, Embeddings, FloatArray, IntArray
from curate.scores.by_label import label_rows
from curate.scores.neighbours import NeighboursConfig, against
from curate.scores.similar import similar_images

FEWEST = 16
"""Kept images that a class must have to vouch for an image of another."""

VOTERS = 5
"""How many images, by pooled vectors, say with which tighter class an image is compared."""


@dataclass(frozen=True)
class Elsewhere:
    """An image that is ordinary among another class.

    Attributes:
        label: that class.
        odder: share of its own kept images, 0-1, that score higher: from 0.5 on.
    """

    label: str
    odder: float


def ordinary_elsewhere(
    embeddings: Embeddings,
    kin: IntArray,
    labels: Sequence[str],
    own: FloatArray,
    kept: BoolArray,
    config: NeighboursConfig,
) -> dict[int, Elsewhere]:
    """Find the images that are as ordinary among a tighter class as half of its own.

    Args:
        embeddings: of N images.
        kin: (N,) see `Scorer.score`.
        labels: N class names.
        own: (N,) score by `neighbours`, each image among its own class.
        kept: (N,) whether an image vouches for its class: it is not flagged in it.
        config: of `neighbours`, as `own` was made with.

    Returns:
        By image. Nothing where there is one class only, or no class has sixteen kept images.
    """
    rows = label_rows(labels)
    known = {label: own[part[kept[part]]] for label, part in rows.items()}
    middles = {label: float(np.median(values)) for label, values in known.items() if len(values) >= FEWEST}
    found: dict[int, Elsewhere] = {}
    for label, part in rows.items():
        middle = float(np.median(own[part]))
        tighter = [name for name, other in middles.items() if name != label and other < middle]
        for name, asked in _nearest_class(embeddings, kin, labels, kept, part, tighter).items():
            bank = kept & np.isin(np.arange(len(labels)), rows[name])
            with one_core_each("elsewhere") as pool:
                values = against(embeddings, kin, asked, bank, config, pool)
            for image, value in zip(asked.tolist(), values.tolist(), strict=True):
                if value <= middles[name]:
                    found[image] = Elsewhere(name, float((known[name] > value).mean()))
    return found


def _nearest_class(
    embeddings: Embeddings,
    kin: IntArray,
    labels: Sequence[str],
    kept: BoolArray,
    asked: IntArray,
    names: Sequence[str],
) -> dict[str, IntArray]:
    """Divide some images by the one class of `names` that holds most of their nearest images by pooled vectors."""
    if not names:
        return {}
    allowed = kept & np.isin(np.array(labels), names)
    near = similar_images(embeddings, kin, VOTERS, asked, allowed=allowed).near
    chosen: dict[str, list[int]] = {}
    for image, images in zip(asked.tolist(), near.tolist(), strict=True):
        votes = Counter(labels[other] for other in images if other >= 0)
        if votes:
            chosen.setdefault(votes.most_common(1)[0][0], []).append(image)
    return {name: np.array(images, dtype=np.int64) for name, images in sorted(chosen.items())}
