"""A simulated cluster: its machines with files, what its commands do, and what its nodes answer."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha1
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

from reconciler.drivers.collab import machine
from reconciler.drivers.collab.choices import DEFAULTS, Choices, InvalidReload, PausedStatus, StartShown
from reconciler.drivers.collab.cluster_state import (
    BalancerConfiguration,
    CollabState,
    RedisConfiguration,
    ServerConfiguration,
    ServerState,
    is_paused,
)
from reconciler.drivers.collab.simulator.loaded_files import (
    InvalidFile,
    read_redis_file,
    read_required_password,
    read_server_file,
    rewrite_redis_file,
)
from reconciler.drivers.collab.simulator.nginx_file import read_nginx_file
from reconciler.drivers.collab.simulator.redis_session import RedisSession
from reconciler.errors import NodeRefused
from reconciler.ports.simulated_machine import SimulatedMachine
from reconciler.ports.simulator import NodeRequest, Reply, SimulatedWorld

VERSION: Final = "11.0.0.720"

NO_ANSWER: Final[Reply] = (0, MappingProxyType({}), b"")

_FIRST_START: Final = datetime(2026, 1, 5, 8, 0, 0)  # noqa: DTZ001  (the product shows no zone)
_FIRST_PID: Final = 900
_WEBSOCKET: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""The text that RFC 6455 adds to the key of a handshake."""


@dataclass(frozen=True, slots=True)
class SiteNames:
    """Which nodes a simulated cluster has, and where their files are.

    Args:
        servers: name -> `host:port`, as the load balancer and Redis know it.
        redis: name of the Redis; empty without one.
        redis_host: by which servers reach it.
        balancer: name of the load balancer; empty without one.
        upstream: name of its upstream.
        entries: node -> entry of `files` with the file that its process loads.
    """

    servers: Mapping[str, str]
    redis: str = ""
    redis_host: str = ""
    balancer: str = ""
    upstream: str = "collabServer"
    entries: Mapping[str, str] = field(default_factory=dict)


class CollabWorld(SimulatedWorld):
    """The nodes of one simulated cluster.

    A node without an entry in `entries` runs with the file in `fixed`.

    Args:
        names: of its nodes.
        machines: node -> its machine, with the files.
        databases: the ways to the database that work, by `loaded_files.describe_database`.
        choices: what the nodes do where the documents are silent.
        fixed: node -> content that its process loads, of nodes without a managed file.
    """

    def __init__(
        self,
        names: SiteNames,
        machines: Mapping[str, SimulatedMachine],
        databases: frozenset[str],
        choices: Choices = DEFAULTS,
        fixed: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self.names = names
        self.machines = dict(machines)
        self.choices = choices
        self.servers = tuple(names.servers)
        self.versions: dict[str, str] = {}
        self.handshakes: dict[str, int] = {}
        """Server -> sockets that were opened, through the load balancer or not."""
        self.loaded_invalid: list[str] = []
        """Sentences about invalid files that nginx was told to load."""
        self._fixed = fixed
        self._clear: dict[str, str] = {}
        self._contents: dict[str, bytes | None] = {}
        self._next = 0
        addresses = tuple(names.servers.values())
        self.state = CollabState((ServerState(),) * len(addresses), addresses, databases=databases)

    def running(self, node: str) -> bool:
        """Whether the node's process runs; one that does not answers nothing."""
        if node == self.names.redis:
            return self.state.redis.running is not None
        if node == self.names.balancer:
            return self.state.balancer.running is not None
        return self.state.servers[self.servers.index(node)].running is not None

    def kill(self, node: str) -> None:
        if node == self.names.redis:
            self.state = machine.stop_redis(self.state, self.choices)
        elif node == self.names.balancer:
            self.state = machine.stop_balancer(self.state)
        else:
            self.state = machine.stop_server(self.state, self.servers.index(node))

    def start(self, node: str) -> None:
        """The process starts with its file, unless it runs; with an invalid one it does not come up."""
        if node == self.names.redis:
            self.state = machine.start_redis(self.state, self.read_redis(), self.choices)
        elif node == self.names.balancer:
            self.state = machine.start_balancer(self.state, self.read_balancer())
        else:
            number = self.servers.index(node)
            self.state = machine.start_server(self.state, number, self.read_server(node), self.choices)
            self._follow_port(number)

    def _follow_port(self, number: int) -> None:
        """A server that has started listens at the port of its file."""
        running, addresses = self.state.servers[number].running, list(self.state.addresses)
        if running is not None:
            addresses[number] = f"{addresses[number].rpartition(':')[0]}:{running.port}"
            self.state = self.state._replace(addresses=tuple(addresses))

    def restart(self, node: str) -> str:
        """Stop and start; gives the output of the command.

        Raises:
            NodeRefused: the process does not come up with its file.
        """
        self.kill(node)
        self.start(node)
        if not self.running(node):
            raise NodeRefused(node, "the process does not start", status=1, code="COMMAND")
        return f"restarted {node}"

    def reload(self, node: str) -> str:
        """Make nginx load its file; gives the output of the command.

        Raises:
            NodeRefused: the file is invalid, or nginx does not run.
        """
        if not self.running(node):
            raise NodeRefused(node, "nginx is not running", status=1, code="COMMAND")
        try:
            loaded = read_nginx_file(self.content(node), self.names.upstream)
        except InvalidFile as error:
            self.loaded_invalid.append(str(error))
            if self.choices.invalid_reload is InvalidReload.SILENT:
                return "signal process started"
            raise NodeRefused(node, str(error), status=1, code="COMMAND") from error
        self.state = machine.reload_balancer(self.state, loaded)
        return "signal process started"

    def fail_database(self) -> None:
        """The database goes away."""
        self.state = machine.fail_database(self.state)

    def return_database(self) -> None:
        """The database is back."""
        self.state = machine.return_database(self.state, self.choices)

    def content(self, node: str) -> bytes | None:
        """The content of the file that the node's process loads."""
        entry = self.names.entries.get(node)
        if entry is None:
            return self._fixed.get(node)
        return self.machines[node].files[entry].content

    def read_server(self, node: str) -> ServerConfiguration | None:
        """What a server would load now; None if it would not start."""
        content = self.content(node)
        found = _read(read_server_file, content)
        if found is not None:
            self._contents[found.digest] = content
        return found

    def loaded_content(self, node: str) -> bytes | None:
        """The config.json with which a server runs; None while it does not."""
        running = self.state.servers[self.servers.index(node)].running
        return self._contents.get(running.digest) if running is not None else None

    def read_redis(self) -> RedisConfiguration | None:
        """What Redis would load now; None if it would not start."""
        content = self.content(self.names.redis)
        found = _read(lambda text: read_redis_file(text, self.names.redis_host), content)
        if found is not None and found.required:
            self._clear[found.required] = read_required_password(content or b"")
        return found

    def read_balancer(self) -> BalancerConfiguration | None:
        """What nginx would load now; None if the file is invalid."""
        return _read(
            lambda text: read_nginx_file(text, self.names.upstream), self.content(self.names.balancer)
        )

    def check(self, node: str, content: bytes) -> str:
        """What the product's own check says against a content; empty if it is good."""
        try:
            if node == self.names.balancer:
                read_nginx_file(content, self.names.upstream)
            elif node == self.names.redis:
                read_redis_file(content, self.names.redis_host)
            else:
                read_server_file(content)
        except InvalidFile as error:
            return str(error)
        return ""

    @property
    def redis(self) -> RedisConfiguration | None:
        """What Redis runs with; None while it is stopped."""
        return self.state.redis.running

    @property
    def redis_starts(self) -> int:
        """How often Redis was started."""
        return self.state.redis.starts

    def change_redis(self, configuration: RedisConfiguration, clear: Mapping[str, str]) -> None:
        """Redis runs with another configuration."""
        self._clear.update(clear)
        self.state = machine.change_redis(self.state, configuration, self.choices)

    def rewrite_redis(self) -> str:
        """`CONFIG REWRITE`; gives an error, empty if it succeeded."""
        redis, entry = self.redis, self.names.entries.get(self.names.redis)
        if redis is None or entry is None:
            return "The server is running without a config file"
        file = self.machines[self.names.redis].files[entry]
        if file.content is None or file.is_full:
            return "Rewriting config file: No space left on device"
        file.content = rewrite_redis_file(file.content, redis, self._clear)
        return ""

    def read_redis_options(self) -> dict[str, str]:
        """What `CONFIG GET` gives."""
        redis = self.redis
        assert redis is not None
        return {
            "aclfile": "",
            "bind": " ".join(redis.bind),
            "port": redis.address.rpartition(":")[2],
            "protected-mode": "yes" if redis.is_protected else "no",
            "requirepass": self._clear.get(redis.required, ""),
            **dict(redis.options),
        }

    def open_session(self, node: str, peer: str = "127.0.0.1") -> RedisSession:
        """A new connection to Redis."""
        assert node == self.names.redis
        return RedisSession(self, peer)

    def answer(self, node: str, request: NodeRequest) -> Reply:
        """What a running node answers, and the time that passes by it."""
        if not self.running(node):
            return NO_ANSWER
        if node == self.names.balancer:
            return self._balance(request)
        return self._serve(self.servers.index(node), request)

    def _balance(self, request: NodeRequest) -> Reply:
        loaded = self.state.balancer.running
        assert loaded is not None
        path = urlsplit(request.target).path
        is_handed_on = (path.startswith("/socket.io/") and loaded.has_handshake) or (
            path.startswith("/status") and loaded.has_status
        )
        if not is_handed_on:
            return _show_nginx_page(HTTPStatus.NOT_FOUND)
        number = self.choose(request.peer)
        own = self.state.servers[number].running if number is not None else None
        is_reached = own is not None and own.enable_tls is loaded.is_tls
        reply = self._serve(number, request) if number is not None and is_reached else NO_ANSWER
        if reply[0] == 0:
            return _show_nginx_page(HTTPStatus.BAD_GATEWAY)
        headers = dict(reply[1]) | {"Server": "nginx"}
        return reply[0], headers | (dict(loaded.headers) if path.startswith("/status") else {}), reply[2]

    def choose(self, peer: str) -> int | None:
        """The server that nginx chooses for a client; None if no server of the upstream runs."""
        loaded = self.state.balancer.running
        assert loaded is not None
        known = [place for place in loaded.servers if place in self.state.addresses]
        if not known:
            return None
        if loaded.is_sticky:
            # As nginx does: three octets of an IPv4 address decide, so that one network stays on one server.
            place = 89
            for octet in re.findall(r"[0-9]{1,3}", peer)[:3]:
                place = (place * 113 + int(octet)) % 6271
        else:
            place, self._next = self._next, self._next + 1
        for offset in range(len(known)):
            number = self.state.addresses.index(known[(place + offset) % len(known)])
            server = self.state.servers[number]
            if server.running is not None and not server.starting:
                return number
        return None

    def _serve(self, number: int, request: NodeRequest) -> Reply:
        server = self.state.servers[number]
        is_starting = server.starting > 0
        reply = NO_ANSWER
        if server.running is not None and not is_starting:
            reply = self._answer_path(number, server.running, request)
        self.state = machine.pass_reading(self.state, number)
        return reply

    def _answer_path(self, number: int, own: ServerConfiguration, request: NodeRequest) -> Reply:
        parts = urlsplit(request.target)
        if parts.path == "/status" and request.method in {"GET", "HEAD"}:
            status = HTTPStatus.OK
            if is_paused(self.state, number) and self.choices.paused_status is PausedStatus.UNAVAILABLE:
                status = HTTPStatus.SERVICE_UNAVAILABLE
            body = json.dumps(self.make_status(number, own), separators=(",", ":")).encode()
            return status, {"Content-Type": "application/json; charset=utf-8"}, body
        if parts.path == "/socket.io/":
            return self._shake_hands(number, parse_qs(parts.query), request)
        page = f"<!DOCTYPE html>\n<pre>Cannot {request.method} {parts.path[:100]}</pre>\n"
        headers = {"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff"}
        return HTTPStatus.NOT_FOUND, headers, page.replace("&", "&amp;").encode()

    def make_status(self, number: int, own: ServerConfiguration) -> dict[str, Any]:
        """The answer of a server at `/status`."""
        server = self.state.servers[number]
        word, reason = machine.describe_state(self.state, number, self.choices)
        pid, up_since = self.describe_start(number, server.starts)
        clients = server.connections
        return {
            "version": self.versions.get(self.servers[number], VERSION),
            "enableTls": own.enable_tls,
            "scaling": own.scaling,
            "logging": own.logging,
            "state": word,
            **({"reason": reason} if reason else {}),
            "main": {
                "cpu": {"current": 0, "max": 17},
                "memory": {"current": 62_758_912, "max": 85_626_880},
                "connections": {"total": clients, "current": clients, "max": clients},
                "messages": {"processed": 5},
                "restCalls": {"received": 3},
                "up_since": up_since,
                "pid": pid,
            },
        }

    def describe_start(self, number: int, starts: int) -> tuple[int, str]:
        """What a server shows of a start: `pid` and `up_since`.

        Args:
            number: of the server.
            starts: how often it had been started by then.
        """
        shown = self.choices.start_shown
        pid = _FIRST_PID + 10 * number + (starts if shown is not StartShown.UP_SINCE else 1)
        since = _FIRST_START + timedelta(seconds=61 * (starts if shown is not StartShown.PID else 1))
        return pid, f"{since.year}-{since.month}-{since.day} {since:%H:%M:%S}"

    def _shake_hands(self, number: int, query: Mapping[str, list[str]], request: NodeRequest) -> Reply:
        headers = {"Content-Type": "application/json"}
        transport = query.get("transport", [""])[-1]
        if query.get("EIO", [""])[-1] not in {"3", "4"} or transport not in {"websocket", "polling"}:
            words = {"code": 0, "message": "Transport unknown"}
            return HTTPStatus.BAD_REQUEST, headers, json.dumps(words).encode()
        if transport == "polling":
            self._count_client(number)
            body = b'0{"sid":"1","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}'
            return HTTPStatus.OK, {"Content-Type": "text/plain; charset=UTF-8"}, body
        key = request.headers.get("sec-websocket-key", "")
        is_upgrade = (
            request.method == "GET"
            and request.headers.get("upgrade", "").lower() == "websocket"
            and "upgrade" in request.headers.get("connection", "").lower()
            and request.headers.get("sec-websocket-version") == "13"
        )
        if not is_upgrade or not key:
            return HTTPStatus.BAD_REQUEST, headers, b'{"code":3,"message":"Bad request"}'
        self._count_client(number)
        accept = b64encode(sha1(f"{key}{_WEBSOCKET}".encode(), usedforsecurity=False).digest()).decode()
        reply = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
        return HTTPStatus.SWITCHING_PROTOCOLS, reply, b""

    def _count_client(self, number: int) -> None:
        name = self.servers[number]
        self.handshakes[name] = self.handshakes.get(name, 0) + 1


T = TypeVar("T")


def _read(read: Callable[[bytes | None], T], content: bytes | None) -> T | None:
    try:
        return read(content)
    except InvalidFile:
        return None


def _show_nginx_page(status: HTTPStatus) -> Reply:
    title = f"{status.value} {status.phrase}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return status, {"Server": "nginx", "Content-Type": "text/html"}, page.encode()
