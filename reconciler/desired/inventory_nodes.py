"""Nodes that an inventory gives: items of `nodes` with a cloud expression become one node for each instance.

Pure: what the clouds answered is given. A node is named by the id of its instance, which no other instance
ever gets; so the history of a node is that of its instance, whatever address it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.core.cloud_expressions import (
    CloudExpression,
    CloudTarget,
    InvalidExpression,
    parse_expression,
)
from reconciler.core.endpoint import InvalidAddress, parse_endpoint
from reconciler.desired.fleet_file import find_fleet_file
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document, make_diagnostic, parse_document
from reconciler.errors import InputError
from reconciler.ports.cluster_input import InventoryNode
from reconciler.ports.driver import Driver
from reconciler.ports.inventory import Instance, Inventory, InventoryList, InventoryQuery, UnreadInventory
from reconciler.ports.source import SourceFiles
from reconciler.text.one_line import quote_text

KEY: Final = "inventory"
"""Key of an item of `nodes` that stands for the instances of a cloud expression."""

ACCOUNT: Final = "account"
"""Key beside it: the entry of `aws` or `oci` of the host configuration."""

WRONG: Final = "bad-inventory"
"""Code of an item that cannot be asked for."""

_MARKS: Final = (b"#aws:", b"#oci:")
"""Beginnings of a cloud expression in a setting."""

_GIVEN: Final = ("name", "address")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")
_EXAMPLE: Final = "192.0.2"
"""Network of documentation, whose addresses nothing has."""


@dataclass(frozen=True, slots=True)
class ExpandedNodes:
    """The items of `nodes` with a node for each instance.

    Args:
        items: as plain data.
        origins: for each, the index of its item in the file.
        nodes: name -> where a node of the inventory comes from.
        problems: of items with a cloud expression.
        unread: why the instances of one are not known; then `items` has no node of an inventory.
    """

    items: tuple[Any, ...]
    origins: tuple[int, ...]
    nodes: Mapping[str, InventoryNode] = field(default_factory=dict)
    problems: tuple[Diagnostic, ...] = ()
    unread: UnreadInventory | None = None


def has_inventory(items: Any) -> bool:
    """Whether a list of nodes has an item with a cloud expression."""
    return isinstance(items, list) and any(isinstance(one, Mapping) and KEY in one for one in items)


def read_queries(files: SourceFiles, drivers: Mapping[str, Driver[Any, Any]]) -> tuple[InventoryQuery, ...]:
    """The queries of a revision, before it is read as a fleet; none of files with errors.

    Args:
        files: of the revision.
        drivers: kind -> product.
    """
    try:
        name, kind = find_fleet_file(tuple(files.names()), drivers)
        data = files.read(name)
        # Most fleets have none: their file is parsed once, as a fleet.
        if not any(mark in data for mark in (_MARKS if kind else (KEY.encode(),))):
            return ()
        document = parse_document(name, data)
        value = document.value
        if kind:
            return list_queries([drivers[kind].build_lone_entry(document)])
    except (FileNotFoundError, InputError):
        return ()
    clusters = value.get("clusters") if isinstance(value, Mapping) else None
    return list_queries(clusters if isinstance(clusters, list) else ())


def list_queries(clusters: Iterable[Any]) -> tuple[InventoryQuery, ...]:
    """The queries of all clusters, each once; items with errors are left out, and reported later.

    Args:
        clusters: as plain data.
    """
    found: dict[InventoryQuery, None] = {}
    for cluster in clusters:
        items = cluster.get("nodes") if isinstance(cluster, Mapping) else None
        for item in items if isinstance(items, list) else ():
            if isinstance(item, Mapping) and KEY in item:
                try:
                    expression, account = _read_item(item)
                except InvalidExpression:
                    continue
                found[InventoryQuery.of(expression, account)] = None
    return tuple(found)


def expand_nodes(
    items: Sequence[Any], inventory: Inventory, document: Document, pointer: str
) -> ExpandedNodes:
    """The nodes of a cluster.

    Args:
        items: of `nodes`, as plain data.
        inventory: what is known of the instances.
        document: the fleet file.
        pointer: of the list.
    """
    found: list[tuple[int, Any]] = []
    nodes: dict[str, InventoryNode] = {}
    problems: list[Diagnostic] = []
    unread: UnreadInventory | None = None
    for index, item in enumerate(items):
        if not isinstance(item, Mapping) or KEY not in item:
            found.append((index, item))
            continue
        place = f"{pointer}/{index}"
        problems += _find_given_keys(item, document, place)
        rest = {key: value for key, value in item.items() if key not in {KEY, ACCOUNT, *_GIVEN}}
        try:
            expression, account = _read_item(item)
        except InvalidExpression as error:
            problems.append(make_diagnostic(document, f"{place}/{KEY}", WRONG, error.message, error.remedy))
            # In place of the nodes, so that the other problems of the cluster are found too.
            (example,) = _make_example(place, index, inventory).instances
            found.append((index, {**rest, "name": example.id, "address": example.address}))
            continue
        query = InventoryQuery.of(expression, account)
        answer = inventory.find(query)
        if inventory.makes_examples and isinstance(answer, UnreadInventory):
            answer = _make_example(place, index, inventory)
        if isinstance(answer, UnreadInventory):
            unread = unread or answer
            continue
        for instance in answer.instances:
            if instance.id in nodes:
                unread = unread or _make_conflict(f"the instance {instance.id} fits two items of its `nodes`")
            nodes[instance.id] = InventoryNode(query, instance)
            address = expression.make_address(instance.address)
            found.append((index, {**rest, "name": instance.id, "address": address}))
    unread = unread or _find_shared_address(found, nodes)
    if unread is not None:
        found, nodes = [one for one in found if _get_name(one[1]) not in nodes], {}
    return ExpandedNodes(
        tuple(item for _, item in found), tuple(index for index, _ in found), nodes, tuple(problems), unread
    )


def find_shared_instances(clusters: Mapping[str, Iterable[str]]) -> dict[str, UnreadInventory]:
    """Cluster -> why it is not planned, for clusters that have an instance in common.

    Args:
        clusters: name -> ids of its instances.
    """
    first: dict[str, str] = {}
    found: dict[str, UnreadInventory] = {}
    for cluster, instances in clusters.items():
        for instance in instances:
            other = first.setdefault(instance, cluster)
            if other != cluster:
                for one, two in ((cluster, other), (other, cluster)):
                    found.setdefault(
                        one, _make_conflict(f"the instance {instance} is also in the cluster {two}")
                    )
    return found


def _read_item(item: Mapping[str, Any]) -> tuple[CloudExpression, str]:
    """The expression and the account of an item.

    Raises:
        InvalidExpression: one of them is wrong, or the expression means load balancers.
    """
    text, account = item[KEY], item.get(ACCOUNT, "")
    if not isinstance(text, str):
        raise InvalidExpression(f"`{KEY}` must be text with a cloud expression")
    if not isinstance(account, str) or (account and not _ACCOUNT.fullmatch(account)):
        raise InvalidExpression(
            f"`{ACCOUNT}` must be the name of an entry of `aws` or `oci` of the host configuration",
            "write the entry's name, or remove the key where the host has one account",
        )
    expression = parse_expression(text)
    if expression.target is CloudTarget.VIP:
        raise InvalidExpression(
            f"{quote_text(text)} asks for load balancers, and the manual of M2 does not say which objects of "
            "a cloud these are",
            "list their addresses as nodes, or use `vm`",
        )
    return expression, account


def _find_given_keys(item: Mapping[str, Any], document: Document, place: str) -> Iterator[Diagnostic]:
    for key in _GIVEN:
        if key in item:
            message = f"`{key}` comes from the inventory: it is another one for each instance"
            yield make_diagnostic(document, f"{place}/{key}", WRONG, message, "remove it")


def _find_shared_address(
    found: Sequence[tuple[int, Any]], nodes: Mapping[str, InventoryNode]
) -> UnreadInventory | None:
    """Why two nodes of a cluster are at one address, if one of them comes from the inventory."""
    first: dict[str, list[tuple[str, int | None]]] = {}
    for _, item in found:
        name, address = _get_name(item), item.get("address") if isinstance(item, Mapping) else None
        if not isinstance(address, str):
            continue
        try:
            place = parse_endpoint(address)
        except InvalidAddress:
            continue
        earlier = first.setdefault(place.host, [])
        for other, port in earlier:
            if (name in nodes or other in nodes) and (port == place.port or None in {port, place.port}):
                return _make_conflict(f"{other} and {name} have the same address, {address}")
        earlier.append((name, place.port))
    return None


def _make_conflict(why: str) -> UnreadInventory:
    return UnreadInventory(why, "correct the tags of the instances, or the items of the fleet file")


def _make_example(place: str, index: int, inventory: Inventory) -> InventoryList:
    """One instance that stands for all of an item, to check files without asking a cloud."""
    numbers = "-".join(part for part in place.split("/") if part.isdigit())
    example = Instance(f"example-{numbers}", f"{_EXAMPLE}.{index % 254 + 1}")
    return InventoryList((example,), inventory.at)


def _get_name(item: Any) -> str:
    name = item.get("name") if isinstance(item, Mapping) else None
    return name if isinstance(name, str) else ""
