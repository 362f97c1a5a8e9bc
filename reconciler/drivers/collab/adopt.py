"""A cluster as its nodes show it, for the fleet file and the committed files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.core.endpoint import InvalidAddress, parse_endpoint
from reconciler.core.entries import Timeouts
from reconciler.core.observation import Observed, Present
from reconciler.core.secret import Secret
from reconciler.drivers.collab.delivery import parse_config_file
from reconciler.drivers.collab.redis_conf import read_redis_values
from reconciler.drivers.collab.schema import SERVER_PORT, CollabDesired
from reconciler.drivers.collab.status_client import StatusClient
from reconciler.drivers.collab.views import CollabView
from reconciler.errors import UsageError
from reconciler.file_delivery.content import UnfitFile
from reconciler.ports.driver import LiveState
from reconciler.ports.transport import Transports


async def make_entry(name: str, addresses: Sequence[str], transports: Transports) -> dict[str, Any]:
    """The cluster of the servers at some addresses, each of which has to show its status.

    A server does not know the others, Redis or the load balancer: these are added by hand.

    Raises:
        UsageError: an address is none.
        NodeError: one of them does not answer as a Collaboration Server.
    """
    waits = Timeouts()
    nodes: list[dict[str, Any]] = []
    for address in addresses:
        try:
            place = parse_endpoint(address.removesuffix("/status")).at(SERVER_PORT)
        except InvalidAddress as error:
            raise UsageError(
                f"--collab {name}: {address!r} {error.message}", remedy="write HOST:PORT of each server"
            ) from error
        url = f"{place.base(SERVER_PORT)}/status"
        await StatusClient(transports.http, place.host, url, waits.read, waits.connect).read()
        entry: dict[str, Any] = {"name": f"{name}-{len(nodes) + 1}", "host": place.host}
        entry |= {"port": place.port} if place.port != SERVER_PORT else {}
        nodes.append(entry | ({"status": url} if place.scheme == "https" else {}))
    return {"name": name, "kind": "collab", "nodes": nodes}


def read_live_state(desired: CollabDesired, observed: Observed[CollabView]) -> LiveState:
    """The committed keys with the values that the files of the nodes have."""
    documents: dict[str, Any] = {}
    missing: list[str] = []
    for server in desired.entry.nodes:
        place, wanted = desired.get_config_place(server), desired.configs.get(server.name)
        if place is None or wanted is None:
            continue
        reading = observed.files.get(place.node, {}).get(place.entry)
        if isinstance(reading, Present):
            documents[server.name] = _select(parse_config_file(reading.value.content), wanted)
        else:
            missing.append(f"the config.json of {server.name} cannot be read")
    place = desired.get_redis_place()
    if place is not None and desired.redis_keys is not None:
        reading = observed.files.get(place.node, {}).get(place.entry)
        try:
            found = read_redis_values(reading.value.content) if isinstance(reading, Present) else None
        except UnfitFile:
            found = None
        if found is None:
            missing.append("the redis.conf cannot be read")
        else:
            documents[place.node] = {
                key: _type_like(found[key], value)
                for key, value in desired.redis_keys.items()
                if key in found
            }
    return LiveState(
        documents=documents, missing=tuple(missing), open_points=tuple(_list_open_points(desired))
    )


def _select(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a file that are committed."""
    selected: dict[str, Any] = {}
    for key, value in wanted.items():
        if key in found:
            inner = found[key]
            is_object = isinstance(value, Mapping) and isinstance(inner, Mapping)
            selected[key] = _select(inner, value) if is_object else inner
    return selected


def _type_like(text: str, wanted: Any) -> Any:
    """A text of redis.conf in the form that the committed file has for it."""
    if isinstance(wanted, Secret) or not isinstance(wanted, int):
        return text
    return int(text) if text.isdigit() else text


def _list_open_points(desired: CollabDesired) -> list[str]:
    """What no server shows: it is known to the host configuration, or to people."""
    entry, found = desired.entry, []
    if entry.config is None:
        found.append("config.json is not managed: copy one from a server, and name it under `config`")
    if entry.redis is None:
        found.append("its Redis is not known: add `redis` with host and port")
    if entry.balancer is None:
        found.append("its load balancer is not known: add `loadBalancer` with its URL")
    if entry.restart is None:
        found.append("no restart command is known, so plans wait until an operator restarts a server")
    return [f"{entry.name}: {words}" for words in found]
