"""A single `setting.json` without a fleet file, read as a fleet of its cluster's members; pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

from reconciler.core.endpoint import format_url_host
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document, make_diagnostic
from reconciler.drivers.m2.setting.check import MEMBERS, check_setting, get_host, list_members
from reconciler.drivers.m2.setting.diagnostics import get_value
from reconciler.errors import InputError
from reconciler.text.json_pointer import make_pointer

NAME = "m2"
"""The cluster's name."""

REMEDY = "list the addresses of the members, or add a fleet.yaml beside it that lists the nodes"


def make_single_file_fleet(document: Document) -> dict[str, Any]:
    """The cluster entry that a single `setting.json` is read as, in the form of the fleet file.

    Its nodes are the members, named by their addresses and reached at `api.port`; a member of several
    groups is one node.

    Raises:
        InputError: a member is not an address, or there are none; with all other problems of the file.
    """
    unusable = list(_find_unusable_members(document))
    # Without the ports of members: these are the cluster's, and the API has another one.
    hosts = dict.fromkeys(host for _, text in list_members(document.value) if (host := get_host(text)))
    if unusable or not hosts:
        raise InputError([*unusable, *check_setting(document)])
    nodes = [
        # A node's name cannot have colons.
        {
            "name": IPv6Address(host).exploded.replace(":", "-") if ":" in host else host,
            "address": format_url_host(host),
        }
        for host in hosts
    ]
    return {"name": NAME, "kind": "m2", "setting": document.name, "nodes": nodes}


def _find_unusable_members(document: Document) -> Iterator[Diagnostic]:
    """Why members do not name nodes."""
    members = list(list_members(document.value))
    if not members:
        null = get_value(document.value, MEMBERS) is None
        why = "null, so that its nodes find each other by broadcast" if null else "empty"
        message = f"the nodes are unknown: `cluster.discover.members` is {why}"
        yield make_diagnostic(document, make_pointer(MEMBERS), "no-nodes", message, REMEDY)
    for path, text in members:
        if text.startswith("#"):
            message = f'"{text}" is a cloud expression, which only the nodes can resolve'
        elif get_host(text):
            continue
        else:
            message = f'"{text}" is not an address'
        yield make_diagnostic(document, make_pointer(path), "no-nodes", message, REMEDY)
