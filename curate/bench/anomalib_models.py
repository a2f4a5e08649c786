"""anomalib's PatchCore and STFPM, trained on one list of files and asked about another. The extra `bench`.

The only file that imports anomalib. Its own defaults hold, but for the network where `--weights` gives one; what the
files are called does not reach it: they are linked into a folder of its `Folder` layout, in order.
"""

from __future__ import annotations

import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.records import FloatArray

MODELS = MappingProxyType({"patchcore": "Patchcore", "stfpm": "Stfpm"})
EPOCHS = MappingProxyType({"patchcore": 1, "stfpm": 100})
"""STFPM's are those of its paper (Wang et al. 2021)."""

BATCH = 32
ACCELERATORS = MappingProxyType({"auto": "auto", "cpu": "cpu", "cuda": "gpu"})


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model is trained.

    Attributes:
        name: of `MODELS`.
        seed: of all that the model draws.
        device: "auto", "cpu" or "cuda".
        backbone, weights: a timm model and its safetensors file; None for anomalib's own, which it downloads.
    """

    name: str
    seed: int
    device: str = "auto"
    backbone: str | None = None
    weights: Path | None = None


def train_and_score(
    training: Training, train: Sequence[Path], test: Sequence[Path]
) -> tuple[NDArray[np.float64], list[FloatArray]]:
    """Train a model on some image files and score others.

    Returns:
        (T,) scores, higher is more anomalous, and a map each.

    Raises:
        ImportError: anomalib is not installed.
        ValueError: it left an image without a score.
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
        data = Folder(
            name="bench",
            root=root,
            normal_dir="train",
            train_batch_size=BATCH,
            num_workers=0,
            test_split_mode="none",
            val_split_mode="none",
        )
        engine = Engine(
            default_root_dir=root / "run",
            max_epochs=EPOCHS[training.name],
            accelerator=ACCELERATORS[training.device],
            devices=1,
            limit_val_batches=0,  # no image is set aside to choose a threshold by: scores are ranked
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        model = getattr(anomalib.models, MODELS[training.name])(
            post_processor=False, evaluator=False, visualizer=False, **_network(training, root)
        )
        engine.fit(model=model, datamodule=data)
        answers = engine.predict(model=model, dataset=PredictDataset(path=root / "test"))
    return _in_order(answers or [], len(test))


def _network(training: Training, root: Path) -> dict[str, Any]:
    """Return what names the network to anomalib: a local folder of timm's kind where weights are given."""
    import timm

    if training.backbone is None or training.weights is None:
        return {}
    folder = root / "network" / training.backbone
    folder.mkdir(parents=True)
    known = timm.get_pretrained_cfg(training.backbone)
    head = {"num_classes": known.num_classes, "classifier": known.classifier, "first_conv": known.first_conv}
    config = {"architecture": training.backbone, "pretrained_cfg": head}  # a head named lets the file lack it
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "model.safetensors").symlink_to(training.weights.resolve())
    return {"backbone": f"local-dir:{folder}"}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what lightning says and warns of away, and the working folder as it was."""
    here = Path.cwd()
    for name in ("lightning.pytorch", "lightning.fabric", "anomalib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    nowhere = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            os.chdir(here)


def _link(files: Sequence[Path], folder: Path) -> None:
    folder.mkdir()
    for index, file in enumerate(files):
        (folder / f"{index:06d}{file.suffix.lower()}").symlink_to(file.resolve())


def _in_order(answers: Sequence[Any], count: int) -> tuple[NDArray[np.float64], list[FloatArray]]:
    """Bring anomalib's batches of predictions into the order of the files."""
    scores, maps = np.full(count, np.nan), [np.zeros((1, 1), dtype=np.float32)] * count
    for batch in answers:
        for path, score, anomaly_map in zip(batch.image_path, batch.pred_score, batch.anomaly_map, strict=True):
            index = int(Path(path).stem)
            scores[index] = float(score)
            maps[index] = np.asarray(anomaly_map.squeeze().cpu().numpy(), dtype=np.float32)
    if np.isnan(scores).any():
        raise ValueError(f"anomalib gave no score for {int(np.isnan(scores).sum())} of {count} images")
    return scores, maps
