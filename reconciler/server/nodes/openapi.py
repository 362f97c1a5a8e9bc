"""The OpenAPI document of what nodes call: the routes of each product, with what the server adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reconciler import __version__
from reconciler.ports.central_server import CentralServer, NodeRoute, RouteKind

_PROBLEM: Final = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["message"],
            "properties": {"message": {"type": "string", "description": "What is wrong."}},
        }
    }
}

_TOKEN: Final = {
    "name": "token",
    "in": "path",
    "required": True,
    "description": "Of one node; it shows which node calls.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"},
}

_OFFER: Final = {
    "name": "offer",
    "in": "path",
    "required": True,
    "description": "Id of an offer, with its suffix.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$"},
}

_REFUSALS: Final = {
    "400": "The request is malformed, or a header came twice.",
    "403": "The address of the caller is not allowed.",
    "404": "There is no such URL.",
    "405": "The method is not allowed.",
    "410": "The URL has ended: the node left, or has a newer one.",
    "413": "The body is too large.",
    "417": "The expectation is unknown.",
    "429": "The node calls too often.",
    "431": "The head is too large.",
    "500": "An unexpected error; the log has the details.",
    "503": "Nothing is recorded for this node, or the report could not be stored: call again later.",
}

_DOWNLOAD_PARAMETERS: Final = [
    {"name": name, "in": "header", "schema": {"type": "string"}}
    for name in ("If-Match", "If-None-Match", "If-Range", "Range")
]


def make_openapi(products: Mapping[str, CentralServer]) -> dict[str, Any]:
    """The OpenAPI 3.1 document.

    Args:
        products: title -> its central server.
    """
    paths: dict[str, Any] = {}
    for title, product in sorted(products.items()):
        for route in product.routes:
            paths[_make_path(route)] = _complete(product.describe(route), route, title)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Node server of reconcile watch",
            "version": __version__,
            "description": "What nodes call; each below a path of its own, which is a secret.",
        },
        "paths": paths,
    }


def _make_path(route: NodeRoute) -> str:
    return f"/{{token}}/{route.path}" + ("/{offer}" if route.kind is RouteKind.DOWNLOAD else "")


def _complete(item: Mapping[str, Any], route: NodeRoute, title: str) -> dict[str, Any]:
    """A path item with its parameters, the method HEAD, and the answers that the server gives."""
    parameters = [_TOKEN, *([_OFFER] if route.kind is RouteKind.DOWNLOAD else [])]
    found: dict[str, Any] = {"parameters": parameters}
    for method, operation in item.items():
        found[method] = _complete_operation(operation, route, title)
        if method == "get":
            # The same answers, without a body.
            answers = {
                status: {key: value for key, value in answer.items() if key != "content"}
                for status, answer in found[method]["responses"].items()
            }
            found["head"] = {**found[method], "responses": answers}
    return found


def _complete_operation(operation: Mapping[str, Any], route: NodeRoute, title: str) -> dict[str, Any]:
    answers = dict(operation.get("responses", {}))
    parameters = list(operation.get("parameters", ()))
    if route.kind is RouteKind.DOWNLOAD:
        parameters += _DOWNLOAD_PARAMETERS
        answers |= {
            "206": {**answers["200"], "description": "A part of it."},
            "304": {"description": "The caller has it already."},
            "412": {"description": "The caller has another one."},
            "416": {"description": "It has no such part."},
        }
    for status, text in _REFUSALS.items():
        answer = answers.get(status, {"description": text})
        answers[status] = {**answer, "content": _PROBLEM}
    more = {"parameters": parameters} if parameters else {}
    return {**operation, "tags": [title], **more, "responses": dict(sorted(answers.items()))}
