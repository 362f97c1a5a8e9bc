"""A process that behaves as an application with the Go `cluster` package: a mesh over TCP or TLS, and an API.

`gocluster_process.py FILE LOG`: reads its file once, at its start. It speaks the library's protocol, with its
handshake, delays and quorum; it listens no more once somebody came with a wrong secret; each reading of
its view leaves a lock. Of two connections between two nodes, the one of the smaller address is kept.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

NEVER = "0001-01-01T00:00:00Z"


def pack(name, kind, message):
    """One packet, as Go writes it."""
    inner = escape(json.dumps(message, separators=(",", ":")))
    packet = {"name": name, "datatype": f"cluster.{kind}", "datamessage": inner, "time": tell_time()}
    return escape(json.dumps(packet, separators=(",", ":"))).encode() + b"\n"


def escape(text):
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def tell_time():
    return datetime.now(UTC).isoformat().replace("+00:00", "000Z")


class Link:
    """A connection to a peer."""

    def __init__(self, name, dialler, reader, writer):
        self.name, self.dialler, self.reader, self.writer = name, dialler, reader, writer
        self.joined, self.packets = "", 0


class Node:
    """The manager and its API."""

    def __init__(self, config, log):
        self.config, self.log_file = config, Path(log)
        self.name, self.peers = config["name"], {one["name"]: one["addr"] for one in config["peers"]}
        self.seconds = {key: value / 1e9 for key, value in config["settings"].items()}
        self.links, self.errors, self.locks, self.had_quorum = {}, {}, 0, False
        self.listener = None
        self.handshake = asyncio.Lock()
        self.tls = self._read_tls() if config["tls"] else (None, None)

    def _read_tls(self):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(self.config["certificate"])
        client = ssl.create_default_context(cafile=self.config["certificate"])
        client.check_hostname = False
        return server, client

    def log(self, event, **more):
        with self.log_file.open("a") as file:
            file.write(json.dumps({"event": event, "node": self.name, "at": time.time(), **more}) + "\n")

    async def run(self):
        host, port = split(self.config["listen"])
        self.listener = await asyncio.start_server(self.accept, host, port, ssl=self.tls[0])
        api = await asyncio.start_server(self.serve_api, *split(self.config["api"]))
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        auth = hashlib.sha256(self.config["authKey"].encode()).hexdigest()
        own = {"auth": auth, "tls": self.config["tls"], "workers": self.config["workers"]}
        self.log("started", pid=os.getpid(), peers=sorted(self.peers), **own)
        tasks = [asyncio.create_task(self.dial(name)) for name in self.peers]
        await stop.wait()
        self.log("stopped")
        for link in self.links.values():
            link.writer.write(pack(self.name, "packetNodeShutdown", {}))
        for task in tasks:
            task.cancel()
        api.close()

    async def dial(self, name):
        while True:
            if name not in self.links:
                with contextlib.suppress(OSError, ValueError):
                    await self.call(name)
            await asyncio.sleep(self.seconds["connect_interval"])

    async def call(self, name):
        host, port = split(self.peers[name])
        opening = asyncio.open_connection(host, port, ssl=self.tls[1])
        reader, writer = await asyncio.wait_for(opening, self.seconds["connect_timeout"])
        writer.write(pack(self.name, "packetAuthRequest", {"authkey": self.config["authKey"]}))
        packet = json.loads(await asyncio.wait_for(reader.readline(), 10))
        answer = json.loads(packet["datamessage"])
        self.errors[name] = answer["error"]
        if answer["error"] or not answer["status"]:
            writer.close()
            return
        await self.join(Link(name, self.config["listen"], reader, writer))

    async def accept(self, reader, writer):
        async with self.handshake:
            try:
                packet = json.loads(await asyncio.wait_for(reader.readline(), 10))
                key = json.loads(packet["datamessage"])["authkey"]
            except (ValueError, KeyError, OSError):
                writer.close()
                return
            if key != self.config["authKey"]:
                writer.write(pack(self.name, "packetAuthResponse", {"status": True, "error": "wrong key"}))
                writer.close()
                self.listener.close()
                self.log("deaf", by=packet["name"])
                return
            writer.write(pack(self.name, "packetAuthResponse", {"status": True, "error": ""}))
        address = self.peers.get(packet["name"], "")
        await self.join(Link(packet["name"], address, reader, writer))

    async def join(self, link):
        rival = self.links.get(link.name)
        if rival is not None and rival.dialler <= link.dialler:
            link.writer.close()
            return
        if rival is not None:
            rival.writer.close()
        self.links[link.name] = link
        task = asyncio.create_task(self.announce(link))
        with contextlib.suppress(OSError, ValueError):
            while line := await asyncio.wait_for(link.reader.readline(), self.seconds["read_timeout"]):
                link.packets += 1
                if json.loads(line)["datatype"] == "cluster.packetNodeShutdown":
                    break
        task.cancel()
        link.writer.close()
        if self.links.get(link.name) is link:
            del self.links[link.name]
            self.check_quorum()

    async def announce(self, link):
        await asyncio.sleep(self.seconds["join_delay"])
        link.joined = tell_time()
        self.check_quorum()
        while True:
            link.writer.write(pack(self.name, "packetPing", {"time": tell_time()}))
            await asyncio.sleep(self.seconds["ping_interval"])

    def check_quorum(self):
        configured, connected = len(self.peers), len([one for one in self.links.values() if one.joined])
        has_quorum = configured <= 1 or (configured + 1) / 2 < connected + 1
        if self.had_quorum and not has_quorum:
            self.log("quorum lost", configured=configured, connected=connected)
        self.had_quorum = has_quorum

    async def serve_api(self, reader, writer):
        try:
            method, path, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
        except (ValueError, asyncio.IncompleteReadError):
            writer.close()
            return
        status, data = "200 OK", None
        if method == "GET" and path == "/api/v1/cluster":
            data = [self.name]
        elif method == "GET" and path == f"/api/v1/cluster/{self.name}":
            self.locks += 1
            self.log("read", locks=self.locks)
            data = {"nodes": {name: self.show(name) for name in sorted(self.peers)}}
        else:
            status = "404 Not Found"
            self.log("other call", method=method, path=path)
        inner = escape(json.dumps(data, separators=(",", ":")))
        body = escape(json.dumps({"success": data is not None, "error": "", "data": inner})).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    def show(self, name):
        link = self.links.get(name)
        return {
            "name": name,
            "addr": self.peers[name],
            "status": "Online" if link and link.joined else "Offline",
            "error": self.errors.get(name, ""),
            "jointime": (link.joined if link else "") or NEVER,
            "lag": 1000,
            "packets": link.packets if link else 0,
        }


def split(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


def check(file):
    """Whether the application would start with a file."""
    config = json.loads(Path(file).read_bytes())
    if not isinstance(config["workers"], int):
        sys.exit("workers must be a number")


if sys.argv[1] == "check":
    check(sys.argv[2])
else:
    asyncio.run(Node(json.loads(Path(sys.argv[1]).read_bytes()), sys.argv[2]).run())
