"""A listener can open its address again at once, while a program that was just started shares the socket."""

import os

import pytest

from reconciler.ports.simulator import NodeRequest
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_server import NodeListener
from reconciler.simulation.stream_server import StreamListener


def answer(_request: NodeRequest):
    return None, (200, {}, b"")


def open_no_session(_peer: str):
    raise AssertionError


@pytest.mark.parametrize(
    "listener",
    [NodeListener(answer, lambda _: (200, {}, b"")), StreamListener(open_no_session, None, None)],
    ids=["http", "stream"],
)
async def test_an_address_is_free_at_once(listener):
    (address,) = find_free_addresses(1)
    await listener.open(address)
    shared = os.dup(listener._server.sockets[0].fileno())  # as between fork and exec
    try:
        await listener.close()
        await listener.open(address)
    finally:
        os.close(shared)
    await listener.close()
