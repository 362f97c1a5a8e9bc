"""The JSON Schema of `setting.json`: the models, and the rules beside them that a schema can say."""

from __future__ import annotations

from collections.abc import Iterator
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
from reconciler.drivers.m2.setting.models import Group, SettingFile, SettingPart

SETTING: Final = SchemaTitle(
    "setting",
    "setting.json of an M2 node",
    "All that the reconciler knows of it; other keys pass through untouched. A reference to a secret, such "
    "as `${env:NAME}`, may stand for any text but a fixed word.",
    beyond=(
        "roles and connections that are named are there, connections of the fitting type",
        "roles and connections have different names",
        patterns.BEYOND,
        CRON_BEYOND,
    ),
)

_SIDES: Final = {
    ("setting", "feed"): ("SettingFeature", "Feed"),
    ("setting", "feedback"): ("SettingFeature", "SettingFeedback"),
    ("purge", "feed"): ("PurgeFeature", "Feed"),
    ("purge", "feedback"): ("PurgeFeature", "Feed"),
    ("heartbeat", "feedback"): ("HeartbeatFeature", "Feed"),
    ("nodelist", "feed"): ("NodelistFeature", "Feed"),
    ("nodelist", "feedback"): ("NodelistFeature", "Feed"),
}


def make_setting_schema() -> Schema:
    """The schema of a whole `setting.json`."""
    shapes = [*CONNECTIONS.values(), *(shape for types in FEEDS.values() for shape in types.values())]
    found = make_definitions([SettingFile, Group, *dict.fromkeys(shapes)])
    whole = found.pop(SettingFile.__name__)
    found["Discover"]["properties"]["members"].pop("items", None)
    found["Discover"]["properties"]["members"]["anyOf"] = list(_members())
    _connections(found["Connection"])
    for side, types in FEEDS.items():
        _side(found, side, types)
    return finish_schema({**whole, "$defs": found}, SETTING)


def _members() -> Iterator[Schema]:
    yield {"type": "array", "items": {"type": "string", "pattern": patterns.MEMBER}}
    yield {"type": "array", "items": make_reference(Group)}
    yield {"type": "null"}


def _connections(connection: Schema) -> None:
    """The types there are, and for each what `info` has."""
    connection["properties"]["type"]["enum"] = list(CONNECTIONS)
    connection["allOf"] = make_conditions("type", {kind: _info(shape) for kind, shape in CONNECTIONS.items()})


def _side(found: Schema, side: tuple[str, str], types: Types) -> None:
    """What a feed or feedback of a feature has to be where the feature is enabled.

    Where it is not, a node does not look at it, so that the check only warns.
    """
    feature, key = side
    model = found[_SIDES[side][0]]
    name = f"{feature}.{key}"
    known = ", ".join(types)
    model["properties"][key]["description"] += f" Types: {known}."
    found[name] = {
        "title": f"{key} of an enabled {feature}",
        "properties": {"type": {"anyOf": _known(side, types), "description": f"One of {known}."}},
        "allOf": _conditions(side, types),
    }
    model["if"] = {"properties": {"enable": {"const": True}}, "required": ["enable"]}
    model.setdefault("then", {"properties": {}})["properties"][key] = {"$ref": f"#/$defs/{name}"}


def _known(side: tuple[str, str], types: Types) -> list[Schema]:
    if side == JOINED:
        return [{"type": "string", "pattern": patterns.make_types_pattern(list(types))}, {"type": "null"}]
    return [{"enum": [*types]}, {"enum": ["", None]}]


def _conditions(side: tuple[str, str], types: Types) -> list[Schema]:
    rules = {kind: _info(shape) for kind, shape in types.items()}
    if side != JOINED:
        return make_conditions("type", rules)
    return [
        {
            "if": {
                "properties": {"type": {"type": "string", "pattern": patterns.make_contains_pattern(kind)}},
                "required": ["type"],
            },
            "then": then,
        }
        for kind, then in rules.items()
    ]


def _info(shape: type[SettingPart]) -> Schema:
    """`info` has this shape; a shape that requires something requires `info` itself."""
    needed = any(field.is_required() for field in shape.model_fields.values())
    rules: Schema = {"properties": {"info": make_reference(shape)}}
    return {**rules, "required": ["info"]} if needed else rules
