"""The JSON Schema of `setting.json`: the models, and those further rules that a schema can express; pure."""

from __future__ import annotations

from typing import Final

from reconciler.core.cron import BEYOND as CRON_BEYOND
from reconciler.core.json_schema import (
    Schema,
    SchemaTitle,
    finish_schema,
    make_conditions,
    make_definitions,
    make_reference,
)
from reconciler.drivers.m2.setting import patterns
from reconciler.drivers.m2.setting.feeds import CONNECTIONS, FEEDS, JOINED, Types
from reconciler.drivers.m2.setting.models import Features, Group, SettingFile, SettingPart

SETTING: Final = SchemaTitle(
    "setting",
    "setting.json of an M2 node",
    "The keys that the reconciler knows; other keys are sent to the nodes unchanged. A reference to a "
    "secret, such as `${env:NAME}`, may replace any text except a fixed value.",
    beyond=(
        "roles and connections that are referred to are defined, connections with the right type",
        "names of roles, of connections and of virtual hosts are unique",
        "ports in `listen`, in addresses of origins and of brokers are from 1 to 65535",
        patterns.BEYOND,
        CRON_BEYOND,
    ),
)


def make_setting_schema() -> Schema:
    """The schema of a whole `setting.json`."""
    infos = [*CONNECTIONS.values(), *(info for types in FEEDS.values() for info in types.values())]
    definitions = make_definitions([SettingFile, Group, *dict.fromkeys(infos)])
    whole = definitions.pop(SettingFile.__name__)
    members = definitions["Discover"]["properties"]["members"]
    members.pop("items", None)
    members["anyOf"] = [
        {"type": "array", "items": {"type": "string", "pattern": patterns.MEMBER}},
        {"type": "array", "items": make_reference(Group)},
        {"type": "null"},
    ]
    connection = definitions["Connection"]
    connection["properties"]["type"]["enum"] = list(CONNECTIONS)
    connection["allOf"] = make_conditions(
        "type", {kind: _make_info(info) for kind, info in CONNECTIONS.items()}
    )
    # Conditions, not a union of models: an editor then names the missing key instead of all models.
    for side, types in FEEDS.items():
        _add_side(definitions, side, types)
    return finish_schema({**whole, "$defs": definitions}, SETTING)


def _add_side(definitions: Schema, side: tuple[str, str], types: Types) -> None:
    """Add what a feed or feedback must be where its feature is enabled; elsewhere the check only warns."""
    feature, key = side
    kind = Features.model_fields[feature].annotation
    assert kind is not None
    model = definitions[kind.__name__]
    name = f"{feature}.{key}"
    known = ", ".join(types)
    infos = {kind: _make_info(info) for kind, info in types.items()}
    allowed: list[Schema] = [{"enum": [*types]}, {"enum": ["", None]}]
    conditions = make_conditions("type", infos)
    if side == JOINED:
        allowed = [{"type": "string", "pattern": patterns.make_types_pattern(list(types))}, {"type": "null"}]
        conditions = [
            {
                "if": {
                    "properties": {
                        "type": {"type": "string", "pattern": patterns.make_contains_pattern(kind)}
                    },
                    "required": ["type"],
                },
                "then": then,
            }
            for kind, then in infos.items()
        ]
    model["properties"][key]["description"] += f" Types: {known}."
    definitions[name] = {
        "title": f"{key} of an enabled {feature}",
        "properties": {"type": {"anyOf": allowed, "description": f"One of {known}."}},
        "allOf": conditions,
    }
    model["if"] = {"properties": {"enable": {"const": True}}, "required": ["enable"]}
    model.setdefault("then", {"properties": {}})["properties"][key] = {"$ref": f"#/$defs/{name}"}


def _make_info(model: type[SettingPart]) -> Schema:
    """`info` fulfils the model; where the model requires a key, `info` itself is required."""
    needed = any(field.is_required() for field in model.model_fields.values())
    rules: Schema = {"properties": {"info": make_reference(model)}}
    return {**rules, "required": ["info"]} if needed else rules
