"""The formats of `curate export`; a module of its own, so that `--help` imports nothing else."""

from enum import StrEnum


class ExportFormat(StrEnum):
    """What an export is read by."""

    ANOMALIB = "anomalib"
    FIFTYONE = "fiftyone"
    HUGGINGFACE = "huggingface"
    COCO = "coco"
    CSV = "csv"
    MLFLOW = "mlflow"
