"""What users would take otherwise, from its own libraries and with its own defaults, on the same descriptors.

`pooled` methods see one vector an image, as cleanlab, FiftyOne or SelfClean do; `patch` methods see the patches.
Verdicts are each method's own: Datalab's rule, pyod's labels (which take 10 % to be outliers), and Q3 + 1.5 IQR,
the papers' rule, where a method has none.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.bench import softpatch
from curate.bench.gaps import Gaps
from curate.bench.road import DrawnSet
from curate.errors import CouldNotFinish
from curate.records import BoolArray, FloatArray, IntArray
from curate.scores.by_label import label_rows
from curate.verdicts.fence import Method, fence

NEIGHBOURS = 10
"""k of the pooled methods, as Datalab takes it."""

DATALAB_REACH = 1.7
PATCH_NEIGHBOURS = 5

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a baseline says of M images: scores (higher is more anomalous), and which it would flag."""

    scores: Values
    flagged: BoolArray


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a baseline may look at: the images of one label, and the distances between images of the whole set.

    Attributes:
        drawn: the draw.
        rows: (M,) the images of this label among those of the draw that could be read.
        gaps: see there; in places of the whole set.
        seed: of what is random.
    """

    drawn: DrawnSet
    rows: IntArray
    gaps: Gaps
    seed: int

    @property
    def pooled(self) -> FloatArray:
        return np.asarray(self.drawn.embeddings.pooled[self.rows])

    @property
    def places(self) -> IntArray:
        """(M,) where these images stand in the embeddings of the whole set."""
        draw = self.drawn.draw
        return np.asarray(self.drawn.whole.places[draw.rows[self.drawn.readable[self.rows]]])


def datalab(seen: Seen) -> Found:
    """cleanlab's Datalab, its outlier check on features, with its own rule."""
    from cleanlab import Datalab

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lab = Datalab(data={"id": list(range(len(seen.rows)))}, verbosity=0)
        lab.find_issues(features=seen.pooled, issue_types={"outlier": {}})
        issues = lab.get_issues("outlier")
    return Found(
        scores=-np.asarray(issues["outlier_score"], dtype=np.float64),
        flagged=np.asarray(issues["is_outlier_issue"], dtype=np.bool_),
    )


def pooled_neighbours(seen: Seen) -> Found:
    """The mean cosine distance to the ten nearest images, fenced at Q3 + 1.7 IQR: Datalab's idea in the open."""
    unit = seen.pooled / np.linalg.norm(seen.pooled, axis=1, keepdims=True).clip(1e-12)
    gaps = 1 - unit.astype(np.float64) @ unit.T.astype(np.float64)
    np.fill_diagonal(gaps, np.inf)
    scores = np.sort(gaps, axis=1)[:, : min(NEIGHBOURS, len(gaps) - 1)].mean(axis=1)
    q1, q3 = np.quantile(scores, (0.25, 0.75))
    return Found(scores=scores, flagged=scores > q3 + DATALAB_REACH * (q3 - q1))


def _pyod(make: Callable[[int], Any]) -> Callable[[Seen], Found]:
    def run(seen: Seen) -> Found:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detector = make(seen.seed).fit(seen.pooled)
        return Found(
            scores=np.asarray(detector.decision_scores_, dtype=np.float64), flagged=np.asarray(detector.labels_) == 1
        )

    return run


def _ecod(seed: int) -> Any:
    from pyod.models.ecod import ECOD

    return ECOD()


def _iforest(seed: int) -> Any:
    from pyod.models.iforest import IForest

    return IForest(random_state=seed)


def _knn(seed: int) -> Any:
    from pyod.models.knn import KNN

    return KNN()


def _lof(seed: int) -> Any:
    from pyod.models.lof import LOF

    return LOF()


def patch_neighbours(seen: Seen) -> Found:
    """Patch nearest neighbour, leave one out, plain: the mean of the five nearest other images, the map's maximum."""
    places, scores = seen.places, np.zeros(len(seen.rows))
    for index, place in enumerate(places.tolist()):
        gaps = seen.gaps.of(place, np.delete(places, index))
        count = min(PATCH_NEIGHBOURS, len(gaps))
        scores[index] = np.partition(gaps, count - 1, axis=0)[:count].mean(axis=0).max() if count else 0.0
    return _fenced(scores)


def soft_patch(seen: Seen) -> Found:
    """SoftPatch trained on the set and asked about the same images, as its users would; the map's maximum."""
    part = seen.drawn.embeddings.subset(seen.rows)
    bank = softpatch.fit(part, seen.seed)
    return _fenced(np.array([bank.anomaly_map(part.patches(i)).max() for i in range(len(part))], dtype=np.float64))


def soft_patch_factors(seen: Seen) -> Found:
    """SoftPatch's noise discriminator alone: an image is as odd as its patch with the highest local outlier factor.

    Source: Xi et al. 2022 (SoftPatch), LOF among the patches of one position. Differs: the paper removes patches, not
    images; that the image score is the maximum is ours.
    """
    part = seen.drawn.embeddings.subset(seen.rows)
    factors = softpatch.local_outlier_factors(softpatch.common_grid(part))  # (positions, M)
    return _fenced(factors.max(axis=0).astype(np.float64))


def _fenced(scores: Values) -> Found:
    found = fence(scores.astype(np.float32), Method.IQR)
    return Found(scores=scores, flagged=scores > found.value if not found.note else np.zeros(len(scores), np.bool_))


BASELINES: Mapping[str, Callable[[Seen], Found]] = MappingProxyType(
    {
        "datalab": datalab,
        "pooled-knn": pooled_neighbours,
        "ecod": _pyod(_ecod),
        "iforest": _pyod(_iforest),
        "knn": _pyod(_knn),
        "lof": _pyod(_lof),
        "patch-nn": patch_neighbours,
        "softpatch": soft_patch,
        "softpatch-lof": soft_patch_factors,
    }
)
"""For --baselines."""


def run_baseline(name: str, drawn: DrawnSet, gaps: Gaps) -> Found:
    """Run a baseline on a draw, label by label.

    Raises:
        CouldNotFinish: its library is not installed.
    """
    labels = drawn.labels
    scores, flagged = np.zeros(len(labels)), np.zeros(len(labels), dtype=np.bool_)
    for rows in label_rows(labels).values():
        try:
            found = BASELINES[name](Seen(drawn=drawn, rows=rows, gaps=gaps, seed=drawn.draw.seed))
        except ImportError as error:
            raise CouldNotFinish(f"{error.name or error} is not installed: pip install 'curate[bench]'") from error
        scores[rows], flagged[rows] = found.scores, found.flagged
    return Found(scores=scores, flagged=flagged)
