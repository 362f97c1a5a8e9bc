"""Thousands of nodes whose settings differ in a few values share the rest; pure."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.drivers.m2.machine import AcceptedSetting, M2NodeState, NodePackage


def share_content(state: M2NodeState, other: M2NodeState | None) -> M2NodeState:
    """The same state, with those parts of its latest setting that are equal in another state from there."""
    # Settings are never changed in place, so that sharing is not visible. Only the latest one is compared:
    # the earlier ones were compared when they were loaded.
    if other is None or state.loaded is None or other.loaded is None or state.loaded is other.loaded:
        return state
    before = state.loaded
    document = share_value(before.document, other.loaded.document)
    resources = share_value(dict(before.package.resources), dict(other.loaded.package.resources))
    package = NodePackage(before.package.text, resources)
    loaded = AcceptedSetting(document, package)
    running = document if state.running is before.document else share_value(state.running, document)
    history = tuple(loaded if setting is before else setting for setting in state.history)
    local = package if state.local is before.package else state.local
    return replace(state, loaded=loaded, running=running, history=history, local=local)


def share_value(value: Any, other: Any) -> Any:
    """An equal value with as many parts of `other` as possible; `other` itself if it is equal throughout."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        shared = {key: share_value(one, other.get(key)) for key, one in value.items()}
        is_equal = list(value) == list(other) and all(one is other[key] for key, one in shared.items())
        return other if is_equal else shared
    if isinstance(value, list) and isinstance(other, list):
        items = [
            share_value(one, other[index] if index < len(other) else None) for index, one in enumerate(value)
        ]
        is_equal = len(items) == len(other) and all(map(operator.is_, items, other))
        return other if is_equal else items
    # The type too: 1, 1.0 and True are equal in Python, and different in JSON.
    return other if type(value) is type(other) and value == other else value
