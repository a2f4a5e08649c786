"""How a run shows its progress: a callback for images, and named stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Progress = Callable[[int], None]
"""Called with the number of images just finished; the screen makes a bar of it."""


def no_progress(images: int) -> None:
    """Show nothing."""


class Stages(Protocol):
    """Where a command shows its stages; `curate.cli.screen.Screen` is one."""

    def say(self, message: str) -> None:
        """Show one line."""
        ...

    def stage(self, title: str, total: int | None) -> AbstractContextManager[Progress]:
        """Show a stage of `total` images while the block runs; None if the number is unknown."""
        ...


class Silent:
    """Shows nothing."""

    def say(self, message: str) -> None: ...

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Progress]:
        yield no_progress
