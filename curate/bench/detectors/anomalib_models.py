"""anomalib's PatchCore and STFPM, trained on one list of files and tested on another. Needs the extra `bench`.

The only file that imports anomalib. Its own defaults hold, except for the network where `--weights` gives one. The
files are linked into a folder of its `Folder` layout, in order, under names without meaning.
"""

from __future__ import annotations

import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.bench.detectors.base import Detect, DetectorOutput, DetectorTask
from curate.records import FloatArray

MODELS = MappingProxyType({"patchcore": "Patchcore", "stfpm": "Stfpm"})
EPOCHS = MappingProxyType({"patchcore": 1, "stfpm": 100})
"""Those of STFPM are from its paper (Wang et al. 2021)."""

FOLDER_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {"train_batch_size": 32, "num_workers": 0, "test_split_mode": "none", "val_split_mode": "none"}
)
ENGINE_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "devices": 1,
        "limit_val_batches": 0,  # scores are ranked: no image is set aside to choose a threshold
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
)
ACCELERATORS = MappingProxyType({"auto": "auto", "cpu": "cpu", "cuda": "gpu"})


@dataclass(frozen=True, kw_only=True)
class AnomalibTraining:
    """How a model is trained.

    Attributes:
        name: of `MODELS`.
        seed: of all random choices of the model.
        device: "auto", "cpu" or "cuda".
        backbone, weights: a timm model and its safetensors file; None for anomalib's own, which it downloads.
    """

    name: str
    seed: int
    device: str = "auto"
    backbone: str | None = None
    weights: Path | None = None


def detector(name: str) -> Detect:
    """Return a model of `MODELS` as a detector."""

    def detect(task: DetectorTask) -> DetectorOutput:
        train, test = ([task.source.files[row] for row in rows] for rows in (task.training, task.test))
        training = AnomalibTraining(
            name=name, seed=task.seed, device=task.device, backbone=task.backbone, weights=task.weights
        )
        scores, maps = train_and_score(training, train, test)
        return DetectorOutput(scores=scores, maps=maps)

    return detect


def train_and_score(
    training: AnomalibTraining, train: Sequence[Path], test: Sequence[Path]
) -> tuple[NDArray[np.float64], list[FloatArray]]:
    """Train a model on some image files and score others.

    Returns:
        (T,) scores, higher is more anomalous, and T anomaly maps.

    Raises:
        ImportError: anomalib is not installed.
        ValueError: it gave no score for an image.
    """
    import anomalib.models
    from anomalib.data import Folder, PredictDataset
    from anomalib.engine import Engine
    from lightning.pytorch import seed_everything

    with tempfile.TemporaryDirectory() as scratch, _quiet():
        root = Path(scratch)
        seed_everything(training.seed, verbose=False)
        _link(train, root / "train")
        _link(test, root / "test")
        data = Folder(name="bench", root=root, normal_dir="train", **FOLDER_OPTIONS)
        engine = Engine(
            default_root_dir=root / "run",
            max_epochs=EPOCHS[training.name],
            accelerator=ACCELERATORS[training.device],
            **ENGINE_OPTIONS,
        )
        model = getattr(anomalib.models, MODELS[training.name])(
            post_processor=False, evaluator=False, visualizer=False, **_network(training, root)
        )
        engine.fit(model=model, datamodule=data)
        batches = engine.predict(model=model, dataset=PredictDataset(path=root / "test"))
    return _in_order(batches or [], len(test))


def _network(training: AnomalibTraining, root: Path) -> dict[str, Any]:
    """Return the argument that names the network: a local folder in timm's layout where weights are given."""
    import timm

    if training.backbone is None or training.weights is None:
        return {}
    folder = root / "network" / training.backbone
    folder.mkdir(parents=True)
    pretrained = timm.get_pretrained_cfg(training.backbone)
    head = {name: getattr(pretrained, name) for name in ("num_classes", "classifier", "first_conv")}
    config = {"architecture": training.backbone, "pretrained_cfg": head}  # with the head named, the file may lack it
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "model.safetensors").symlink_to(training.weights.resolve())
    return {"backbone": f"local-dir:{folder}"}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence lightning's output and warnings, and restore the working folder."""
    working_folder = Path.cwd()
    for name in ("lightning.pytorch", "lightning.fabric", "anomalib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    discarded = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(discarded), redirect_stderr(discarded):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            os.chdir(working_folder)


def _link(files: Sequence[Path], folder: Path) -> None:
    folder.mkdir()
    for index, file in enumerate(files):
        (folder / f"{index:06d}{file.suffix.lower()}").symlink_to(file.resolve())


def _in_order(batches: Sequence[Any], count: int) -> tuple[NDArray[np.float64], list[FloatArray]]:
    """Bring anomalib's batches of predictions into the order of the files."""
    scores, maps = np.full(count, np.nan), [np.zeros((1, 1), dtype=np.float32)] * count
    for batch in batches:
        for path, score, anomaly_map in zip(batch.image_path, batch.pred_score, batch.anomaly_map, strict=True):
            index = int(Path(path).stem)
            scores[index] = float(score)
            maps[index] = np.asarray(anomaly_map.squeeze().cpu().numpy(), dtype=np.float32)
    if np.isnan(scores).any():
        raise ValueError(f"anomalib gave no score for {int(np.isnan(scores).sum())} of {count} images")
    return scores, maps
