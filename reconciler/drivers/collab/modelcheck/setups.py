"""The world that the answers of nodes show, in which the model checker begins."""

from __future__ import annotations

from http import HTTPStatus

from reconciler.core.observation import Observed, Present
from reconciler.core.plan import ClusterPlan
from reconciler.core.product_model import ModelSetup
from reconciler.drivers.collab.cluster_state import (
    BalancerConfiguration,
    BalancerState,
    CollabState,
    RedisConfiguration,
    RedisState,
    ServerConfiguration,
    ServerState,
)
from reconciler.drivers.collab.cluster_view import is_silent, read_redis_view, read_status
from reconciler.drivers.collab.facts import OUTDATED
from reconciler.drivers.collab.modelcheck.model import CollabModel
from reconciler.drivers.collab.modelcheck.world import ModelSite, ModelWorld
from reconciler.drivers.collab.nginx_span import MARKER_HEADER
from reconciler.drivers.collab.schema import CollabDesired
from reconciler.drivers.collab.status_view import StatusView
from reconciler.drivers.collab.views import BalancerView, CollabView
from reconciler.file_delivery.model import ModelFile


def make_setups(
    desired: CollabDesired, observed: Observed[CollabView], plan: ClusterPlan
) -> tuple[ModelSetup[ModelWorld], ...] | str:
    """The world that the nodes' answers show, or why they show none."""
    model = CollabModel(desired)
    files: list[ModelFile] = []
    for node in model.nodes:
        entry = model.entries.get(node)
        reading = observed.files.get(node, {}).get(entry) if entry is not None else None
        if entry is not None and not isinstance(reading, Present):
            return f"the file {entry} of {node} cannot be read"
        files.append(ModelFile(reading.value.content if isinstance(reading, Present) else None))
    state = _read_state(model, observed, tuple(files))
    if isinstance(state, str):
        return state
    model.learn(plan)
    return (ModelSetup(model, (ModelWorld(state, tuple(files)),), desired, plan),)


def _read_state(
    site: ModelSite, observed: Observed[CollabView], files: tuple[ModelFile, ...]
) -> CollabState | str:
    """The state that the answers show, or why they show none."""
    servers: list[ServerState] = []
    for name in site.servers:
        status = read_status(observed, name)
        if status is None and not is_silent(observed, name):
            return f"it is not known whether {name} runs"
        servers.append(_read_server(site, name, status, files) if status is not None else ServerState())
    redis = _read_redis(site, observed, files)
    if isinstance(redis, str):
        return redis
    shown = observed.nodes.get(site.balancer)
    if site.balancer and not (isinstance(shown, Present) and isinstance(shown.value, BalancerView)):
        return f"it is not known what {site.balancer} has loaded"
    state = CollabState(tuple(servers), site.addresses, RedisState(redis, 1))
    if isinstance(shown, Present) and isinstance(shown.value, BalancerView):
        state = state._replace(balancer=BalancerState(_read_loaded(site, shown.value, files), 1))
    away = any(
        status is not None and status.lacks_database
        for status in (read_status(observed, name) for name in site.servers)
    )
    ways = {server.running.database for server in servers if server.running is not None}
    wanted = {loaded.database for name in site.servers if (loaded := site.load_server(files, name))}
    return state._replace(databases=frozenset(wanted if away else ways | wanted))


def _read_server(site: ModelSite, name: str, status: StatusView, files: tuple[ModelFile, ...]) -> ServerState:
    loaded = site.load_server(files, name) or ServerConfiguration(scaling=status.scaling or "none")
    if status.start == site.desired.recall(name, OUTDATED):
        loaded = loaded._replace(digest="former")
    has_session = not status.lacks_redis
    return ServerState(loaded, 1, has_session=has_session, connections=0)


def _read_redis(
    site: ModelSite, observed: Observed[CollabView], files: tuple[ModelFile, ...]
) -> RedisConfiguration | str | None:
    if not site.redis:
        return None
    view = read_redis_view(observed, site.redis)
    if view is None:
        return None if is_silent(observed, site.redis) else f"it is not known whether {site.redis} runs"
    loaded = site.load_redis(files) or site.make_fixed_redis()
    if view.passwords is not None:
        needs = not view.is_open
        loaded = loaded._replace(passwords=view.passwords, needs_password=needs)
    return loaded


def _read_loaded(site: ModelSite, view: BalancerView, files: tuple[ModelFile, ...]) -> BalancerConfiguration:
    loaded = site.load_balancer(files) or BalancerConfiguration(site.addresses, True, True, True)
    if dict(loaded.headers).get(MARKER_HEADER, "") != view.marker:
        headers = ((MARKER_HEADER, view.marker),) if view.marker else ()
        has_handshake = view.handshake == HTTPStatus.SWITCHING_PROTOCOLS
        loaded = loaded._replace(digest="former", headers=headers, has_handshake=has_handshake)
    return loaded
