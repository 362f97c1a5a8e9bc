"""Which clusters a revision changes: a digest of all that a pass over a cluster takes from the files; pure.

A watch compares the digests of two revisions. Where they are equal, the newer one has nothing new for the
cluster: a running pass goes on, and the next one comes when it is due anyway. So a digest may differ without
need, which costs a pass, but it must never be equal by mistake. What is in doubt counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import orjson

from reconciler.core.bus_channels import ChannelIndex
from reconciler.core.secret import reveal
from reconciler.core.waves import sort_by_dependency
from reconciler.desired.fleet import Drivers, Fleet
from reconciler.documents.document import Document
from reconciler.ports.cluster_input import ClusterInput
from reconciler.text.json_pointer import resolve_pointer

NOT_CONTENT: Final = frozenset({"entry", "fleet", "pointer", "revision", "node_pointers"})
"""Fields of a cluster's input that are counted in another form (`entry` and `fleet` as the file has them), or
are places in the file, which move when another cluster is changed."""

_CLUSTERS: Final = "clusters"
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def compute_input_digests(fleet: Fleet, drivers: Drivers) -> dict[str, str]:
    """Cluster -> digest of its input. Secrets count with their values: store a digest only with a key.

    Args:
        fleet: one that was read without errors.
        drivers: kind -> product.
    """
    documents: dict[int, str] = {}
    common = _digest([_describe_common(fleet), *(_describe_document(one) for one in fleet.schema_files)])
    listeners = _describe_listeners(fleet, drivers)
    own = {
        one.entry.name: _digest([_describe_input(one, documents), listeners[one.entry.name]])
        for one in fleet.cluster_inputs
    }
    earlier = {one.entry.name: sorted(one.entry.after) for one in fleet.cluster_inputs}
    found: dict[str, str] = {}
    # What changes a cluster also changes those that wait for it, and those that wait for these.
    for name in sort_by_dependency(earlier):
        found[name] = _digest([common, own[name], [found[one] for one in earlier[name]]])
    return found


def _describe_common(fleet: Fleet) -> Any:
    """What counts for every cluster: the fleet file without the entries of clusters, but with their names."""
    raw = fleet.document.value
    if isinstance(raw, Mapping):
        raw = {key: value for key, value in raw.items() if key != _CLUSTERS}
    # A signature of another kind may satisfy a guard that the former one did not. Who signed counts for none.
    return [fleet.revision.source, fleet.revision.signed, sorted(fleet.clusters), raw]


def _describe_input(cluster_input: ClusterInput, documents: dict[int, str]) -> Any:
    """What the files have for one cluster; `documents`: digests by identity, as nodes share settings."""
    entry = resolve_pointer(cluster_input.fleet.value, cluster_input.pointer)
    # A cluster whose settings have the commit is changed by each commit.
    has_commit = "commit" in (getattr(cluster_input.entry, "version", None), _get_version(cluster_input))
    found: list[Any] = [cluster_input.entry.kind, entry, cluster_input.revision.short if has_commit else ""]
    for field in fields(cluster_input):
        value = getattr(cluster_input, field.name)
        if field.name == "documents":
            for document in value.values():
                if id(document) not in documents:
                    documents[id(document)] = _digest(_describe_document(document))
            value = {node: documents[id(document)] for node, document in value.items()}
        elif field.name == "unmanaged":  # their pointers are places in the file
            value = {node: [one.text for one in found_fields] for node, found_fields in value.items()}
        if field.name not in NOT_CONTENT:
            found.append([field.name, value])
    return found


def _get_version(cluster_input: ClusterInput) -> Any:
    raw = cluster_input.fleet.value
    return raw.get("version") if isinstance(raw, Mapping) else None


def _describe_document(document: Document) -> Any:
    return [document.name, document.value]


def _describe_listeners(fleet: Fleet, drivers: Drivers) -> dict[str, Any]:
    """Cluster -> its channels of message buses, each with the nodes of the fleet that listen there.

    Guards look at nodes of other clusters that listen too. An address that two clusters have in common
    needs no such look: a fleet with one cannot be read.
    """
    channels = {
        one.entry.name: drivers[one.entry.kind].list_bus_channels(one) for one in fleet.cluster_inputs
    }
    listeners = ChannelIndex(
        (f"{name}/{one.node}", one.channel)
        for name, named in channels.items()
        for one in named
        if one.is_feed
    )
    return {
        name: [[one.node, one.channel.meeting, listeners.find(one.channel)] for one in named]
        for name, named in channels.items()
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(_encode(value)).hexdigest()


def _encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_simplify, option=_OPTIONS)
    except (TypeError, ValueError):  # integers beyond 64 bits, lone surrogates
        return json.dumps(reveal(value), sort_keys=True, default=_simplify_all).encode()


def _simplify(value: Any) -> Any:
    """What JSON does not have, as JSON; dataclasses, such as secrets, are written field by field."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    return repr(value)


def _simplify_all(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    return _simplify(value)
