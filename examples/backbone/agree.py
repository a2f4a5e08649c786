"""How far a student's maps point where its teacher's do: mean cosine by stage, on drawn and on real images.

    python agree.py --data DATA --weights WEIGHTS FILE [FILE ...]

Drawn images have seeds that no pool uses. Real ones are the labelled sets; they judge. Where the two curves part, more
training on the same drawings no longer helps: the drawings themselves are the limit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from draw import draw
from judge import SETS, STRIDES, Stages, backbone
from PIL import Image
from torch import Tensor
from torch.nn import functional

from curate.embeddings.pyramid import on_grid


def real(folder: Path, count: int) -> Tensor:
    """Return some images of a folder and below, (count, 3, 256, 256) in 0-1."""
    files = sorted(p for p in folder.rglob("*.*") if "masks" not in p.parts)
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, count).astype(int)]
    return _stack([np.asarray(Image.open(f).convert("RGB").resize((256, 256))) for f in chosen])


def drawn(count: int) -> Tensor:
    """Return held-out drawn images, (count, 3, 256, 256) in 0-1."""
    return _stack([draw(10_000_000 + seed, size=256) for seed in range(count)])


def _stack(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def agreement(student: Stages, teacher: Stages, images: Tensor) -> list[float]:
    """Return the mean cosine of each stage's descriptors on the patch grid."""
    sums = np.zeros(len(STRIDES))
    for batch in images.split(16):
        pairs = zip(on_grid(student(batch), STRIDES), on_grid(teacher(batch), STRIDES), strict=True)
        sums += [float(functional.cosine_similarity(a, b, dim=1).mean()) * len(batch) for a, b in pairs]
    return list(sums / len(images))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    teacher = backbone("resnet18", args.weights)
    sources = {"drawn": drawn(2 * args.images)} | {name: real(args.data / name, args.images) for name in SETS}
    for file in args.files:
        student = backbone(file, args.weights)
        for name, images in sources.items():
            cosines = " ".join(f"{value:.3f}" for value in agreement(student, teacher, images))
            print(f"{Path(file).stem:24s} {name:16s} {cosines}", flush=True)


if __name__ == "__main__":
    main()
