"""A single `setting.json` without a fleet file, read as a fleet of its cluster's members; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any

from reconciler.core.cloud_expressions import (
    CloudTarget,
    InvalidExpression,
    is_embedded,
    parse_expression,
)
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
    groups is one node. A cloud expression stands for the instances that it means, which the inventory knows.

    Raises:
        InputError: a member is not an address, or there are none; with all other problems of the file.
    """
    unusable = list(_find_unusable_members(document))
    # Without the ports of members: these are the cluster's, and the API has another one.
    members = dict.fromkeys(
        filter(None, map(_get_member, (text for _, text in list_members(document.value))))
    )
    if unusable or not members:
        raise InputError([*unusable, *check_setting(document)])
    nodes = [_make_node(member) for member in members]
    return {"name": NAME, "kind": "m2", "setting": document.name, "nodes": nodes}


def _get_member(text: str) -> str:
    """The host or the cloud expression of a member, without a port; empty for what is neither."""
    if not is_embedded(text):
        return get_host(text)
    try:
        return f"#{replace(parse_expression(text), rest='')}"
    except InvalidExpression:
        return ""


def _make_node(member: str) -> dict[str, str]:
    if is_embedded(member):
        return {"inventory": member}
    # A node's name cannot have colons.
    name = IPv6Address(member).exploded.replace(":", "-") if ":" in member else member
    return {"name": name, "address": format_url_host(member)}


def _find_unusable_members(document: Document) -> Iterator[Diagnostic]:
    """Why members do not name nodes."""
    members = list(list_members(document.value))
    if not members:
        null = get_value(document.value, MEMBERS) is None
        why = "null, so that its nodes find each other by broadcast" if null else "empty"
        message = f"the nodes are unknown: `cluster.discover.members` is {why}"
        yield make_diagnostic(document, make_pointer(MEMBERS), "no-nodes", message, REMEDY)
    for path, text in members:
        if is_embedded(text):
            message = _describe_unusable(text)
        elif get_host(text):
            continue
        else:
            message = f'"{text}" is not an address'
        if message:
            yield make_diagnostic(document, make_pointer(path), "no-nodes", message, REMEDY)


def _describe_unusable(text: str) -> str:
    """Why a cloud expression does not name nodes; empty if it does."""
    try:
        if parse_expression(text).target is CloudTarget.VM:
            return ""
    except InvalidExpression as error:
        return error.message
    return f'"{text}" asks for load balancers, and the manual of M2 does not say which objects these are'
