"""anomalib's PatchCore and STFPM, trained on one list of files and asked about another. The extra `bench`.

The only file that imports anomalib. Its own defaults hold; what the files are called does not reach it: they are
linked into a folder of its `Folder` layout, in order.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Sequence
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


def train_and_score(
    name: str, train: Sequence[Path], test: Sequence[Path], *, seed: int, device: str
) -> tuple[NDArray[np.float64], list[FloatArray]]:
    """Train a model on some files and score others.

    Args:
        name: of `MODELS`.
        train, test: image files.
        seed: of all that the model draws.
        device: "auto", "cpu" or "cuda".

    Returns:
        (T,) scores, higher is more anomalous, and a map each.
    """
    import anomalib.models
    from anomalib.data import Folder, PredictDataset
    from anomalib.engine import Engine
    from lightning.pytorch import seed_everything

    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        seed_everything(seed, verbose=False)
        _link(train, Path(scratch) / "train")
        _link(test, Path(scratch) / "test")
        data = Folder(
            name="bench",
            root=scratch,
            normal_dir="train",
            train_batch_size=BATCH,
            num_workers=0,
            test_split_mode="none",
            val_split_mode="none",
        )
        engine = Engine(
            default_root_dir=Path(scratch) / "run",
            max_epochs=EPOCHS[name],
            accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[device],
            devices=1,
            logger=False,
            enable_progress_bar=False,
        )
        model = getattr(anomalib.models, MODELS[name])()
        engine.fit(model=model, datamodule=data)
        answers = engine.predict(model=model, dataset=PredictDataset(path=Path(scratch) / "test"))
    return _in_order(answers or [], len(test))


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
