"""The detectors: trained on a training set as it is, cleaned, or truly clean; tested on other images.

One module and one line here make a detector. `patchcore` and `stfpm` are anomalib's and work on the files; the others
work on the embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType

import numpy as np

from curate.bench.detectors import anomalib_models, memory_bank, soft_patch
from curate.bench.detectors.base import Detect, DetectorTask
from curate.bench.detectors.views import view_detector
from curate.bench.masks import measure_maps
from curate.bench.measures import Figures, ranking
from curate.bench.variants import FROM_IMAGES, VIEWS
from curate.errors import UsageError

FEWEST_TRAINING = 2


@dataclass(frozen=True, kw_only=True)
class DetectorEntry:
    """A detector of the registry.

    Attributes:
        about: what it is, one phrase.
        detect: trains on a task's training images and scores its test images.
        library: the module that it needs beyond curate's own; "" for none. The extra `bench` installs it.
    """

    about: str
    detect: Detect
    library: str = ""


DETECTORS: Mapping[str, DetectorEntry] = MappingProxyType(
    {
        "neighbours": DetectorEntry(about="a memory bank, without the position", detect=memory_bank.detect),
        **{
            name: DetectorEntry(about=f"{name.replace('-', ': ', 1).replace('-', ' ')}", detect=view_detector(make))
            for name, make in VIEWS.items()
            if name not in FROM_IMAGES
        },
        "softpatch": DetectorEntry(about="SoftPatch", detect=soft_patch.detect),
        "patchcore": DetectorEntry(
            about="anomalib's PatchCore", detect=anomalib_models.detector("patchcore"), library="anomalib"
        ),
        "stfpm": DetectorEntry(about="anomalib's STFPM", detect=anomalib_models.detector("stfpm"), library="anomalib"),
    }
)
"""For --detectors."""


def check_installed(names: Sequence[str]) -> None:
    """Refuse a detector whose library is missing.

    Raises:
        UsageError: with what to install.
    """
    for name in names:
        library = DETECTORS[name].library
        if library and find_spec(library) is None:
            raise UsageError(
                f"--detectors {name}: {library} is not installed: pip install 'curate-vision[bench]', "
                f"or leave {name} out"
            )


def run_detector(name: str, task: DetectorTask) -> Figures:
    """Train a detector and measure it on the test images: image AUROC and AP, pixel AUROC and PRO where masks exist.

    Raises:
        ValueError: fewer than two images to train on.
    """
    if len(task.training) < FEWEST_TRAINING:
        raise ValueError(f"{len(task.training)} images are too few to train on")
    output = DETECTORS[name].detect(task)
    wrong = np.array([not task.source.nominal[row] for row in task.test], dtype=np.bool_)
    ranks = ranking(wrong, output.scores)
    figures = {"image_auroc": ranks["auroc"], "image_ap": ranks["ap"], "trained_on": float(len(task.training))}
    return figures | measure_maps(output.maps, task.source, task.test)
