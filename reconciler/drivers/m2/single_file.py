"""A lone `setting.json` as a fleet: its cluster's members are its nodes; pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

from reconciler.core.endpoint import InvalidAddress, format_url_host, parse_endpoint
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.drivers.m2.setting.check import MEMBERS, check_setting
from reconciler.drivers.m2.setting.diagnostics import Path, get_items, get_value
from reconciler.errors import InputError
from reconciler.text.json_pointer import make_pointer

NAME = "m2"
"""The cluster's name."""

REMEDY = "list the members' addresses, or write a fleet.yaml beside it that names the nodes"


def make_single_file_fleet(document: Document) -> dict[str, Any]:
    """The cluster that a lone `setting.json` stands for, as plain data of the fleet file.

    Its nodes are the members, named by their addresses and reached at `api.port`; a member that stands
    in several groups is one node. A member's own port is that of the cluster, not of the API.

    Raises:
        InputError: its members are not addresses; with everything else that is wrong in the file.
    """
    unusable = list(_unusable(document))
    hosts = dict.fromkeys(host for _, text in _members(document.value) if (host := _host(text)))
    if unusable or len(hosts) == 0:
        raise InputError([*unusable, *check_setting(document)])
    nodes = [{"name": _name(host), "address": format_url_host(host)} for host in hosts]
    return {"name": NAME, "kind": "m2", "setting": document.name, "nodes": nodes}


def _unusable(document: Document) -> Iterator[Diagnostic]:
    """What keeps the members from naming nodes."""
    members = list(_members(document.value))
    if not members:
        null = get_value(document.value, MEMBERS) is None
        why = "null, so that its nodes find each other by themselves" if null else "empty"
        yield _problem(document, MEMBERS, f"nothing names the nodes: `cluster.discover.members` is {why}")
    for path, text in members:
        if text.startswith("#"):
            said = f'"{text}" stands for addresses that only the nodes can find out'
            yield _problem(document, path, said)
        elif not _host(text):
            yield _problem(document, path, f'"{text}" is no address, so it names no node')


def _problem(document: Document, path: Path, message: str) -> Diagnostic:
    place = make_pointer(path)
    return Diagnostic(
        Severity.ERROR, "no-nodes", message, REMEDY, position=document.position(place), pointer=place
    )


def _members(document: Any) -> Iterator[tuple[Path, str]]:
    """(path, text) of every member, in groups or not."""
    for index, item in get_items(document, *MEMBERS):
        if isinstance(item, str):
            yield (*MEMBERS, index), item
        for place, node in get_items(item, "nodes"):
            if isinstance(node, str):
                yield (*MEMBERS, index, "nodes", place), node


def _host(text: str) -> str:
    try:
        return parse_endpoint(text).host
    except InvalidAddress:
        return ""


def _name(host: str) -> str:
    """A node's name from its address; colons cannot stand in one."""
    return IPv6Address(host).exploded.replace(":", "-") if ":" in host else host
