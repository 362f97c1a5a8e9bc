"""The OpenAPI document of the API, made from the types of its acts, reads and answers."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from reconciler import __version__
from reconciler.api.acts import ACTS
from reconciler.api.answers import TaskAnswer
from reconciler.server.json_api.queries import Query
from reconciler.server.json_api.reads import READS, Read
from reconciler.server.request_problems import MEDIA_TYPE, ProblemAnswer
from reconciler.text.one_line import LONGEST_NAME

_REFERENCES: Final = "#/components/schemas/{model}"

_REFUSALS: Final = {
    "400": "The request is malformed.",
    "401": "There is no login, or it has ended.",
    "403": "The caller may not do or see this, or the request must not be answered.",
    "404": "There is no such thing, or the caller may not see it.",
    "405": "The method is not allowed.",
    "422": "A value is unknown, missing or wrong.",
    "429": "Too many failed logins.",
    "500": "An unexpected error; the log has the details.",
    "503": "The store, the source or the nodes cannot be used now, or too much is going on.",
}
_ACT_REFUSALS: Final = {
    "408": "The body did not arrive in time.",
    "409": "The act is refused as things are now.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
}


def make_api_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    kinds: dict[Any, TypeAdapter[Any]] = {}
    for kind in (ProblemAnswer, TaskAnswer, *(read.answer for read in READS)):
        kinds.setdefault(kind, TypeAdapter(kind))
    for act in ACTS:
        kinds.setdefault(act.get_result_type(), TypeAdapter(act.get_result_type()))
    described: list[tuple[Any, Literal["serialization", "validation"], TypeAdapter[Any]]] = [
        (kind, "serialization", adapter) for kind, adapter in kinds.items()
    ]
    described += [(act, "validation", TypeAdapter(act)) for act in ACTS]
    found, rest = TypeAdapter.json_schemas(described, ref_template=_REFERENCES)
    schemas = {key: schema for (key, _), schema in found.items()}
    paths: dict[str, Any] = {"/api/v1/openapi.json": {"get": _describe_document()}}
    for read in READS:
        paths[f"/api/v1{read.path}"] = {
            "parameters": [_describe_name(name) for name in re.findall(r"\{(\w+)\}", read.path)],
            "get": _describe_read(read, schemas),
        }
    for act in ACTS:
        paths[f"/api/v1/acts/{act.name}"] = {
            "post": {
                "operationId": f"act-{act.name}",
                "summary": act.summary,
                "tags": ["acts"],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": schemas[act]}},
                },
                "responses": {
                    **_answer_with(schemas[act.get_result_type()]),
                    **_task(schemas),
                    **_refuse(schemas, _ACT_REFUSALS),
                },
            }
        }
    paths["/api/v1/tasks/{task}"] = {
        "parameters": [_describe_name("task")],
        "get": {
            "operationId": "read-task",
            "summary": "The answer of a request that took longer, once it is there.",
            "tags": ["tasks"],
            "responses": {
                **_answer_with({"type": "object"}),
                **_task(schemas),
                **_refuse(schemas, {"409": _ACT_REFUSALS["409"]}),
                "304": {"description": "The caller has it already."},
            },
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "API of reconcile watch",
            "version": __version__,
            "description": "What the watch knows, and what people may order of it.",
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": rest.get("$defs", {}),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _describe_read(read: Read, schemas: dict[Any, Any]) -> dict[str, Any]:
    described = {
        "operationId": f"read-{'-'.join(re.findall(r'[a-z]+', read.path))}",
        "summary": (read.run.__doc__ or "").strip().partition("\n")[0],
        "tags": [read.path.split("/")[1]],
        "parameters": _describe_query(read.query),
        "responses": {
            **_answer_with(schemas[read.answer]),
            **(_task(schemas) if read.is_slow else {}),
            **_refuse(schemas, {"409": "The files or the selection are not valid."}),
            "304": {"description": "The caller has it already."},
        },
    }
    return described if described["parameters"] else {k: v for k, v in described.items() if k != "parameters"}


def _describe_document() -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": "read-openapi",
        "summary": "This document.",
        "responses": {
            "200": {"description": "The document.", "content": content},
            "304": {"description": "The caller has it already."},
        },
    }


def _describe_name(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
    }


def _describe_query(query: type[Query]) -> list[dict[str, Any]]:
    properties = query.model_json_schema(ref_template=_REFERENCES).get("properties", {})
    return [
        {"name": name, "in": "query", "schema": schema, "description": schema.get("description", "")}
        for name, schema in properties.items()
    ]


def _answer_with(schema: Any) -> dict[str, Any]:
    return {"200": {"description": "The answer.", "content": {"application/json": {"schema": schema}}}}


def _task(schemas: dict[Any, Any]) -> dict[str, Any]:
    return {
        "202": {
            "description": "The work is not over yet: ask for the task.",
            "headers": {"Location": {"schema": {"type": "string"}}},
            "content": {"application/json": {"schema": schemas[TaskAnswer]}},
        }
    }


def _refuse(schemas: dict[Any, Any], more: dict[str, str]) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": schemas[ProblemAnswer]}}
    texts = dict(sorted({**_REFUSALS, **more}.items()))
    return {status: {"description": text, "content": content} for status, text in texts.items()}
