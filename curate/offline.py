"""`--offline`: refuse every use of the network, by any library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from curate.errors import CouldNotFinish

REFUSED = frozenset(
    ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind")
)

_refusing = [False]


@contextmanager
def network(*, refused: bool) -> Iterator[None]:
    """Refuse every socket of this process while the block runs, if `refused`.

    Python reports each use of a socket to audit hooks (PEP 578), also by other libraries. A hook cannot be removed, so
    a flag switches it.

    Raises:
        CouldNotFinish: in the block, where something tries to use the network.
    """
    if refused:
        _install_hook()
    before, _refusing[0] = _refusing[0], refused or _refusing[0]
    try:
        yield
    finally:
        _refusing[0] = before


@cache
def _install_hook() -> None:
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _refusing[0] and event in REFUSED:
        raise CouldNotFinish(f"--offline is set, but something tried to use the network ({event} {arguments[1:]})")
