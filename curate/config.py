"""The settings of a scan, in one place. A key that is not here is an error, never ignored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import BaseModel, ConfigDict, Field

from curate.records import Layout

DEFAULT_BACKBONE = "curate_s"

ScorerName = Literal["flow", "student", "neighbours"]


def default_cache() -> Path:
    """Return the embedding cache: $CURATE_CACHE, else the user's cache folder."""
    chosen = os.environ.get("CURATE_CACHE")
    return Path(chosen) if chosen else user_cache_path("curate", appauthor=False)


def default_models() -> Path:
    """Return the folder of imported models: $CURATE_MODELS, else the user's data folder."""
    chosen = os.environ.get("CURATE_MODELS")
    return Path(chosen) if chosen else user_data_path("curate", appauthor=False) / "models"


class ScanConfig(BaseModel):
    """What the user may choose about a scan.

    Attributes:
        layout: how the dataset lies on disk; None to recognise it.
        split: the split to judge; None for the layout's default (MVTec AD: train; others: all).
        backbone: a packaged name, a timm model, or the name of an imported model.
        weights: a safetensors or plain state-dict file for `backbone`; None for its own weights.
        image_size: longest side in pixels that the network sees; None to choose from the native size.
        device: where the network runs; "auto" takes CUDA where there is one.
        runtime: what runs the network on a CPU; "openvino" is an extra.
        precision: "bf16" is faster on CPUs with instructions for it, and rounds.
        batch_size: images a forward pass; None to find it.
        neighbours: k, how many other images must agree that a patch is nominal.
        max_pixels: larger images are not decoded, but reported.
        white_level: the value of white in files of more than 8 bits; None to take it from the set.
        scorers: the views that are joined.
        flow: "gaussian": a Gaussian a place in closed form; "rad": with meta-learned coupling blocks, as RAD has them.
        student: "surroundings": learns a descriptor from those around it; "stpm": as published, from the images.
        rounds: how often at most the set is fenced, and learnt from anew without the rejected images.
        fence: how the fence is found; see `verdicts.fence.Method`.
        fdr: flag by q-value instead, with this share of false alarms among the flagged; None for the fence.
        max_share: the share of a class, or of a kind of images within it, that is rejected at most.
        min_keep: a class, or a kind within it, that would keep fewer images is left alone.
        kinds: whether kinds of images within a class, such as two products in one folder, are judged apart.
        optics: whether an image in another light, or out of focus, is flagged for that alone.
        seed: of the projection and of every sample that is drawn. 0 is a seed.
        offline: refuse every use of the network.
        cache: folder of the embedding cache.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Layout | None = None
    split: str | None = None
    backbone: str = DEFAULT_BACKBONE
    weights: Path | None = None
    image_size: int | None = Field(default=None, ge=64, le=4096)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    runtime: Literal["torch", "openvino"] = "torch"
    precision: Literal["fp32", "bf16"] = "fp32"
    batch_size: int | None = Field(default=None, ge=1, le=4096)
    neighbours: int = Field(default=5, ge=1, le=100)
    max_pixels: int = Field(default=512_000_000, ge=1)
    white_level: float | None = Field(default=None, gt=0)
    scorers: tuple[ScorerName, ...] = Field(default=("flow", "student", "neighbours"), min_length=1)
    flow: Literal["gaussian", "rad"] = "gaussian"
    student: Literal["surroundings", "stpm"] = "surroundings"
    rounds: int = Field(default=5, ge=1, le=100)
    fence: Literal["mixture", "iqr"] = "mixture"
    fdr: float | None = Field(default=None, gt=0, lt=1)
    max_share: float = Field(default=0.5, ge=0, le=1)
    min_keep: int = Field(default=8, ge=0)
    kinds: bool = True
    optics: bool = True
    seed: int = Field(default=0, ge=0)
    offline: bool = False
    cache: Path = Field(default_factory=default_cache)
