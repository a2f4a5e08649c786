"""The baselines: other methods on the same embeddings, from their own libraries and with their own defaults.

One module and one line here make a baseline. Those on pooled vectors see one vector an image, as cleanlab, FiftyOne or
SelfClean do; the others see the patches. Verdicts follow each method's own rule, or Q3 + 1.5 IQR, the papers' rule,
where a method has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from curate.bench.baselines import datalab, patch_neighbours, pooled_neighbours, pyod_detectors, soft_patch
from curate.bench.baselines.base import BaselineInput, BaselineOutput, Run
from curate.bench.embedder import DrawnSet
from curate.bench.patch_distances import PatchDistances
from curate.errors import CouldNotFinish


@dataclass(frozen=True, kw_only=True)
class BaselineEntry:
    """A baseline of the registry.

    Attributes:
        about: what it is, one phrase.
        run: scores the images of one label.
        extra: the extra of curate that installs its library; "" if it needs none.
    """

    about: str
    run: Run
    extra: str = ""


BASELINES: Mapping[str, BaselineEntry] = MappingProxyType(
    {
        "datalab": BaselineEntry(about="cleanlab's outlier check, pooled vectors", run=datalab.run, extra="bench"),
        "pooled-knn": BaselineEntry(about="ten nearest images, pooled vectors", run=pooled_neighbours.run),
        "ecod": BaselineEntry(
            about="pyod's ECOD, pooled vectors", run=pyod_detectors.runs("ecod", "ECOD"), extra="bench"
        ),
        "iforest": BaselineEntry(
            about="pyod's isolation forest, pooled vectors",
            run=pyod_detectors.runs("iforest", "IForest", seeded=True),
            extra="bench",
        ),
        "knn": BaselineEntry(about="pyod's kNN, pooled vectors", run=pyod_detectors.runs("knn", "KNN"), extra="bench"),
        "lof": BaselineEntry(about="pyod's LOF, pooled vectors", run=pyod_detectors.runs("lof", "LOF"), extra="bench"),
        "patch-nn": BaselineEntry(about="five nearest images, patches", run=patch_neighbours.run),
        "softpatch": BaselineEntry(about="SoftPatch, patches", run=soft_patch.run),
        "softpatch-lof": BaselineEntry(
            about="SoftPatch's local outlier factors, patches", run=soft_patch.run_outlier_factors
        ),
    }
)
"""For --baselines."""


def run_baseline(name: str, drawn: DrawnSet, distances: PatchDistances) -> BaselineOutput:
    """Run a baseline on a draw, label by label.

    Raises:
        CouldNotFinish: its library is not installed.
    """
    labels, seed, entry = np.array(drawn.labels), drawn.draw.seed, BASELINES[name]
    scores, flagged = np.zeros(len(labels)), np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        try:
            output = entry.run(BaselineInput(drawn=drawn, rows=rows, distances=distances, seed=seed))
        except ImportError as error:
            install = f"pip install 'curate-vision[{entry.extra or 'bench'}]'"
            raise CouldNotFinish(f"{error.name or error} is not installed: {install}") from error
        scores[rows], flagged[rows] = output.scores, output.flagged
    return BaselineOutput(scores=scores, flagged=flagged)
