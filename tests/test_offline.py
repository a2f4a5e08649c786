from __future__ import annotations

import socket

import pytest

from curate.errors import CouldNotFinish
from curate.offline import network

pytestmark = pytest.mark.enable_socket  # ours refuses, not the test session's


def reach_out() -> None:
    with socket.socket() as one:
        one.settimeout(1)
        one.connect(("127.0.0.1", 9))


def test_every_socket_is_refused_and_the_address_named():
    with network(refused=True), pytest.raises(CouldNotFinish, match=r"--offline is set, .*127\.0\.0\.1"):
        reach_out()


def test_a_name_is_not_even_looked_up():
    with network(refused=True), pytest.raises(CouldNotFinish, match="getaddrinfo"):
        socket.create_connection(("hub.invalid", 443), timeout=1)


def test_sockets_work_again_afterwards_also_after_an_error():
    with pytest.raises(CouldNotFinish), network(refused=True):
        reach_out()
    with pytest.raises(ConnectionRefusedError):
        reach_out()


def test_nothing_is_refused_unless_asked_and_an_inner_block_does_not_loosen_an_outer_one():
    with network(refused=False), pytest.raises(ConnectionRefusedError):
        reach_out()
    with network(refused=True), network(refused=False), pytest.raises(CouldNotFinish):
        reach_out()
