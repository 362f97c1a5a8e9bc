"""The state of one cluster: its servers, Redis, the database and the load balancer; immutable, without wire.

Passwords are their SHA-256 digests, as Redis itself keeps them: no state holds one in plain text.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from reconciler.core.endpoint import is_ip_address

HORIZONTAL: Final = "horizontal"
"""`scaling` of servers that work together through Redis."""

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

EVERY_ADDRESS: Final = ("0.0.0.0", "*", "::", "::*")  # noqa: S104  (as in a redis.conf)


def hash_password(text: str) -> str:
    """The digest by which Redis keeps a password; empty for none."""
    return sha256(text.encode()).hexdigest() if text else ""


class ServerConfiguration(NamedTuple):
    """What a server loads of its config.json when it starts.

    Args:
        digest: of the whole file.
        port: on which it listens.
        scaling: `horizontal` for a server that works with others.
        redis: `host:port` of `redisServerUrl`; empty without one.
        password: digest of the password in that URL; empty for none.
        database: a text that is the same for the same way to the database.
    """

    digest: str = ""
    port: int = 3000
    scaling: str = HORIZONTAL
    redis: str = ""
    password: str = ""
    database: str = ""
    enable_tls: bool = False
    logging: bool = False


class ServerState(NamedTuple):
    """One server.

    Args:
        running: the configuration of its process; None while it is stopped.
        starts: how often it was started.
        starting: readings that it will not answer yet.
        pausing: readings for which it will show that it is paused although it misses nothing.
        is_stuck: whether it stays paused until it is restarted.
        has_session: whether it has a connection that Redis accepted; that outlives a change of passwords.
        connections: clients that are connected.
    """

    running: ServerConfiguration | None = None
    starts: int = 0
    starting: int = 0
    pausing: int = 0
    is_stuck: bool = False
    has_session: bool = False
    connections: int = 0


class RedisConfiguration(NamedTuple):
    """What Redis runs with, and what its file says to the next start.

    Args:
        address: `host:port` by which servers reach it.
        passwords: digests of the passwords that it accepts of the default user.
        needs_password: whether it demands one.
        required: digest of `requirepass`, which alone decides nothing once `user default` is in the file.
        bind: addresses on which it listens.
        is_protected: whether it refuses other hosts as long as it demands no password.
        options: the other directives of its file, which decide nothing here.
    """

    address: str = ""
    passwords: frozenset[str] = frozenset()
    needs_password: bool = False
    required: str = ""
    bind: tuple[str, ...] = ()
    is_protected: bool = True
    options: tuple[tuple[str, str], ...] = ()


class RedisState(NamedTuple):
    """Redis.

    Args:
        running: None while it is stopped.
        starts: how often it was started.
    """

    running: RedisConfiguration | None = None
    starts: int = 0


class BalancerConfiguration(NamedTuple):
    """What nginx has loaded.

    Args:
        servers: `host:port` of each `server` of the upstream.
        is_sticky: whether the upstream has `ip_hash`.
        has_handshake: whether `/socket.io/` is handed on with the Upgrade protocol.
        has_status: whether `/status` is handed on.
        digest: of the whole file.
        headers: name and value that answers at `/status` get besides.
        is_tls: whether it speaks TLS with the servers.
    """

    servers: tuple[str, ...] = ()
    is_sticky: bool = False
    has_handshake: bool = False
    has_status: bool = False
    digest: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    is_tls: bool = False


class BalancerState(NamedTuple):
    """The load balancer.

    Args:
        running: None while it is stopped.
        reloads: how often it has loaded its file.
    """

    running: BalancerConfiguration | None = None
    reloads: int = 0


class CollabState(NamedTuple):
    """One cluster.

    Args:
        servers: by number.
        addresses: `host:port` of each server.
        databases: the ways to the database that work, as texts like `ServerConfiguration.database`.
        is_database_up: whether the database answers.
    """

    servers: tuple[ServerState, ...]
    addresses: tuple[str, ...]
    redis: RedisState = RedisState()
    balancer: BalancerState = BalancerState()
    databases: frozenset[str] = frozenset({""})
    is_database_up: bool = True

    def replace_server(self, number: int, server: ServerState) -> CollabState:
        """The same, with another state of one server."""
        servers = (*self.servers[:number], server, *self.servers[number + 1 :])
        return self._replace(servers=servers)


def reaches_database(state: CollabState, number: int) -> bool:
    """Whether a server's configuration leads to a database that answers."""
    own = state.servers[number].running
    return own is not None and state.is_database_up and own.database in state.databases


def needs_redis(state: CollabState, number: int) -> bool:
    """Whether a server works with Redis: it reads `redisServerUrl` only if its scaling is horizontal."""
    own = state.servers[number].running
    return own is not None and own.scaling == HORIZONTAL


def accepts_address(redis: RedisConfiguration, host: str) -> bool:
    """Whether Redis accepts connections of a server that reaches it by this host name or address."""
    is_local = host in LOOPBACK or host.startswith("127.")
    if not is_local and redis.is_protected and not redis.needs_password:
        return False
    listens = {address.lstrip("-") for address in redis.bind}
    if not listens or listens.intersection(EVERY_ADDRESS) or host in listens:
        return True
    if is_local:
        return bool(listens.intersection(LOOPBACK))
    # A name may stand for any address that is not the machine's own.
    return not is_ip_address(host) and bool(listens.difference(LOOPBACK))


def accepts_password(redis: RedisConfiguration, password: str, *, needless: bool = True) -> bool:
    """Whether Redis lets in who shows this digest of a password; empty for who shows none.

    Args:
        redis: its configuration.
        password: digest.
        needless: what holds where Redis demands no password and one is shown.
    """
    if not redis.needs_password:
        return needless or not password
    return password in redis.passwords


def is_running(state: CollabState, number: int) -> bool:
    """Whether the process of a server runs."""
    return state.servers[number].running is not None


def is_paused(state: CollabState, number: int) -> bool:
    """Whether a running server cannot serve."""
    own = state.servers[number]
    has_redis = own.has_session or not needs_redis(state, number)
    return own.is_stuck or own.pausing > 0 or not has_redis or not reaches_database(state, number)


def drop_passwords(redis: RedisConfiguration) -> RedisConfiguration:
    """What takes effect with a restart only; the lines that CONFIG REWRITE adds do not count."""
    return redis._replace(passwords=frozenset(), needs_password=False, required="", options=())


def is_user(server: ServerState) -> bool:
    """Whether the process of a server works with Redis."""
    return server.running is not None and server.running.scaling == HORIZONTAL


def is_serving(state: CollabState, number: int) -> bool:
    """Whether a server runs, has started, and is not paused."""
    own = state.servers[number]
    return own.running is not None and not own.starting and not is_paused(state, number)


def list_serving(state: CollabState) -> tuple[int, ...]:
    """The servers that serve."""
    return tuple(number for number in range(len(state.servers)) if is_serving(state, number))


def is_balanced(state: CollabState, number: int) -> bool:
    """Whether the load balancer sends clients to a server."""
    running, own = state.balancer.running, state.servers[number].running
    is_reached = own is None or running is None or own.enable_tls is running.is_tls
    return running is not None and is_reached and state.addresses[number] in running.servers


def list_locked_out(state: CollabState) -> Iterator[int]:
    """Running servers whose password Redis would not accept if they had to connect again now."""
    redis = state.redis.running
    for number, server in enumerate(state.servers):
        if redis is None or server.running is None or not needs_redis(state, number):
            continue
        if server.running.redis == redis.address and not accepts_password(redis, server.running.password):
            yield number
