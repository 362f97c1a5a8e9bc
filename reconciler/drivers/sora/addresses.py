"""Which URLs a Sora API may have: scheme, host and port; a path only where the host lists the address.

Otherwise whoever changes a fleet file, or a node that tells of other nodes, would choose the URL on a host to
which requests go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeAlias

from reconciler.core.endpoint import BadAddress, Endpoint, check_single_machine, parse_api
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.schema import SoraCluster
from reconciler.ports.desk import Desk

Allowed: TypeAlias = frozenset[tuple[str, str, int | None, str]]
"""Scheme, host, port and path of the addresses that may have one."""


def endpoints(entry: SoraCluster) -> dict[str, Endpoint]:
    """Node -> its `api`, without those that are no address."""
    found: dict[str, Endpoint] = {}
    for node in entry.nodes:
        with suppress(BadAddress):
            found[node.name] = parse_api(node.api)
    return found


def allowed_places(api_paths: Iterable[str]) -> Allowed:
    """Addresses with a path that a host allows, in their normal form; what is no address allows nothing."""
    found = set()
    for text in api_paths:
        with suppress(BadAddress):
            place = parse_api(text)
            found.add((place.scheme, *place.place))
    return frozenset(found)


def is_allowed(api: str, allowed: Allowed) -> bool:
    """Whether an address is scheme, host and port, or one that the host lists."""
    try:
        place = parse_api(api)
    except BadAddress:
        return False
    return not place.path or (place.scheme, *place.place) in allowed


def unfit_addresses(desk: Desk, entry: SoraCluster, allowed: Allowed) -> Iterator[Diagnostic]:
    """Addresses that are none, and those with a path that this host does not list."""
    for index, node in enumerate(entry.nodes):
        pointer = f"{desk.pointer}/nodes/{index}/api"
        where = desk.fleet.position(pointer)
        try:
            check_single_machine(parse_api(node.api))
        except BadAddress as error:
            words = f'"{node.api}" {error.message}'
            yield Diagnostic(
                Severity.ERROR, "bad-address", words, error.remedy, position=where, pointer=pointer
            )
            continue
        if not is_allowed(node.api, allowed):
            words = f"{node.api} has a path, and this host's configuration does not list that address"
            remedy = (
                "write scheme, host and port only, or list the address under `sora.api_paths` of the host"
            )
            yield Diagnostic(Severity.ERROR, "api-path", words, remedy, position=where, pointer=pointer)
