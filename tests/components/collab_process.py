"""A process that behaves as the documents say of a Collaboration Server: /status, /socket.io/, and its file.

`collab_process.py FILE LOG`: reads its file once, at its start.
"""

import asyncio
import base64
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
UP_SINCE = time.strftime("%Y-%m-%d %H:%M:%S")


async def reaches_redis(url):
    """Whether Redis lets it in, with the password of its file."""
    parts = urlsplit(url)
    password = unquote(parts.password or "").encode()
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return False
    login = b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(password), password) if password else b""
    writer.write(login + b"*1\r\n$4\r\nPING\r\n")
    answer = await reader.readline() if login else b"+OK\r\n"
    answer += await reader.readline()
    writer.close()
    return answer == b"+OK\r\n+PONG\r\n"


async def serve(reader, writer, config):
    head = await reader.readuntil(b"\r\n\r\n")
    target, lines = head.split(b" ")[1], head.split(b"\r\n")
    headers = {key.lower(): text.strip() for key, _, text in (line.partition(b":") for line in lines[1:])}
    if target.startswith(b"/socket.io/") and headers.get(b"upgrade") == b"websocket":
        proof = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % proof
        )
        while data := await reader.read(1000):
            writer.write(data)
    else:
        is_paused = not await reaches_redis(config["redisServerUrl"])
        shown = {
            "version": "11.0.0.720",
            "enableTls": False,
            "scaling": config["scaling"],
            "logging": config["logging"],
            "state": "paused" if is_paused else "running",
            "main": {
                "connections": {"total": 1, "current": 0, "max": 1},
                "up_since": UP_SINCE,
                "pid": os.getpid(),
            },
        }
        if is_paused:
            shown["reason"] = "The following dependent services are unavailable: Redis Server"
        body = json.dumps(shown).encode()
        status = b"200 OK" if target == b"/status" else b"404 Not Found"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
    writer.close()


async def main(file, log):
    config = json.loads(Path(file).read_bytes())
    server = await asyncio.start_server(lambda *ends: serve(*ends, config), "127.0.0.1", config["port"])
    with Path(log).open("a") as found:
        found.write(
            json.dumps({"port": config["port"], "logging": config["logging"], "at": time.time()}) + "\n"
        )
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
