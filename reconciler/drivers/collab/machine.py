"""The cluster as one pure state machine: what each command, each change and each fault does to it.

Every function gives the next state. The rules are those of the product's and of Redis's documents; where they
are silent, `Choices` names what may happen. Files are not part of the state: who starts a process gives what
its file says.
"""

from __future__ import annotations

from typing import Final

from reconciler.drivers.collab.choices import DEFAULTS, Choices, NeedlessPassword, RedisLoss, ServiceOrder
from reconciler.drivers.collab.cluster_state import (
    BalancerConfiguration,
    BalancerState,
    CollabState,
    RedisConfiguration,
    RedisState,
    ServerConfiguration,
    ServerState,
    accepts_address,
    accepts_password,
    is_balanced,
    is_paused,
    needs_redis,
    reaches_database,
)
from reconciler.drivers.collab.status_view import DATABASE_SERVICE, REDIS_SERVICE

REASON: Final = "The following dependent services are unavailable: "
"""How a paused server begins its reason."""


def start_server(
    state: CollabState, number: int, configuration: ServerConfiguration | None, choices: Choices = DEFAULTS
) -> CollabState:
    """A stopped server starts with its file; None if that is not valid: then it does not come up."""
    own = state.servers[number]
    if own.running is not None:
        return state
    if configuration is None:
        return state.replace_server(number, own._replace(starts=own.starts + 1))
    started = ServerState(
        configuration,
        own.starts + 1,
        starting=choices.start_readings,
        pausing=choices.paused_readings,
    )
    return _connect(state.replace_server(number, started), choices)


def stop_server(state: CollabState, number: int) -> CollabState:
    """A server stops or crashes; the sockets of its clients end."""
    return state.replace_server(number, ServerState(starts=state.servers[number].starts))


def restart_server(
    state: CollabState, number: int, configuration: ServerConfiguration | None, choices: Choices = DEFAULTS
) -> CollabState:
    """A server stops and starts; a stopped one starts."""
    return start_server(stop_server(state, number), number, configuration, choices)


def start_redis(
    state: CollabState, configuration: RedisConfiguration | None, choices: Choices = DEFAULTS
) -> CollabState:
    """A stopped Redis starts with its file; None if that has no valid content."""
    if state.redis.running is not None:
        return state
    return _connect(state._replace(redis=RedisState(configuration, state.redis.starts + 1)), choices)


def stop_redis(state: CollabState, choices: Choices = DEFAULTS) -> CollabState:
    """Redis stops or crashes: every server that works with it loses it."""
    down = state._replace(redis=RedisState(None, state.redis.starts))
    for number, server in enumerate(down.servers):
        if server.has_session:
            down = _lose_redis(down, number, choices)
    return down


def restart_redis(
    state: CollabState, configuration: RedisConfiguration | None, choices: Choices = DEFAULTS
) -> CollabState:
    """Redis stops and starts; servers connect again with the password that they run with."""
    return start_redis(stop_redis(state, choices), configuration, choices)


def change_redis(
    state: CollabState, configuration: RedisConfiguration, choices: Choices = DEFAULTS
) -> CollabState:
    """Redis runs with other passwords or addresses; connections that are open stay open."""
    if state.redis.running is None:
        return state
    return _connect(state._replace(redis=state.redis._replace(running=configuration)), choices)


def add_password(redis: RedisConfiguration, password: str) -> RedisConfiguration:
    """`ACL SETUSER default >PASSWORD`: accepted beside the others; from now on one is demanded."""
    return redis._replace(passwords=redis.passwords | {password}, needs_password=True)


def drop_password(redis: RedisConfiguration, password: str) -> RedisConfiguration:
    """`ACL SETUSER default <PASSWORD`: not accepted any more; without any, nobody is let in."""
    return redis._replace(passwords=redis.passwords - {password})


def require_password(redis: RedisConfiguration, password: str) -> RedisConfiguration:
    """`CONFIG SET requirepass`: the only password from now on; an empty one demands none."""
    passwords = frozenset({password} if password else ())
    return redis._replace(passwords=passwords, needs_password=bool(password), required=password)


def fail_database(state: CollabState) -> CollabState:
    """The database does not answer any more."""
    return state._replace(is_database_up=False)


def return_database(state: CollabState, choices: Choices = DEFAULTS) -> CollabState:
    """The database answers again; servers stay paused for a while."""
    if state.is_database_up:
        return state
    servers = tuple(
        server._replace(pausing=max(server.pausing, choices.paused_readings))
        if server.running is not None
        else server
        for server in state.servers
    )
    return state._replace(servers=servers, is_database_up=True)


def reload_balancer(state: CollabState, configuration: BalancerConfiguration | None) -> CollabState:
    """Nginx loads its file; None if it is invalid: then the former one stays in force."""
    own = state.balancer
    if own.running is None or configuration is None:
        return state
    return state._replace(balancer=BalancerState(configuration, own.reloads + 1))


def stop_balancer(state: CollabState) -> CollabState:
    """Nginx stops or crashes."""
    return state._replace(balancer=BalancerState(None, state.balancer.reloads))


def start_balancer(state: CollabState, configuration: BalancerConfiguration | None) -> CollabState:
    """A stopped nginx starts with its file; None if that is invalid."""
    if state.balancer.running is not None or configuration is None:
        return state
    return state._replace(balancer=BalancerState(configuration, state.balancer.reloads + 1))


def pass_reading(state: CollabState, number: int) -> CollabState:
    """Time passes by readings of a server, not by a clock: it comes up, then ends its pause.

    Of a server that gets no new clients, one leaves at each reading.
    """
    own = state.servers[number]
    if own.connections and not is_balanced(state, number):
        own = own._replace(connections=own.connections - 1)
        state = state.replace_server(number, own)
    if own.starting:
        return state.replace_server(number, own._replace(starting=own.starting - 1))
    if own.pausing and not list_missing_services(state, number):
        return state.replace_server(number, own._replace(pausing=own.pausing - 1))
    return state


def finish_waiting(state: CollabState) -> CollabState:
    """All servers have come up, and those that miss no service have ended their pause."""
    for number, server in enumerate(state.servers):
        pausing = server.pausing if list_missing_services(state, number) else 0
        state = state.replace_server(number, server._replace(starting=0, pausing=pausing))
    return state


def list_missing_services(
    state: CollabState, number: int, order: ServiceOrder = ServiceOrder.DATABASE_FIRST
) -> tuple[str, ...]:
    """The services that a running server cannot reach, in the order in which it lists them."""
    own = state.servers[number]
    if own.running is None:
        return ()
    has_redis = own.has_session or not needs_redis(state, number)
    missing = [
        *(() if reaches_database(state, number) else (DATABASE_SERVICE,)),
        *(() if has_redis else (REDIS_SERVICE,)),
    ]
    return tuple(missing if order is ServiceOrder.DATABASE_FIRST else reversed(missing))


def describe_state(state: CollabState, number: int, choices: Choices = DEFAULTS) -> tuple[str, str]:
    """`state` and `reason` that a running server shows; an empty reason is left out of its answer."""
    if not is_paused(state, number):
        return choices.healthy_state, ""
    missing = list_missing_services(state, number, choices.service_order)
    if not missing and choices.paused_reason:
        # It has not noticed yet that the services are there.
        missing = (REDIS_SERVICE,) if needs_redis(state, number) else (DATABASE_SERVICE,)
    return "paused", REASON + ", ".join(missing) if missing else ""


def _connect(state: CollabState, choices: Choices) -> CollabState:
    """Each server that works with Redis and has no connection tries to get one."""
    redis = state.redis.running
    if redis is None:
        return state
    for number, server in enumerate(state.servers):
        own = server.running
        if own is None or server.has_session or not needs_redis(state, number):
            continue
        is_let_in = accepts_password(
            redis, own.password, needless=choices.needless_password is NeedlessPassword.ACCEPT
        )
        host = own.redis.rpartition(":")[0]
        if own.redis == redis.address and is_let_in and accepts_address(redis, host):
            pausing = max(server.pausing, choices.paused_readings)
            state = state.replace_server(number, server._replace(has_session=True, pausing=pausing))
    return state


def _lose_redis(state: CollabState, number: int, choices: Choices) -> CollabState:
    own = state.servers[number]
    if choices.redis_loss is RedisLoss.EXIT:
        return stop_server(state, number)
    is_stuck = own.is_stuck or choices.redis_loss is RedisLoss.STAY_PAUSED
    return state.replace_server(number, own._replace(has_session=False, is_stuck=is_stuck))
