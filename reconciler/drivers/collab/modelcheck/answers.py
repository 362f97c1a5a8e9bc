"""What the nodes of a modelled cluster show, and what a store remembers of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus

from reconciler.core.observation import FileReading, Observation, Observed, Present, Unreachable
from reconciler.drivers.collab import machine
from reconciler.drivers.collab.cluster_state import (
    CollabState,
    accepts_password,
    drop_passwords,
    hash_password,
)
from reconciler.drivers.collab.cluster_view import ClusterView
from reconciler.drivers.collab.delivery import find_login_password
from reconciler.drivers.collab.facts import LEAVING, OUTDATED, STARTED
from reconciler.drivers.collab.modelcheck.world import ModelSite, ModelWorld, name_model_start
from reconciler.drivers.collab.nginx_span import MARKER_HEADER
from reconciler.drivers.collab.redis_plan import list_logins
from reconciler.drivers.collab.schema import CollabDesired
from reconciler.drivers.collab.status_view import StatusView
from reconciler.drivers.collab.views import BalancerView, CollabView, RedisView

_NOT_RUNNING = Unreachable("connection refused")


def observe_world(site: ModelSite, world: ModelWorld) -> Observed[CollabView]:
    """What the driver's `observe` would see."""
    files: dict[str, dict[str, FileReading]] = {
        node: {entry: world.files[site.nodes.index(node)].read()} for node, entry in site.entries.items()
    }
    nodes: dict[str, Observation[CollabView]] = {}
    for number, name in enumerate(site.servers):
        status = _show_status(site, world.state, number)
        nodes[name] = Present(status) if status is not None else _NOT_RUNNING
    if site.redis:
        redis = _show_redis(site, world.state, files)
        nodes[site.redis] = Present(redis) if redis is not None else _NOT_RUNNING
    if site.balancer:
        balancer = _show_balancer(site, world.state)
        nodes[site.balancer] = Present(balancer) if balancer is not None else _NOT_RUNNING
    return Observed(nodes, files=files)


def _show_status(site: ModelSite, state: CollabState, number: int) -> StatusView | None:
    server = state.servers[number]
    own = server.running
    if own is None or server.starting:
        return None
    word, reason = machine.describe_state(state, number, site.choices)
    return StatusView(
        version=site.desired.entry.version or "1",
        state=word,
        reason=reason,
        pid=1 + server.starts,
        up_since="-",
        enable_tls=own.enable_tls,
        scaling=own.scaling,
        logging=own.logging,
        connections=server.connections,
    )


def _show_redis(
    site: ModelSite, state: CollabState, files: Mapping[str, Mapping[str, FileReading]]
) -> RedisView | None:
    redis = state.redis.running
    if redis is None:
        return None
    wanted = find_login_password(site.desired)
    password = hash_password(str(wanted.value)) if wanted is not None and not wanted.missing else ""
    logins = list_logins(site.desired, ClusterView(site.desired, Observed({}, files=files)))
    known = {password, *map(hash_password, logins)} - {""}
    is_in = not redis.needs_password or bool(known & redis.passwords)
    protected = "yes" if redis.is_protected else "no"
    port = redis.address.rpartition(":")[2]
    config = {
        **dict(redis.options),
        "bind": " ".join(redis.bind),
        "port": port,
        "protected-mode": protected,
    }
    return RedisView(
        run_id=f"run {state.redis.starts}" if is_in else "",
        accepts=accepts_password(redis, password, needless=False) if password else None,
        is_open=not redis.needs_password,
        passwords=redis.passwords if is_in else None,
        config=config if is_in else {},
        is_logged_in=is_in,
    )


def _show_balancer(site: ModelSite, state: CollabState) -> BalancerView | None:
    loaded = state.balancer.running
    if loaded is None:
        return None
    known = [site.addresses.index(one) for one in loaded.servers if one in site.addresses]
    statuses = (_show_status(site, state, number) for number in known)
    status = next((one for one in statuses if one is not None), None) if loaded.has_status else None
    is_handed_on = loaded.has_handshake and any(
        state.servers[number].running is not None and not state.servers[number].starting for number in known
    )
    handshake = HTTPStatus.SWITCHING_PROTOCOLS if is_handed_on else HTTPStatus.BAD_GATEWAY
    marker = dict(loaded.headers).get(MARKER_HEADER, "")
    return BalancerView(status=status, marker=marker, handshake=handshake)


def recall_starts(site: ModelSite, world: ModelWorld) -> CollabDesired:
    """The desired state with what the store remembers: which processes use a former file."""
    state, facts = world.state, {name: dict(own) for name, own in site.desired.recalled.items()}
    for number, name in enumerate(site.servers):
        server = state.servers[number]
        start = name_model_start(server)
        own = facts.setdefault(name, {})
        own[STARTED] = start
        loaded = site.load_server(world.files, name)
        is_former = server.running is not None and server.running != loaded
        own[OUTDATED] = start if is_former and name in site.entries else ""
    if site.redis and site.redis in site.entries:
        running, loaded_redis = state.redis.running, site.load_redis(world.files)
        is_former = running is not None and (
            loaded_redis is None or drop_passwords(running) != drop_passwords(loaded_redis)
        )
        facts.setdefault(site.redis, {})[OUTDATED] = f"run {state.redis.starts}" if is_former else ""
    if site.balancer:
        loaded_file = site.load_balancer(world.files)
        left = [
            one.name
            for one in site.desired.former
            if loaded_file is not None and one.address not in loaded_file.servers
        ]
        facts.setdefault(site.balancer, {})[LEAVING] = ",".join(left)
    return replace(site.desired, recalled=facts)
