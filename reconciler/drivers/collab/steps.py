"""The steps of a cluster, each with its arguments, reason, risk and inverse; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.core.canonical import fingerprint
from reconciler.core.command_reference import NamedCommand, fill_node_command
from reconciler.core.file_state import FilePlace
from reconciler.core.plan import Effect, Inverse, Payload, Risk, Step
from reconciler.core.secret import Secret
from reconciler.drivers.collab.arguments import (
    ADD_PASSWORD,
    DROP_PASSWORD,
    RELOAD,
    RESTART,
    RESTART_REDIS,
    START,
    STOP,
    AddPasswordArguments,
    CollabArguments,
    DropPasswordArguments,
    ReloadArguments,
    RestartArguments,
    RestartRedisArguments,
    StartArguments,
    StopArguments,
)
from reconciler.drivers.collab.facts import INTERRUPTED, STARTED, STOPPED
from reconciler.drivers.collab.schema import (
    CollabDesired,
    CollabServer,
    FormerServer,
    LoadBalancer,
    RedisNode,
)
from reconciler.drivers.collab.status_view import StatusView

_APIS = {
    RESTART: "/collab/restart",
    START: "/collab/start",
    STOP: "/collab/stop",
    RESTART_REDIS: "/collab/redis/restart",
    RELOAD: "/collab/balancer/reload",
    ADD_PASSWORD: "/collab/redis/password",
    DROP_PASSWORD: "/collab/redis/password",
}
"""Action -> how messages name it."""


def make_restart(
    desired: CollabDesired,
    server: CollabServer,
    status: StatusView,
    *,
    why: str,
    fixes: Iterable[str] = (),
    peers: Iterable[str] = (),
    heals: bool = False,
    is_unused: bool = False,
    password: str = "",
    shown: str = "",
    digest: str = "",
) -> Step:
    """A running server is restarted; by an operator where the fleet file names no command."""
    command, entry = desired.entry.restart, desired.entry
    clients = -1 if status.connections is None else status.connections
    redis = entry.redis
    arguments = RestartArguments(
        **_share(desired, RESTART),
        **_name_file(desired.get_config_place(server), digest),
        servers=_list_urls(desired, [*peers, *(one.name for one in entry.nodes), server.name]),
        redis=redis.name if redis is not None else "",
        address=redis.address if redis is not None else "",
        password=password,
        shown_values=shown,
        command=command.command if command is not None else "",
        values=_fill(command, server.name, server.host),
        server=server.name,
        status=desired.get_status_url(server),
        started=status.start,
        version=status.version,
        peers=tuple(sorted(peers)),
        fixes=tuple(sorted(fixes)),
        heals=heals,
        is_unused=is_unused,
        clients=clients,
    )
    ends = f"the connections of {clients} clients end" if clients >= 0 else "its clients' connections end"
    serves = status.is_healthy and not is_unused
    return _make_step(
        desired,
        server.name,
        RESTART,
        arguments,
        reason=f"{server.name} {why}",
        effect=Effect.RESTART,
        risk=Risk.MEDIUM if peers or not serves else Risk.HIGH,
        risk_reason=f"{ends}; they connect again to another server"
        if peers
        else ends
        if serves
        else "the load balancer does not use it"
        if is_unused
        else "it does not serve now",
        needs=f"{' or '.join(sorted(peers))} serves, and no service is away"
        if peers
        else "what it needs to serve is there",
        inverse=Inverse("restart it again with its former file", RESTART),
        is_manual=command is None,
    )


def make_start(desired: CollabDesired, server: CollabServer) -> Step:
    """A server that does not run is started."""
    command = desired.entry.start
    arguments = StartArguments(
        **_share(desired, START),
        servers={server.name: desired.get_status_url(server)},
        command=command.command if command is not None else "",
        values=_fill(command, server.name, server.host),
        server=server.name,
        status=desired.get_status_url(server),
    )
    return _make_step(
        desired,
        server.name,
        START,
        arguments,
        reason=f"{server.name} does not run",
        effect=Effect.HOT,
        risk=Risk.LOW,
        risk_reason="it serves nobody now",
        needs="nothing accepts connections at its port",
        inverse=Inverse("point of no return: a started server stays"),
        is_manual=command is None,
    )


def make_stop(
    desired: CollabDesired,
    server: FormerServer,
    *,
    peers: Iterable[str],
    marker: str,
    status: StatusView | None,
) -> Step:
    """A server that the load balancer does not use any more is stopped; by an operator without a command."""
    command, balancer = desired.entry.stop, desired.entry.balancer
    arguments = StopArguments(
        **_share(desired, STOP),
        servers={
            **_list_urls(desired, peers),
            server.name: desired.get_status_url(server),
        },
        command=command.command if command is not None else "",
        values=_fill(command, server.name, server.host),
        server=server.name,
        status=desired.get_status_url(server),
        drain=desired.entry.drain,
        balancer=balancer.url if balancer is not None and marker else "",
        marker=marker,
        peers=tuple(sorted(peers)),
        # If the fleet file names it again, it is known that nobody else has stopped it.
        intent_facts={server.name: {STARTED: status.start, STOPPED: status.start}} if status else {},
    )
    clients = status.connections if status is not None else None
    left = f"{clients} clients are connected to it" if clients else "no client is known to be connected to it"
    return _make_step(
        desired,
        server.name,
        STOP,
        arguments,
        reason=f"{server.name} is not in the fleet file any more",
        effect=Effect.RESTART,
        risk=Risk.MEDIUM,
        risk_reason=f"{left}; it is stopped when none is left, or after {desired.entry.drain:g} s",
        needs="the load balancer does not use it, and another server serves",
        inverse=Inverse("point of no return: start it by hand"),
        is_manual=command is None,
    )


def make_reload(
    desired: CollabDesired,
    balancer: LoadBalancer,
    *,
    marker: str,
    digest: str,
    joining: Iterable[str],
    remaining: Iterable[str],
    why: str,
) -> Step:
    """The load balancer reads its file again; by an operator without a command."""
    command = balancer.reload
    arguments = ReloadArguments(
        **_share(desired, RELOAD),
        **_name_file(desired.get_balancer_place(), digest),
        servers=_list_urls(desired, (*joining, *remaining)),
        command=command.command if command is not None else "",
        values=_fill(command, balancer.name, balancer.machine),
        url=balancer.url,
        marker=marker,
        joining=tuple(sorted(joining)),
        remaining=tuple(sorted(remaining)),
    )
    return _make_step(
        desired,
        balancer.name,
        RELOAD,
        arguments,
        reason=why,
        effect=Effect.HOT,
        risk=Risk.MEDIUM,
        risk_reason="all clients go through it; connections that are open stay open",
        needs="its file was checked and is in place, and a server of it serves",
        inverse=Inverse("reload it with its former file", RELOAD),
        is_manual=command is None,
    )


def make_redis_restart(
    desired: CollabDesired,
    redis: RedisNode,
    *,
    run_id: str,
    starts: Mapping[str, str],
    password: str,
    logins: tuple[str, ...],
    why: str,
    is_alone: bool,
    digest: str,
) -> Step:
    """Redis is restarted; by an operator without a command."""
    command = redis.restart
    arguments = RestartRedisArguments(
        **_share(desired, RESTART_REDIS),
        **_name_file(desired.get_redis_place(), digest),
        # Former servers matter only for whether anybody works with it.
        servers=_list_urls(desired, (one.name for one in desired.entry.nodes))
        | ({one.name: desired.get_status_url(one) for one in desired.former} if is_alone else {}),
        redis=redis.name,
        address=redis.address,
        password=password,
        logins=logins,
        command=command.command if command is not None else "",
        values=_fill(command, redis.name, redis.host),
        run_id=run_id,
        alone=is_alone,
        serving=tuple(sorted(starts)),
        intent_facts={name: {INTERRUPTED: started} for name, started in sorted(starts.items())},
    )
    return _make_step(
        desired,
        redis.name,
        RESTART_REDIS,
        arguments,
        reason=why,
        effect=Effect.RESTART,
        risk=Risk.MEDIUM if is_alone else Risk.HIGH,
        risk_reason="no server that serves works with it yet; other programs that do are not seen"
        if is_alone
        else "all servers are paused until Redis is back",
        needs="Redis runs as it was read, and every server answers",
        inverse=Inverse("restart it again with its former file", RESTART_REDIS),
        is_manual=command is None,
    )


def make_add_password(
    desired: CollabDesired, redis: RedisNode, *, password: Secret, logins: tuple[str, ...], is_open: bool
) -> tuple[Step, Payload]:
    """Redis accepts the new password beside the others."""
    payload = _make_payload(redis, password, logins)
    arguments = AddPasswordArguments(
        **_share(desired, ADD_PASSWORD),
        servers=_list_urls(desired, (one.name for one in desired.entry.nodes)),
        redis=redis.name,
        address=redis.address,
        password=str(password.value),
        logins=logins,
        entry=redis.file or "",
        host=redis.host,
        payload=payload[0],
    )
    risk_reason = (
        "Redis demands a password from now on: a server that loses its connection before it is restarted "
        "cannot come back"
        if is_open
        else "former passwords stay valid until every server uses the new one"
    )
    step = _make_step(
        desired,
        redis.name,
        ADD_PASSWORD,
        arguments,
        reason="Redis does not accept its new password yet, or would not after a restart",
        effect=Effect.HOT,
        risk=Risk.HIGH if is_open else Risk.LOW,
        risk_reason=risk_reason,
        needs="Redis lets this host in",
        inverse=Inverse("point of no return: a further password harms nobody, and the next change drops it"),
    )
    return step, payload[1]


def make_drop_password(
    desired: CollabDesired,
    redis: RedisNode,
    *,
    password: Secret,
    logins: tuple[str, ...],
    outdated: Mapping[str, str],
) -> tuple[Step, Payload]:
    """Redis accepts the new password alone."""
    payload, config = _make_payload(redis, password, logins), desired.entry.config
    arguments = DropPasswordArguments(
        **_share(desired, DROP_PASSWORD),
        servers=_list_urls(desired, outdated),
        redis=redis.name,
        address=redis.address,
        password=str(password.value),
        logins=logins,
        entry=redis.file or "",
        host=redis.host,
        payload=payload[0],
        outdated=dict(sorted(outdated.items())),
        config=config.file if config is not None else "",
        hosts={one.name: one.host for one in desired.entry.nodes} if config is not None else {},
    )
    step = _make_step(
        desired,
        redis.name,
        DROP_PASSWORD,
        arguments,
        reason="Redis still accepts a former password, or would after a restart",
        effect=Effect.HOT,
        risk=Risk.MEDIUM,
        risk_reason="whatever still uses a former password cannot connect any more",
        needs="every server was started with the new password, and works",
        inverse=Inverse("point of no return: former passwords are not kept"),
    )
    return step, payload[1]


def _make_payload(redis: RedisNode, password: Secret, logins: tuple[str, ...]) -> tuple[str, Payload]:
    """The passwords as a payload: they are masked in every answer, and never sent if one is unknown."""
    document = {"password": password, "logins": [Secret(one) for one in logins]}
    missing = {str(password): password.missing} if password.missing else {}
    digest = fingerprint(["redis-password", redis.name, str(password)])
    return digest, Payload(document, missing=missing)


def _share(desired: CollabDesired, action: str) -> dict[str, Any]:
    timeouts = desired.entry.timeouts
    return {
        "timeout": timeouts.read,
        "connect": timeouts.connect,
        "feedback_api": _APIS[action],
        "former": dict(desired.former_urls),
    }


def _name_file(place: FilePlace | None, digest: str) -> dict[str, Any]:
    """The file that a process loads, with the content that it must have; nothing where none is known."""
    if place is None or not digest:
        return {}
    return {"entry": place.entry, "host": place.host, "digest": digest}


def _list_urls(desired: CollabDesired, names: Iterable[str]) -> dict[str, str]:
    servers = {name: desired.entry.server(name) for name in sorted(set(names))}
    return {name: desired.get_status_url(one) for name, one in servers.items() if one is not None}


def _fill(command: NamedCommand | None, node: str, host: str) -> dict[str, str]:
    return fill_node_command(command, node, host) if command is not None else {}


def _make_step(
    desired: CollabDesired,
    node: str,
    action: str,
    arguments: CollabArguments,
    *,
    reason: str,
    effect: Effect,
    risk: Risk,
    risk_reason: str,
    needs: str,
    inverse: Inverse,
    is_manual: bool = False,
) -> Step:
    timeouts = desired.entry.timeouts
    return Step(
        id=f"{desired.entry.name}/{node}/{action}",
        cluster=desired.entry.name,
        node=node,
        action=action,
        arguments=arguments,
        reason=reason,
        effect=effect,
        risk=risk,
        risk_reason=risk_reason,
        needs=needs,
        inverse=inverse,
        is_manual=is_manual,
        settle=timeouts.settle,
        in_flight=timeouts.in_flight,
    )
