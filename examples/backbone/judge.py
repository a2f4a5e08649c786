"""Judge backbones on labelled sets: how well do their patch descriptors rank the really defective images?

    python judge.py --data DATA --weights WEIGHTS --seeds 0,1,2 NAME=WHAT [NAME=WHAT ...]

WHAT is `resnet18`, `mobilenetv2_100`, `packaged`, `random`, or a .safetensors file of a packaged net. The labelled sets
judge, they never train. Contaminated sets are those of `make_noisy.py` (imported from --bench).
The scorer is the recipe of a few lines: longest side 256 px, `curate`'s own patch descriptors (three stages averaged
3 x 3 on a 16 px grid, each at unit length, projected to 128); a patch's distance to the nearest patch of each other
image, averaged over the 5 nearest images; an image's score is its maximum.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from curate.embeddings.frame import frame_size
from curate.embeddings.packaged import CompactPyramid, load_packaged
from curate.embeddings.pyramid import describe, on_grid, projection

SETS = ("mvtec_bottle", "mvtec_metal_nut", "magnetic_tile", "elpv_mono")
SHARES = (0.1, 0.4)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STRIDES = (4, 8, 16)
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Stages(nn.Module):
    """The last `stages` stages of a backbone, from images (B, 3, H, W) in 0-1."""

    def __init__(self, net: nn.Module, constants: tuple[tuple[float, ...], ...] = IMAGENET, *, stages: int = 3) -> None:
        super().__init__()
        self.stages = stages
        self.net = net.eval().to(memory_format=torch.channels_last)
        self.mean, self.std = (torch.tensor(c).view(1, 3, 1, 1) for c in constants)

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = self.net(((images - self.mean) / self.std).to(memory_format=torch.channels_last))
        return list(levels)[-self.stages :]


class Trunk(nn.Module):
    """A packaged net without its heads."""

    def __init__(self, net: CompactPyramid) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.net.trunk(images)


def backbone(what: str, weights: Path) -> Stages:
    """Make a backbone ready from its name or file; `trunk:FILE` leaves the heads away."""
    if what == "resnet18":
        net = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3))
        net.load_state_dict(load_file(weights / "resnet18/resnet18.safetensors"), strict=False)
        return Stages(net)
    if what == "mobilenetv2_100":
        whole = timm.create_model("mobilenetv2_100", pad_type="same")
        whole.load_state_dict(load_file(weights / "mobilenetv2_100/mobilenetv2_100.safetensors"))
        net = timm.create_model("mobilenetv2_100", pad_type="same", features_only=True, out_indices=(1, 2, 3))
        net.load_state_dict(whole.state_dict(), strict=False)
        return Stages(net, HALF)
    if what == "packaged":
        return Stages(load_packaged())
    net = CompactPyramid()
    if what == "random":
        torch.manual_seed(0)
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
    else:
        net.load_state_dict({k: v.float() for k, v in load_file(what.removeprefix("trunk:")).items()})
    return Stages(Trunk(net) if what.startswith("trunk:") else net)


@torch.inference_mode()
def descriptors(net: Stages, files: list[Path], *, long_px: int, width: int = 128) -> list[Tensor]:
    """Return each image's patch descriptors, (patches, width), made as audits make them."""
    out: list[Tensor] = [torch.empty(0)] * len(files)
    images = [Image.open(file).convert("RGB") for file in files]
    frames = [frame_size(*image.size, long_px) for image in images]
    for frame in sorted(set(frames)):
        same = [index for index, other in enumerate(frames) if other == frame]
        for start in range(0, len(same), 16):
            chosen = same[start : start + 16]
            pixels = np.stack([np.asarray(images[i].resize(frame, Image.Resampling.BILINEAR)) for i in chosen])
            levels = net(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
            strides = STRIDES[-len(levels) :]
            matrix = projection(sum(level.shape[1] for level in levels), width, 0)
            described = describe(on_grid(levels, strides), matrix)
            for index, patches in zip(chosen, described, strict=True):
                out[index] = patches.reshape(-1, width)
    return out


@torch.inference_mode()
def nearest(patches: list[Tensor]) -> list[np.ndarray]:
    """Return, for each image, the distance of each of its patches to the nearest patch of each image, (patches, N)."""
    every = torch.cat(patches)
    starts = np.cumsum([0] + [len(p) for p in patches[:-1]])
    bank = torch.cat([-2 * every, every.square().sum(-1, keepdim=True)], -1).T.contiguous()  # (D + 1, all patches)
    out = []
    for index, asked in enumerate(patches):
        squares = functional.pad(asked, (0, 1), value=1) @ bank
        best = np.minimum.reduceat(squares.numpy(), starts, axis=1) + asked.square().sum(-1, keepdim=True).numpy()
        best[:, index] = np.inf
        out.append(np.sqrt(best.clip(0)))
    return out


def scores(distances: list[np.ndarray], chosen: list[int], *, images: int = 5) -> np.ndarray:
    """Return the leave-one-out score of the chosen images among themselves."""
    among = (distances[index][:, chosen] for index in chosen)
    return np.array([np.partition(d, images, axis=1)[:, :images].mean(1).max() for d in among])


def noisy_sets(bench: Path, dataset: Path, seeds: list[int]) -> dict[tuple[float, int], list[tuple[str, int]]]:
    """Return {(share, seed): [(source file, defective)]} as make_noisy.py draws them."""
    spec = importlib.util.spec_from_file_location("make_noisy", bench / "make_noisy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = {}
    for share in SHARES:
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
                _call(module.main, [str(dataset), folder, "--share", str(share), "--seed", str(seed)])
                rows = list(csv.DictReader((Path(folder) / "truth.csv").open()))
            out[share, seed] = [(row["source"], int(row["defective"])) for row in rows]
    return out


def _call(main: Callable[[], None], arguments: list[str]) -> None:
    import sys

    before, sys.argv = sys.argv, ["make_noisy.py", *arguments]
    try:
        main()
    finally:
        sys.argv = before


def judge(
    net: Stages, data: Path, bench: Path, seeds: list[int], *, sets: tuple[str, ...] = SETS, long_px: int = 256
) -> dict[str, float]:
    """Return {"set share": mean AUROC over the seeds, in %}, and their mean under "mean"."""
    out: dict[str, float] = {}
    for name in sets:
        drawn = noisy_sets(bench, data / name, seeds)
        files = sorted({source for rows in drawn.values() for source, _ in rows})
        place = {source: index for index, source in enumerate(files)}
        distances = nearest(descriptors(net, [data / name / f for f in files], long_px=long_px))
        for share in SHARES:
            figures = []
            for seed in seeds:
                rows = drawn[share, seed]
                values = scores(distances, [place[source] for source, _ in rows])
                figures.append(100 * roc_auc_score([bad for _, bad in rows], values))
            out[f"{name} {share}"] = float(np.mean(figures))
    out["mean"] = float(np.mean(list(out.values())))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--long-px", type=int, default=256)
    parser.add_argument("--log", type=Path, help="append one JSON line a backbone")
    parser.add_argument("backbones", nargs="+", metavar="NAME=WHAT")
    args = parser.parse_args()
    seeds, sets = [int(s) for s in args.seeds.split(",")], tuple(args.sets.split(","))
    for entry in args.backbones:
        name, what = entry.split("=", 1)
        began = time.time()
        table = judge(backbone(what, args.weights), args.data, args.bench, seeds, sets=sets, long_px=args.long_px)
        print(
            f"{name:24s}",
            " ".join(f"{k} {v:.1f}" for k, v in table.items()),
            f"({time.time() - began:.0f} s)",
            flush=True,
        )
        if args.log:
            with args.log.open("a") as file:
                file.write(json.dumps({"name": name, "seeds": seeds, "long_px": args.long_px, **table}) + "\n")


if __name__ == "__main__":
    main()
