"""Cloud expressions of settings that are no members: origins of virtual hosts, lists of nodes; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reconciler.core.cloud_expressions import (
    CloudExpression,
    CloudProvider,
    CloudTarget,
    InvalidExpression,
    is_embedded,
    parse_expression,
    parse_tags,
)
from reconciler.drivers.m2.setting.connections import SERVER
from reconciler.drivers.m2.setting.diagnostics import get_items, get_named_items, get_object
from reconciler.ports.cluster_input import ClusterInput
from reconciler.text.json_pointer import make_pointer
from reconciler.text.one_line import LONGEST_NAME, make_one_line

_PROVIDERS: Final = {"awssdk3": CloudProvider.AWS, "oci": CloudProvider.OCI}
"""Type of a feed -> the cloud that it asks (M2 manual, Features)."""

_MOST: Final = 50
"""Expressions of one cluster that are told."""


def find_cloud_origins(cluster_input: ClusterInput) -> dict[str, CloudExpression]:
    """Place in the settings of a cluster, in words -> a cloud expression there, if it is well-formed."""
    found: dict[str, CloudExpression] = {}
    for document in {id(one): one for one in cluster_input.documents.values()}.values():
        found |= _find_origins(document.value)
        found |= _find_list(document.value)
    return dict(list(found.items())[:_MOST])


def _find_origins(value: Any) -> dict[str, CloudExpression]:
    found: dict[str, CloudExpression] = {}
    for index, name, _ in get_named_items(value, "hosting"):
        for place, text in get_items(value, "hosting", index, "origin", "address"):
            if isinstance(text, str) and is_embedded(text):
                try:
                    expression = parse_expression(text)
                except InvalidExpression:
                    continue
                found[f"origin.address/{place} of {make_one_line(name, LONGEST_NAME)}"] = expression
    return found


def _find_list(value: Any) -> dict[str, CloudExpression]:
    feature: Mapping[str, Any] = get_object(value, *SERVER, "features", "nodelist")
    feed: Mapping[str, Any] = get_object(feature, "feed")
    provider, text = _PROVIDERS.get(str(feed.get("type"))), get_object(feed, "info").get("tag")
    if feature.get("enable") is not True or provider is None or not isinstance(text, str):
        return {}
    try:
        return {"nodelist.tag": CloudExpression(provider, CloudTarget.VM, parse_tags(text))}
    except InvalidExpression:
        return {}


def list_moving_origins(setting: Any) -> tuple[str, ...]:
    """The pointers of origins that a node replaces while it runs, by the names of their virtual hosts.

    Its setting stays as it was delivered (M2 manual, nodelist), so that the two differ and nothing waits.
    """
    feature = get_object(setting, *SERVER, "features", "nodelist")
    listed = get_named_items(feature, "feedback", "info", "hosting") if feature.get("enable") is True else []
    names = {name for _, name, _ in listed}
    for index, name, _ in get_named_items(setting, "hosting"):
        addresses = get_items(setting, "hosting", index, "origin", "address")
        if any(isinstance(text, str) and is_embedded(text) for _, text in addresses):
            names.add(name)
    return tuple(make_pointer(("hosting", name, "origin", "address")) for name in sorted(names))
