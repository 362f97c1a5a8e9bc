"""The routes of M2's nodes as OpenAPI 3.1 path items; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reconciler.core.json_schema import Schema
from reconciler.drivers.m2.central_server import feeds, report_reader
from reconciler.drivers.m2.central_server.messages import make_message_schema
from reconciler.ports.central_server import NodeRoute

_DATE: Final = {"type": "string", "examples": ["Tue, 11 Oct 2022 12:45:26 GMT"]}
_LAST_MODIFIED: Final = {
    "Last-Modified": {"description": "Of the offer; the next poll returns it.", "schema": _DATE}
}
_POLL_HEADERS: Final = [
    {
        "name": "If-Modified-Since",
        "in": "header",
        "description": "`Last-Modified` of the last answer; a poll without a valid date is a first poll.",
        "schema": _DATE,
    },
    {
        "name": "X-M2-Setting-Meta-Version",
        "in": "header",
        "description": "`meta.version` of the setting that the node has loaded.",
        "schema": {"type": "string"},
    },
]
_SETTING_CALL: Final = "^/setting/"
_PURGE_CALL: Final = f"^/command/([\\s\\S]*/)?({'|'.join(sorted(report_reader.PURGES))})$(?!\\n)"
_OTHER_ACTION: Final = {
    "type": "object",
    "required": ["api"],
    "properties": {
        "api": {"type": "string", "not": {"anyOf": [{"pattern": _SETTING_CALL}, {"pattern": _PURGE_CALL}]}}
    },
}
_TGZ: Final = {feeds.TGZ: {"schema": {"type": "string", "contentEncoding": "binary"}}}
_UNCHANGED: Final = {"description": "There is no newer offer for this node."}


def describe_route(route: NodeRoute) -> Mapping[str, Any]:
    """The operations of a route; the server adds parameters of the path, and the answers that it gives."""
    if route == feeds.REPORT:
        return {"post": _describe_report()}
    if route == feeds.PACKAGE:
        answer = {"description": "The package of an offer.", "content": _TGZ}
        return {"get": {"summary": "Download a package", "responses": {"200": answer}}}
    if route == feeds.TGZ_SETTING:
        return {"get": _describe_poll("Poll for a package (tgzPolling)", "The package itself.", _TGZ)}
    kind = "purge.feed" if route == feeds.PURGE else "setting.feed"
    content = {"application/json": {"schema": inline_references(make_message_schema(kind))}}
    what = "a purge" if route == feeds.PURGE else "a setting"
    return {"get": _describe_poll(f"Poll for {what} (apiPolling)", f"A message `{kind}`.", content)}


def _describe_poll(summary: str, description: str, content: Mapping[str, Any]) -> dict[str, Any]:
    answer = {"description": description, "headers": _LAST_MODIFIED, "content": content}
    return {
        "summary": summary,
        "parameters": _POLL_HEADERS,
        "responses": {"200": answer, "304": _UNCHANGED},
    }


def _describe_report() -> dict[str, Any]:
    return {
        "summary": "Report",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": make_report_schema()}},
        },
        "responses": {
            "204": {"description": "The report is stored."},
            "400": {"description": "It is not a report of a known form."},
        },
    }


def make_report_schema() -> Schema:
    """The schema of any report; each is of exactly one kind."""
    setting = {"type": "string", "pattern": _SETTING_CALL}
    purge = {"type": "string", "pattern": _PURGE_CALL}
    no_action = {"type": "null"}
    return {
        "oneOf": [
            _restrict(report_reader.SETTING, action={"properties": {"api": setting}}),
            _restrict(report_reader.PURGE, action={"properties": {"api": purge}}),
            _restrict(report_reader.NODELIST, action=no_action),
            {**_restrict(report_reader.HEARTBEAT, action=no_action, nodelist=False), "title": "Heartbeat"},
            {**_restrict(report_reader.HEARTBEAT, action=_OTHER_ACTION), "title": "Any other report"},
        ]
    }


def _restrict(kind: str, **properties: Any) -> Schema:
    """The schema of a kind of message, with further rules for some of its properties."""
    schema = inline_references(make_message_schema(kind))
    known = schema["properties"]
    for name, rules in properties.items():
        known[name] = _merge(known[name], rules) if name in known else rules
    required = [name for name, rules in properties.items() if rules == _OTHER_ACTION]
    return {**schema, "required": [*schema["required"], *required]}


def _merge(schema: Schema, rules: Schema) -> Schema:
    properties = {
        name: {**schema["properties"].get(name, {}), **rule} for name, rule in rules["properties"].items()
    }
    return {**schema, "properties": {**schema["properties"], **properties}}


def inline_references(schema: Schema) -> Schema:
    """A schema without definitions of its own: OpenAPI documents have theirs at another place."""
    definitions = schema.get("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, Mapping):
            if "$ref" in value:
                rest = {key: own for key, own in value.items() if key != "$ref"}
                return {**inline(definitions[value["$ref"].rpartition("/")[2]]), **rest}
            return {key: inline(own) for key, own in value.items() if key not in ("$defs", "$schema", "$id")}
        return [inline(own) for own in value] if isinstance(value, list) else value

    found: Schema = inline(schema)
    return found
