"""Which URLs a Sora API may have: scheme, host and port; a path only where the host lists the address.

Otherwise an author of the fleet file, or a node that lists other nodes, could choose any URL on a host for
requests of the reconciler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from reconciler.core.endpoint import Endpoint, InvalidAddress, check_single_machine, parse_api
from reconciler.core.fields import StrictModel
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import make_diagnostic
from reconciler.drivers.sora.schema import SoraCluster
from reconciler.ports.cluster_input import ClusterInput

Allowed: TypeAlias = frozenset[tuple[str, str, int | None, str]]
"""Scheme, host, port and path of the addresses that may have one."""


def _check_api_address(text: str) -> str:
    """Refuse what cannot be the address of a Sora API: it would be listed without effect."""
    try:
        parse_api(text)
    except InvalidAddress:
        raise PydanticCustomError(
            "api_address", "it must be an address such as `https://node1.example.com/api`, without query"
        ) from None
    return text


ApiAddress = Annotated[
    str,
    AfterValidator(_check_api_address),
    WithJsonSchema({"type": "string", "pattern": r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"}),
]
"""The whole address of an API, which may have a path."""


class SoraRules(StrictModel):
    """Rules for Sora nodes."""

    api_paths: tuple[ApiAddress, ...] = Field(
        default=(),
        max_length=1000,
        description="Addresses of Sora APIs that may have a path; every other one is scheme, host and port.",
        examples=[["https://node1.example.com/api"]],
    )


def find_endpoints(entry: SoraCluster) -> dict[str, Endpoint]:
    """Node -> its `api`, without invalid ones."""
    found: dict[str, Endpoint] = {}
    for node in entry.nodes:
        with suppress(InvalidAddress):
            found[node.name] = parse_api(node.api)
    return found


def read_allowed_addresses(api_paths: Iterable[str]) -> Allowed:
    """Addresses with a path that a host allows, in their normal form; an invalid address allows nothing."""
    found = set()
    for text in api_paths:
        with suppress(InvalidAddress):
            place = parse_api(text)
            found.add((place.scheme, *place.place))
    return frozenset(found)


def is_allowed(api: str, allowed: Allowed) -> bool:
    """Whether an address is scheme, host and port, or one that the host lists."""
    try:
        place = parse_api(api)
    except InvalidAddress:
        return False
    return not place.path or (place.scheme, *place.place) in allowed


def find_unfit_addresses(
    cluster_input: ClusterInput, entry: SoraCluster, allowed: Allowed
) -> Iterator[Diagnostic]:
    """Invalid addresses, and those with a path that this host does not list."""
    for index, node in enumerate(entry.nodes):
        try:
            check_single_machine(parse_api(node.api))
        except InvalidAddress as error:
            code, words, remedy = "bad-address", f'"{node.api}" {error.message}', error.remedy
        else:
            if is_allowed(node.api, allowed):
                continue
            code = "api-path"
            words = f"{node.api} has a path, and this host's configuration does not list that address"
            remedy = (
                "write scheme, host and port only, or add it to `sora.api_paths` of the host configuration"
            )
        pointer = f"{cluster_input.pointer}/nodes/{index}/api"
        yield make_diagnostic(cluster_input.fleet, pointer, code, words, remedy)
