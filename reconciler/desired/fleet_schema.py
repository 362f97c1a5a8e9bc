"""The JSON Schema of the fleet file, with the clusters of every product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reconciler.core.cron import BEYOND as CRON_BEYOND
from reconciler.core.entries import ClusterEntry, InventoryItem
from reconciler.core.json_schema import (
    Schema,
    SchemaTitle,
    finish_schema,
    make_conditions,
    make_definitions,
    make_reference,
)
from reconciler.desired.fleet_file import FleetFile, make_fleet_file_model, make_joint_policy_model
from reconciler.ports.driver import Driver

FLEET: Final = SchemaTitle(
    "fleet",
    "Fleet file",
    "The clusters of a fleet, and how they may be changed.",
    beyond=(
        "names of clusters and names of nodes are unique",
        "every node, file, address and setting that is named exists",
        "a JSON Patch fits the document it is applied to",
        "days and time zones exist, a freeze ends after it begins, a duration is at most 366 days",
        CRON_BEYOND,
        "references to secrets are in overlays only",
        "tags of a cloud expression have a key, its port is at most 65535, and it asks for `vm`",
    ),
)


def make_fleet_schema(drivers: Mapping[str, Driver[Any, Any]]) -> Schema:
    """The schema of a fleet file whose clusters are of these products."""
    entries = {kind: drivers[kind].entry for kind in sorted(drivers)}
    limits = make_joint_policy_model(drivers.values())
    found = make_definitions([make_fleet_file_model(limits), limits, *entries.values()])
    whole = found.pop(FleetFile.__name__)
    for kind, entry in entries.items():
        own = found[entry.__name__]["properties"]
        own["kind"] = {**own["kind"], "const": kind}
        if entry.takes_inventory:
            _add_inventory(found, entry)
        own.setdefault("policy", {**make_reference(limits), "description": "Limits of this cluster."})
    whole["properties"]["clusters"] |= {
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {"kind": {"enum": list(entries), "description": "The product that its nodes run."}},
            "required": ["kind"],
            "allOf": make_conditions(
                "kind", {kind: make_reference(entry) for kind, entry in entries.items()}
            ),
        },
    }
    return finish_schema({**whole, "$defs": found}, FLEET)


def _add_inventory(found: dict[str, Any], entry: type[ClusterEntry]) -> None:
    """Let an item of `nodes` be one for the instances of a cloud, with the other keys of a node."""
    items = found[entry.__name__]["properties"]["nodes"]["items"]
    node = found[items["$ref"].rpartition("/")[2]]
    item = make_definitions([InventoryItem])[InventoryItem.__name__]
    rest = {key: value for key, value in node["properties"].items() if key not in {"name", "address"}}
    made = {**item, "properties": {**item["properties"], **rest}}
    name = f"{entry.__name__}Inventory"
    found[name] = made
    reference = {"$ref": items["$ref"]}
    items.clear()
    items.update({"if": {"required": ["inventory"]}, "then": {"$ref": f"#/$defs/{name}"}, "else": reference})
