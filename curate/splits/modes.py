"""How a plan is carried out; a module of its own, so that `--help` imports nothing for it."""

from enum import StrEnum


class Mode(StrEnum):
    """How a plan is carried out."""

    MANIFEST = "manifest"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    COPY = "copy"
    MOVE = "move"
