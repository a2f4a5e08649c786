"""The settings of a scan, in one place. A key that is not here is an error, never ignored."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_cache_path, user_data_path
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from curate.choices import Device, FlowKind, Precision, Runtime, StudentKind, ThresholdMethod
from curate.errors import UsageError
from curate.records import Layout
from curate.scorers import DEFAULT_SCORERS, SCORERS

DEFAULT_BACKBONE = "curate_s+efficientnet-lite0"

RENAMED_SETTINGS: Mapping[str, str] = {"fence": "threshold", "kinds": "subpopulations"}
"""Settings of earlier versions by their present names; they are still read, with a word of deprecation."""


MOST_EXPECTED = 0.6
"""The largest share of anomalous images that can be expected: `verdicts.mixture.SHARES` ends there."""

_SHARE = r"(\d+\.?\d*|\.\d+)\s*(%?)"
_RANGE = re.compile(rf"\s*{_SHARE}\s*[-\u2013]\s*{_SHARE}\s*")


def share_range(text: str) -> tuple[float, float]:
    """Return the two shares, 0-1, of a range such as "1%-5%", "1-5%" or "0.01-0.05".

    Raises:
        ValueError: it is no such range, or leads beyond `MOST_EXPECTED`.
    """
    match = _RANGE.fullmatch(text)
    if match is None or (match[2] and not match[4]):
        raise ValueError("write LOW-HIGH, such as 1%-5% or 0.01-0.05")
    low, high = (float(number) / (100 if match[4] else 1) for number in (match[1], match[3]))
    if low >= high:
        raise ValueError("the first share must be below the second")
    if high > MOST_EXPECTED:
        raise ValueError(f"at most {MOST_EXPECTED:.0%} can be expected, which is written 0.6 or 60%")
    return low, high


def default_cache() -> Path:
    """Return the embedding cache: $CURATE_CACHE, else the user's cache folder."""
    chosen = os.environ.get("CURATE_CACHE")
    return Path(chosen) if chosen else _of_user(user_cache_path, "cache")


def default_models() -> Path:
    """Return the folder of imported models: $CURATE_MODELS, else the user's data folder."""
    chosen = os.environ.get("CURATE_MODELS")
    return Path(chosen) if chosen else _of_user(user_data_path, "data") / "models"


def _of_user(find: Callable[..., Path], kind: str) -> Path:
    """Return a folder of the user: below the home folder, else a private one below that of temporary files.

    Raises:
        UsageError: the latter belongs to someone else.
    """
    try:
        folder = find("curate", appauthor=False)
    except RuntimeError:  # no HOME, and no entry for the user's number: a container that runs under any number
        folder = Path("~")
    if not str(folder).startswith("~"):
        return folder
    private = Path(tempfile.gettempdir()) / f"curate-{os.getuid()}"
    if os.path.lexists(private) and private.lstat().st_uid != os.getuid():
        raise UsageError(f"{private}: belongs to another user; set HOME, or CURATE_CACHE and CURATE_MODELS")
    return private / kind


class ScanConfig(BaseModel):
    """What the user may choose about a scan.

    Attributes:
        layout: how the dataset lies on disk; None to recognise it.
        root: of a manifest: the folder of the images, which its paths begin at, and those of a trusted manifest; None
            for the manifest's own.
        split: the split to judge; None for the layout's default (MVTec AD: train; others: all).
        group_from: a regular expression (RE2) that captures an image's group of its path; None for the column `group`.
        backbone: a packaged name, a timm model, or the name of an imported model.
        weights: a safetensors or plain state-dict file for `backbone`; None for its own weights.
        image_size: longest side in pixels that the network sees; None to choose from the native size.
        device: where the network runs.
        runtime: what runs the network on a CPU; "openvino" is an extra.
        precision: "bf16" is faster where the processor has instructions for it, and rounds.
        batch_size: images a forward pass; None to find it.
        neighbours: k, how many other images must show a patch too; None for 10 where the images are aligned, else 5.
        max_pixels: larger images are not decoded, but reported.
        white_level: the value of white in files of more than 8 bits; None to take it from the set.
        bands: the bands that make the picture of a TIFF of many bands, from 1: one as grey or three as red, green and
            blue; empty for its first.
        scorers: the views that are joined, names of `curate.scorers.SCORERS`.
        flow: what the scorer `flow` is.
        student: what the scorer `student` learns.
        rounds: how many refinement rounds at most: threshold, reject, learn again without the rejected images.
        threshold: how the threshold is found; see `curate.verdicts.threshold`.
        fdr: flag by q-value instead, with this share of false alarms among the flagged; None for the threshold, or for
            0.1 where there are trusted images.
        trusted: images known to be nominal: a split of the dataset, a folder or a manifest; None for the column
            `trusted` of the dataset's own manifest.
        expected: the share of anomalous images that is expected, "LOW-HIGH", in shares or percent; None for no opinion.
        max_share: the share of a nominal set, 0-1, that is rejected at most.
        min_keep: a nominal set that would keep fewer images is left alone.
        subpopulations: whether subpopulations of a class, such as two products in one folder, are judged apart.
        same_part: whether images of the same physical part are found, so that they do not speak for each other.
        optics: whether an image in different lighting or focus is flagged for that alone.
        planted: whether defects are planted into copies of some images, to measure what would be found.
        seed: of the projection and of every sample that is drawn. 0 is a seed.
        offline: refuse every use of the network.
        cache: folder of the embedding cache.

    Examples:
        >>> curate.ScanConfig().rounds
        5
        >>> curate.ScanConfig(rounds=0)
        Traceback (most recent call last):
        pydantic_core._pydantic_core.ValidationError: 1 validation error for ScanConfig
        ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Layout | None = None
    root: Path | None = None
    split: str | None = None
    group_from: str | None = Field(default=None, min_length=1, max_length=1000)
    backbone: str = DEFAULT_BACKBONE
    weights: Path | None = None
    image_size: int | None = Field(default=None, ge=64, le=4096)
    device: Device = Device.AUTO
    runtime: Runtime = Runtime.TORCH
    precision: Precision = Precision.FP32
    batch_size: int | None = Field(default=None, ge=1, le=4096)
    neighbours: int | None = Field(default=None, ge=1, le=100)
    max_pixels: int = Field(default=512_000_000, ge=1)
    white_level: float | None = Field(default=None, gt=0)
    bands: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(default=(), max_length=3)
    scorers: tuple[str, ...] = Field(default=DEFAULT_SCORERS, min_length=1)
    flow: FlowKind = FlowKind.GAUSSIAN
    student: StudentKind = StudentKind.SURROUNDINGS
    rounds: int = Field(default=5, ge=1, le=100)
    threshold: ThresholdMethod = ThresholdMethod.MIXTURE
    fdr: float | None = Field(default=None, gt=0, lt=1)
    trusted: str | None = Field(default=None, min_length=1)
    expected: str | None = None
    max_share: float = Field(default=0.5, ge=0, le=1)
    min_keep: int = Field(default=8, ge=0)
    subpopulations: bool = True
    same_part: bool = True
    optics: bool = True
    planted: bool = True
    seed: int = Field(default=0, ge=0)
    offline: bool = False
    cache: Path = Field(default_factory=default_cache)

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        settings = dict(settings)
        for old in RENAMED_SETTINGS.keys() & settings.keys():
            warnings.warn(f"{old}: is now called {RENAMED_SETTINGS[old]}", DeprecationWarning, stacklevel=2)
            value = settings.pop(old)
            settings.setdefault(RENAMED_SETTINGS[old], value)
        return settings

    @field_validator("bands")
    @classmethod
    def _one_or_three(cls, bands: tuple[int, ...]) -> tuple[int, ...]:
        if len(bands) == 2:
            raise ValueError("give one band, or three for red, green and blue")
        return bands

    @property
    def expected_shares(self) -> tuple[float, float] | None:
        """The expected contamination, 0-1, from and to; None for no opinion."""
        return None if self.expected is None else share_range(self.expected)

    @field_validator("expected")
    @classmethod
    def _a_range(cls, expected: str | None) -> str | None:
        if expected is not None:
            share_range(expected)
        return expected

    @field_validator("scorers")
    @classmethod
    def _known_scorers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SCORERS:
                raise ValueError(f"there is no scorer {name!r}; there are {', '.join(SCORERS)}")
        return names
