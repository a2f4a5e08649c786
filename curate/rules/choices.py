"""The closed sets of options of a check; a module of its own, so that `--help` imports nothing else."""

from enum import StrEnum


class FailOn(StrEnum):
    """From which severity on a broken rule fails a check."""

    ERROR = "error"
    WARNING = "warning"
    NEVER = "never"


class ReportFormat(StrEnum):
    """How the report of a check is written."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"
    GITLAB = "gitlab"
    MARKDOWN = "markdown"


class Needs(StrEnum):
    """What a pack asks for: sound files alone, which needs no backbone, or a full scan."""

    INTEGRITY = "integrity"
    FULL = "full"
