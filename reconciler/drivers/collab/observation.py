"""Reads the nodes of a cluster: all of them for a plan, and for a step those that show its status."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from reconciler.core.file_state import FilePlace
from reconciler.core.observation import (
    Liveness,
    Observation,
    Observed,
    Present,
    Unauthorized,
    Unidentified,
    Unreachable,
)
from reconciler.core.plan import Step
from reconciler.drivers.collab.arguments import (
    CollabArguments,
    DropPasswordArguments,
    FileUseArguments,
    RedisPasswordArguments,
    ReloadArguments,
    StopArguments,
    read_collab_arguments,
)
from reconciler.drivers.collab.balancer_client import BalancerClient
from reconciler.drivers.collab.cluster_view import ClusterView
from reconciler.drivers.collab.delivery import add_file_tls, find_former_urls, find_login_password
from reconciler.drivers.collab.facts import OUTDATED, STATUS
from reconciler.drivers.collab.redis_client import RedisClient
from reconciler.drivers.collab.redis_keys import PROTECTED
from reconciler.drivers.collab.redis_plan import list_logins
from reconciler.drivers.collab.schema import CollabDesired
from reconciler.drivers.collab.status_client import StatusClient
from reconciler.drivers.collab.status_view import StatusView
from reconciler.drivers.collab.views import CollabView
from reconciler.errors import NodeError, NodeUnauthorized, NodeUnidentified, NodeUnreachable
from reconciler.file_delivery.reading import read_node_files, read_step_file
from reconciler.file_delivery.steps import SwitchArguments, is_file_step, read_file_arguments
from reconciler.host.defect_capture import capture_defects
from reconciler.ports.transport import Transports

MAX_CALLS: Final = 32
"""Servers that are read at the same time."""

_STATUS_TIME: Final = 10.0
"""Seconds for the status of a server whose file is switched: the step has no bound of its own."""

WATCHED_KEYS: Final = ("bind", "port", PROTECTED)
"""Keys of redis.conf whose running values are read."""


async def observe_cluster(desired: CollabDesired, transports: Transports) -> Observed[CollabView]:
    """Read all files first, since they have the passwords that let this host in, then all nodes."""
    entry, timeouts = desired.entry, desired.entry.timeouts
    configs = (desired.get_config_place(server) for server in entry.nodes)
    places = (*configs, desired.get_redis_place(), desired.get_balancer_place())
    files = await read_node_files(transports.files, [one for one in places if one is not None])
    desired = add_file_tls(desired, Observed({}, files=files))
    urls = {server.name: desired.get_status_url(server) for server in entry.nodes}
    urls |= {server.name: desired.get_status_url(server) for server in desired.former}
    former = {
        server.name: find_former_urls(desired, Observed({}, files=files), server) for server in entry.nodes
    }
    jobs: dict[str, Awaitable[Observation[CollabView]]] = {}
    if entry.redis is not None:
        view = ClusterView(desired, Observed({}, files=files))
        password = find_login_password(desired)
        clear = str(password.value) if password is not None and not password.missing else ""
        redis = RedisClient(
            transports.streams,
            entry.redis.name,
            entry.redis.address,
            timeouts.read,
            logins=list_logins(desired, view),
        )
        jobs[entry.redis.name] = _observe(
            entry.redis.name, lambda: redis.observe(clear, [*(desired.redis_keys or ()), *WATCHED_KEYS])
        )
    if entry.balancer is not None:
        jobs[entry.balancer.name] = _observe_balancer(
            transports, entry.balancer.name, entry.balancer.url, timeouts.read, timeouts.connect
        )
    servers, others = await asyncio.gather(
        _observe_servers(transports, urls, timeouts.read, timeouts.connect, former), _gather(jobs)
    )
    return Observed({**servers, **others}, files=files)


async def observe_step(step: Step, transports: Transports) -> Observed[CollabView]:
    """Read what shows the status of one step, with nothing but its arguments."""
    if is_file_step(step):
        return await _observe_file(step, transports)
    own = read_collab_arguments(step)
    jobs: dict[str, Awaitable[Observation[CollabView]]] = {}
    if own.redis:
        redis = RedisClient(transports.streams, own.redis, own.address, own.timeout, logins=own.logins)
        jobs[own.redis] = _observe(own.redis, lambda: redis.observe(own.password))
    if isinstance(own, ReloadArguments):
        jobs[step.node] = _observe_balancer(transports, step.node, own.url, own.timeout, own.connect)
    if isinstance(own, StopArguments) and own.balancer:
        name = f"{step.node} (load balancer)"
        jobs[name] = _observe_balancer(transports, name, own.balancer, own.timeout, own.connect)
    files, servers, others = await asyncio.gather(
        read_node_files(transports.files, _list_places(step, own)),
        _observe_servers(
            transports,
            own.servers,
            own.timeout,
            own.connect,
            {name: (url,) for name, url in own.former.items()},
        ),
        _gather(jobs),
    )
    return Observed({**servers, **others}, files=files)


async def _observe_file(step: Step, transports: Transports) -> Observed[CollabView]:
    """The file of a step, and of a switch the server that uses it."""
    seen: Observed[CollabView] = await read_step_file(step, transports)
    own = read_file_arguments(step)
    facts = own.intent_facts.get(step.node, {}) if isinstance(own, SwitchArguments) else {}
    if not (facts.get(OUTDATED) and facts.get(STATUS)):
        return seen
    servers = await _observe_servers(transports, {step.node: facts[STATUS]}, _STATUS_TIME, _STATUS_TIME)
    return replace(seen, nodes=servers)


def _list_places(step: Step, own: CollabArguments) -> list[FilePlace]:
    places: list[FilePlace] = []
    if isinstance(own, FileUseArguments | RedisPasswordArguments) and own.entry:
        places.append(FilePlace(own.entry, step.node, own.host))
    if isinstance(own, DropPasswordArguments):
        places += (FilePlace(own.config, name, host) for name, host in own.hosts.items())
    return places


async def _observe_servers(
    transports: Transports,
    urls: Mapping[str, str],
    read: float,
    connect: float,
    former: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> dict[str, Observation[CollabView]]:
    """What the servers show where they are to answer, or else where they have answered before.

    Args:
        transports: the ways to the nodes.
        urls: server -> where it is to answer.
        read: seconds for one call.
        connect: seconds for its connection.
        former: server -> where its process may still answer.
    """
    slots = asyncio.Semaphore(MAX_CALLS)

    async def ask(name: str, url: str) -> Observation[CollabView]:
        async with slots:
            answer = await _observe(name, StatusClient(transports.http, name, url, read, connect).read)
            for other in former.get(name, ()) if not isinstance(answer, Present) else ():
                client = StatusClient(transports.http, name, other, read, connect)
                found = await _observe(name, client.read)
                if isinstance(found, Present) and isinstance(found.value, StatusView):
                    return Present(replace(found.value, url=other))
                # Only if nothing accepts connections at any of them does it not run.
                if not (isinstance(found, Unreachable) and found.liveness is Liveness.SILENT):
                    answer = found
            return answer

    return await _gather({name: ask(name, url) for name, url in urls.items()})


def _observe_balancer(
    transports: Transports, name: str, url: str, read: float, connect: float
) -> Awaitable[Observation[CollabView]]:
    return _observe(name, BalancerClient(transports.http, name, url, read, connect).observe)


async def _gather(
    jobs: Mapping[str, Awaitable[Observation[CollabView]]],
) -> dict[str, Observation[CollabView]]:
    answers: Iterable[Observation[CollabView]] = await asyncio.gather(*jobs.values())
    return dict(zip(jobs, answers, strict=True))


async def _observe(name: str, read: Callable[[], Awaitable[CollabView]]) -> Observation[CollabView]:
    return await capture_defects(name, _read(read))


async def _read(read: Callable[[], Awaitable[CollabView]]) -> Observation[CollabView]:
    """What a node shows; a failure is an observation."""
    try:
        return Present(await read())
    except NodeUnauthorized as error:
        return Unauthorized(error.reason, remedy=error.remedy)
    except NodeUnidentified as error:
        return Unidentified(error.reason, remedy=error.remedy)
    except NodeUnreachable as error:
        return Unreachable(error.reason, Liveness(error.sign), remedy=error.remedy)
    except NodeError as error:
        # Any other failure is an answer of something: the node is not proven silent.
        return Unreachable(error.reason, Liveness.ALIVE, remedy=error.remedy)
