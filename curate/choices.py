"""The closed sets of what a user may choose, read by pydantic (settings) and typer (options). Imports no torch."""

from __future__ import annotations

from enum import StrEnum


class Device(StrEnum):
    """Where the network runs; AUTO takes CUDA where there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Runtime(StrEnum):
    """What runs the network on a CPU; OpenVINO is the extra `openvino`."""

    TORCH = "torch"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """The numbers that the network calculates in."""

    FP32 = "fp32"
    BF16 = "bf16"


class FlowKind(StrEnum):
    """What `flow` is: a Gaussian per position in closed form, or RAD's coupling flow on top of it."""

    GAUSSIAN = "gaussian"
    RAD = "rad"


class StudentKind(StrEnum):
    """What `student` learns: a descriptor from its surroundings, or (STPM as published) the pyramid from the image."""

    SURROUNDINGS = "surroundings"
    STPM = "stpm"


class ThresholdMethod(StrEnum):
    """How the threshold of a nominal set is found; see `curate.verdicts.threshold`."""

    MIXTURE = "mixture"
    IQR = "iqr"
    MEDIAN = "median"


class PValues(StrEnum):
    """What p- and q-values rest on: the scores of trusted images, or a model of the scores of all images."""

    CONFORMAL = "conformal"
    MODEL_BASED = "model-based"
