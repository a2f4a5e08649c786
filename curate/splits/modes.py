"""What a plan keeps and how it is carried out; a separate module, so that `--help` imports little."""

from enum import StrEnum


class Mode(StrEnum):
    """How a plan is carried out."""

    MANIFEST = "manifest"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    COPY = "copy"
    MOVE = "move"


class KeepShots(StrEnum):
    """Which shots of one part are kept."""

    ALL = "all"
    FIRST = "first"
    SHARPEST = "sharpest"
