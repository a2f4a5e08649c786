"""Train the packaged backbone: dense distillation from a frozen teacher on images drawn by code, on nothing else.

    python distil.py --pool POOL --run RUN --teacher resnet18.safetensors --steps 8500
    python distil.py --run RUN --export curate_s.safetensors

Three processes of one thread each: one draws into the pool (see draw.py) for as long as the training runs; the feeder
crops, changes the light and asks the teacher; the trainer learns. Every
step's crops depend on (seed, step) and the pool. A run that was stopped goes on where its last checkpoint stands.
The learning rate is flat and falls to zero over the last quarter: a run can be prolonged by a larger --steps.

Loss at each stage: with t the teacher's map in units of each channel's spread and s the student's head, the error is
s - t where t > 0 and max(s, 0) where t = 0 (the shipped net ends in a ReLU: what lies below zero is right already).
It is divided by the length of t at its place, since patch descriptors are compared at unit length. Squared errors are
summed both as they are and averaged over 3 x 3 positions, as the patch descriptors are.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.multiprocessing as mp
from crops import batch
from draw import FAMILIES, fill, open_pool
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from curate.embeddings.packaged import PACKAGED_MEAN, PACKAGED_STD, CompactPyramid

STRIDES, CHANNELS = (4, 8, 16), (64, 128, 256)
STAGE_WEIGHTS = (0.5, 1.0, 1.0)
WARM_UP, COOL_DOWN, EMA = 300, 0.25, 0.999
FIRST_IMAGES = 200


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run is made of; stored with it."""

    steps: int
    seed: int = 0
    rate: float = 2e-3
    decay: float = 0.02
    signal: str = "teacher"  # or "pixels": no teacher, restore the clean image from a damaged one
    pool_limit: int = 0  # use only so many images of the pool; 0: all


# ------------------------------------------------------------------------------------------------ what is learnt


class Teacher:
    """The frozen teacher: normalised images (B, 3, H, W) to its three stages, bf16; of the first, every other place."""

    def __init__(self, weights: Path) -> None:
        net = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3))
        missing, unexpected = net.load_state_dict(load_file(weights), strict=False)
        if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
            raise SystemExit(f"{weights}: not the weights of resnet18 stages 1-3")
        self.net = net.eval().to(torch.bfloat16, memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        first, *others = self.net(images.to(torch.bfloat16))
        return [first[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last), *others]


class Pixels:
    """The control without a teacher: each position's own clean pixels, turned by a fixed random rotation."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        inputs = [3 * stride**2 for stride in STRIDES]
        self.turns = [
            torch.randn(o, i, 1, 1, generator=generator) / i**0.5 for i, o in zip(inputs, CHANNELS, strict=True)
        ]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        unfolded = (functional.pixel_unshuffle(images, stride) for stride in STRIDES)
        first, *others = (
            functional.conv2d(x, turn).to(torch.bfloat16) for x, turn in zip(unfolded, self.turns, strict=True)
        )
        return [first[:, :, ::2, ::2], *others]


def feed(pipe: Connection, pool: Path, teacher: Path, recipe: Recipe, first: int) -> None:
    """Send (images fp32 normalised, targets bf16) of each step from `first` on, for ever."""
    torch.set_num_threads(1)
    pixels, counter = open_pool(pool, 0)
    source = Teacher(teacher) if recipe.signal == "teacher" else Pixels()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (PACKAGED_MEAN, PACKAGED_STD))
    while counter[0] < min(FIRST_IMAGES, len(pixels)):
        time.sleep(1)
    step = first
    while True:
        rng = np.random.default_rng((recipe.seed, step))
        ready = min(int(counter[0]), len(pixels), recipe.pool_limit or len(pixels))
        images = torch.from_numpy(batch(rng, pixels, ready)).permute(0, 3, 1, 2)  # channels_last as it is
        images = (images - mean) / std
        targets = source(images)
        if recipe.signal == "pixels":
            images = images + torch.randn_like(images) * float(rng.uniform(0.1, 0.8))
            images = images * (functional.interpolate(torch.rand(len(images), 1, 10, 10), images.shape[2:]) > 0.3)
        pipe.send((images, targets))
        step += 1


def draw_beside(pool: Path, images: int, families: tuple[str, ...]) -> None:
    """Start drawing into the pool in a process of its own, which ends with this one."""
    open_pool(pool, images, mode="r+")
    options = {"first_seed": 1_000_000, "families": families, "duty": 0.15, "stop_at": 0}
    mp.Process(target=fill, args=(pool, images), kwargs=options, daemon=True).start()


def spread(pipe: Connection, batches: int = 12) -> list[Tensor]:
    """Return each teacher channel's root mean square, three of (C,), from the feeder's first batches."""
    drawn = [pipe.recv()[1] for _ in range(batches)]
    squares = [
        torch.stack([t.float().square().mean((0, 2, 3)) for t in stage]).mean(0) for stage in zip(*drawn, strict=True)
    ]
    return [square.sqrt().clamp_min(0.05 * float(square.sqrt().mean())) for square in squares]


@torch.no_grad()
def stage_loss(student: Tensor, target: Tensor, scale: Tensor, *, rectified: bool) -> tuple[Tensor, Tensor]:
    """Return the weighted squared error of one stage, a scalar, and its gradient by `student`; by hand it is faster.

    Args:
        student: (B, C, h, w) the head's output in units of `scale`, before the ReLU.
        target: (B, C, h, w) the teacher's map.
        scale: (C,) each channel's spread. Weights are half way between equal units and the teacher's own, and
            fall with the length of the teacher's vector: descriptors are compared at unit length.
    """
    student, target = student.float(), target.float()
    length = target.square().sum(1, keepdim=True).sqrt()  # (B, 1, h, w)
    length = length.clamp_min(0.2 * float(length.mean())) / length.mean()
    weight = (scale / scale.mean()).sqrt()[:, None, None] / length  # (B, C, h, w)
    error = student.sub(target / scale[:, None, None]).mul_(weight)
    right = (target <= 0).logical_and_(student < 0) if rectified else None
    if right is not None:
        error.masked_fill_(right, 0)
    smooth = functional.avg_pool2d(error, 3, 1, padding=1)
    value = error.square().mean() + 2 * smooth.square().mean()
    spread_back = functional.avg_pool2d(smooth.mul_(4 / smooth.numel()), 3, 1, padding=1)  # is its own transpose
    gradient = error.mul(2 / error.numel()).add_(spread_back).mul_(weight)
    if right is not None:
        gradient.masked_fill_(right, 0)
    return value, gradient


# ------------------------------------------------------------------------------------------------ learning


class Student(nn.Module):
    """The network to ship, with BatchNorm; its heads end before their ReLU."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net = CompactPyramid(normalised=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        # every other place of stage 1, as `Teacher` gives it: the largest map says least
        levels = [x[:, :, ::2, ::2] if i == 0 else x for i, x in enumerate(self.net.trunk(images))]
        return [head(x) for head, x in zip(self.net.heads, levels, strict=True)]


def rate_at(step: int, recipe: Recipe) -> float:
    """Return the learning rate of a step: warm up, stay, fall to zero."""
    fall = (recipe.steps - step) / (recipe.steps * COOL_DOWN)
    return recipe.rate * min(1.0, (step + 1) / WARM_UP, max(fall, 0.01))


def optimiser(student: Student, rate: float, decay: float) -> torch.optim.Optimizer:
    """Return AdamW; weights of convolutions decay, biases and norms do not."""
    weights = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, foreach=True)


class Run:
    """A training run in a folder: the student, its averaged weights, and how far it is."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.recipe, self.step, self.seen = folder, recipe, 0, 0
        self.student = Student(recipe.seed).to(memory_format=torch.channels_last).train()
        self.learner = optimiser(self.student, recipe.rate, recipe.decay)
        self.average = {name: value.clone() for name, value in self.student.state_dict().items()}
        self.scales: list[Tensor] = []
        if (folder / "last.pt").exists():
            self._resume(torch.load(folder / "last.pt", weights_only=True))
        (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))

    def _resume(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.learner.load_state_dict(state["learner"])
        self.step, self.seen = state["step"], state["seen"]
        self.average, self.scales = state["average"], state["scales"]

    def learn(self, images: Tensor, targets: list[Tensor]) -> list[float]:
        """Take one step; return the loss of each stage."""
        for group in self.learner.param_groups:
            group["lr"] = rate_at(self.step, self.recipe)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = self.student(images)
        stages, rectified = zip(outputs, targets, self.scales, strict=True), self.recipe.signal == "teacher"
        losses, slopes = zip(*(stage_loss(*stage, rectified=rectified) for stage in stages), strict=True)
        slopes = [(w * slope).to(x.dtype) for w, slope, x in zip(STAGE_WEIGHTS, slopes, outputs, strict=True)]
        self.learner.zero_grad()
        torch.autograd.backward(outputs, slopes)
        self.learner.step()
        self._follow()
        self.step, self.seen = self.step + 1, self.seen + len(images)
        return [float(loss) for loss in losses]

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights (and BatchNorm's statistics) towards the student's."""
        keep = min(EMA, (self.step + 1) / (self.step + 10))
        for name, value in self.student.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - keep)

    def checkpoint(self) -> None:
        """Write everything that the run needs to go on, whole or not at all."""
        state = {"student": self.student.state_dict(), "learner": self.learner.state_dict(), "average": self.average}
        path = self.folder / "last.tmp"
        torch.save({**state, "scales": self.scales, "step": self.step, "seen": self.seen}, path)
        os.replace(path, self.folder / "last.pt")

    def snapshot(self) -> None:
        """Write the averaged weights as they would ship."""
        save_file(exported(self.average, self.scales), self.folder / f"ema_{self.step:06d}_{self.seen}.safetensors")


def train(run: Run, pool: Path, teacher: Path, *, end: int, snapshots: int, save_every_s: float = 180) -> None:
    """Train up to step `end`, from where the run stands."""
    torch.set_num_threads(1)
    ours, theirs = mp.Pipe()
    mp.Process(target=feed, args=(theirs, pool, teacher, run.recipe, run.step), daemon=True).start()
    run.scales = run.scales or spread(ours)
    began, saved, first = time.time(), time.time(), run.step
    while run.step < end:
        losses = run.learn(*ours.recv())
        last = run.step == end
        if run.step % 50 == 0:
            pace = (run.step - first) / (time.time() - began)
            shown = " ".join(f"{loss:.4f}" for loss in losses)
            left = f"{(end - run.step) / pace / 60:.0f} min left"
            print(f"step {run.step}/{end} images {run.seen} losses {shown} {pace:.2f} steps/s, {left}", flush=True)
        if last or run.step % snapshots == 0:
            run.snapshot()
        if last or time.time() - saved > save_every_s:
            run.checkpoint()
            saved = time.time()


# ------------------------------------------------------------------------------------------------ what is shipped


def exported(average: dict[str, Tensor], scales: list[Tensor]) -> dict[str, Tensor]:
    """Return the state of a `CompactPyramid` for inference, fp16: BatchNorm folded, heads in the teacher's units."""
    trained = Student(0)
    trained.load_state_dict(average)
    net, plain = trained.net, CompactPyramid()
    for (_, ours), (_, folded) in zip(_convolutions(net), _convolutions(plain), strict=True):
        convolution, norm = ours[0], ours[1]
        parts = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        folded[0].weight, folded[0].bias = fuse_conv_bn_weights(convolution.weight, None, *parts)
    for ours, folded, scale in zip(net.heads, plain.heads, scales, strict=True):
        folded.weight.data = ours.weight.data * scale[:, None, None, None]
        folded.bias.data = ours.bias.data * scale
    return {name: value.detach().half().contiguous() for name, value in plain.state_dict().items()}


def _convolutions(net: CompactPyramid) -> list[tuple[str, nn.Sequential]]:
    return [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Sequential) and isinstance(m[0], nn.Conv2d)]


def export(run: Path, target: Path) -> None:
    """Write the run's averaged weights as fp16 safetensors with their origin in the metadata."""
    state = torch.load(run / "last.pt", weights_only=True)
    metadata = {
        "name": "curate_s",
        "licence": "Apache-2.0",
        "recipe": (run / "recipe.json").read_text(),
        "step": str(state["step"]),
        "images": str(state["seen"]),
        "teacher": "torchvision ResNet18 IMAGENET1K_V1 (BSD-3-Clause), stages 1-3",
        "data": "images drawn by code (examples/backbone/draw.py), no photographs",
    }
    save_file(exported(state["average"], state["scales"]), target, metadata=metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--signal", choices=("teacher", "pixels"), default="teacher")
    parser.add_argument("--pool-limit", type=int, default=0, help="use only so many images of the pool")
    parser.add_argument("--snapshots", type=int, default=500, help="steps between snapshots of the averaged weights")
    parser.add_argument("--stop-at", type=int, default=0, help="stop after this step, before the cool-down of --steps")
    parser.add_argument("--pool-size", type=int, default=3000, help="images that the pool holds at a time")
    parser.add_argument("--families", default=",".join(FAMILIES), help="families of textures to draw with, by comma")
    parser.add_argument("--drawn", action="store_true", help="the pool is drawn already, or by another process")
    parser.add_argument("--export", type=Path)
    args = parser.parse_args()
    if args.export:
        export(args.run, args.export)
        return
    recipe = Recipe(steps=args.steps, seed=args.seed, rate=args.rate, signal=args.signal, pool_limit=args.pool_limit)
    if not args.drawn:
        draw_beside(args.pool, args.pool_size, tuple(args.families.split(",")))
    run, end = Run(args.run, recipe), min(args.steps, args.stop_at or args.steps)
    train(run, args.pool, args.teacher, end=end, snapshots=args.snapshots)


if __name__ == "__main__":
    main()
