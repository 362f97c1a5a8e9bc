"""Bare servers on loopback, which answer with given bytes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """A bare TCP server: each request gets the next of its answers; the last one repeats.

    An answer is bytes, or None to close the connection, or a number of seconds to stay silent.
    """

    def __init__(self, *answers, keep=True):
        self.answers = list(answers)
        self.keep = keep
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.most = 0

    async def serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
                self.requests.append(head + body)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if isinstance(answer, float):
                    await asyncio.sleep(answer)
                    continue
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if not self.keep:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


def place(socket):
    return socket.getsockname()[:2]


@asynccontextmanager
async def listening(serve, tls=None, hosts=None):
    """A server on a free port, or one for each host; when it ends, every connection of it has ended too."""
    tasks, writers = set(), set()

    async def tracked(reader, writer):
        tasks.add(asyncio.current_task())
        writers.add(writer)
        with suppress(asyncio.CancelledError):
            await serve(reader, writer)

    server = await asyncio.start_server(tracked, hosts or "127.0.0.1", 0, ssl=tls)
    urls = [f"http{'s' if tls else ''}://{host}:{port}" for host, port in map(place, server.sockets)]
    try:
        yield urls if hosts else urls[0]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def serving(*answers, tls=None, **more):
    server = Server(*answers, **more)
    async with listening(server.serve, tls) as url:
        yield server, url
