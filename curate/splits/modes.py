"""How a plan is carried out; a separate module, so that `--help` imports little."""

from enum import StrEnum


class Mode(StrEnum):
    """How a plan is carried out."""

    MANIFEST = "manifest"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    COPY = "copy"
    MOVE = "move"
