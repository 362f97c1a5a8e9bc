"""Nodes that speak no HTTP: sessions over TCP, with the faults that nodes have."""

import asyncio

import pytest

from reconciler.ports.simulator import RequestWay
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.faults import Fault, FaultKind
from reconciler.simulation.stream_server import StreamListener


class Echo:
    """Answers each line in capitals; `bye` ends the conversation."""

    def __init__(self):
        self.rest, self.is_over = b"", False

    def receive(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.is_over = b"bye" in lines
        return b"".join(line.upper() + b"\n" for line in lines)


@pytest.fixture
async def site():
    faults, seen = [], []

    def ask(session, request):
        assert request.way is RequestWay.STREAM
        seen.append(request.body)
        fault = faults.pop(0) if faults else None
        is_closed = fault is not None and fault.kind in {FaultKind.CUT, FaultKind.WORKS, FaultKind.SILENT}
        return fault, (0, {}, b"") if is_closed else (200, {}, session.receive(request.body))

    def perform(session, request):
        return 200, {}, session.receive(request.body)

    listener = StreamListener(lambda peer: Echo(), ask, perform)
    (address,) = find_free_addresses(1)
    await listener.open(address)
    yield listener, address, faults, seen
    await listener.close()


async def talk(address, *parts):
    reader, writer = await asyncio.open_connection(*address)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


async def test_a_session_goes_on_over_parts_and_ends_when_it_says_so(site):
    _, address, _, seen = site
    assert await talk(address, b"one\ntw", b"o\n") == b"ONE\nTWO\n"
    assert await talk(address, b"bye\n") == b"BYE\n"
    assert seen == [b"one\ntw", b"o\n", b"bye\n"]


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (FaultKind.CUT, b""),
        (FaultKind.LOST, b""),
        (FaultKind.HALF, b"ON"),
        (FaultKind.SLOW, b"ONE\n"),
        (FaultKind.WORKS, b"ONE\n"),
    ],
)
async def test_faults_meet_a_session(site, kind, answer):
    _, address, faults, _ = site
    faults.append(Fault(kind, 0.01))
    assert await talk(address, b"one\n") == answer


async def test_a_node_that_goes_down_ends_its_conversations(site):
    listener, address, _, _ = site
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"one\n")
    assert await reader.readline() == b"ONE\n"
    await listener.close()
    assert not listener.listening
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
