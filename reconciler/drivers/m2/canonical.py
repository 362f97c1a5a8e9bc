"""The meaning of a `setting.json` as plain data: the same meaning gives the same value.

Documented defaults are made explicit, addresses take their one canonical form, and lists are sorted
where their order means nothing: roles and connections by name, permissions, brokers, functions of a
group, addresses of a propagation list, members that are served in turn. Order is kept where it means
something: groups, which match in order; allowList entries that overlap and differ in role; nodes that
a hash chooses among; `urlIgnoreList`; and everywhere that the product's pages do not tell.

Nothing here refuses anything: a part of another shape than the pages show stays as it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson
from pydantic import BaseModel

from reconciler.core.canonical import encode_canonical
from reconciler.core.secret import Secret, reveal
from reconciler.drivers.m2.allowlist import get_address_range, sort_entries
from reconciler.drivers.m2.setting import models
from reconciler.drivers.m2.setting.diagnostics import get_object
from reconciler.secrets.patterns import sounds_secret
from reconciler.text.numbers import normalise_whole
from reconciler.text.urls import get_userinfo

Object: TypeAlias = dict[str, Any]
Rule: TypeAlias = Callable[[Object], None]

_MAYBE_WHOLE = re.compile(rb"\.0[,}\]]|\d[eE]")


def canonicalise(document: Any) -> Any:
    """The meaning of a document; total, and applying it twice changes nothing.

    Values at the places of known secrets become `Secret`.
    """
    if not isinstance(document, Mapping):
        return document
    return {key: canonicalise_section(key, document.get(key, {})) for key in list_keys(document)}


def list_keys(document: Mapping[str, Any]) -> list[str]:
    """The top-level keys of a document's meaning: its own, and those that have defaults."""
    return [*document, *(key for key in _MODELS if key not in document)]


def canonicalise_section(key: str, value: Any) -> Any:
    """The meaning of the value at one top-level key, which depends on no other."""
    holder: Object = {key: value}
    if key in _MODELS and isinstance(value, Mapping):
        holder[key] = dict(value)
        _fill(holder[key], _MODELS[key])
    for path, rule in _RULES.get(key, ()):
        _within(holder, path, rule)
    # A node may answer `10.0` where the file says `10`. To look for such a number in the bytes takes a small
    # part of walking the value, and most settings have none.
    return _whole(holder[key]) if _MAYBE_WHOLE.search(encode_clear(holder)) else holder[key]


def encode_clear(value: Any) -> bytes:
    """The canonical bytes of a plain value with secrets in clear: for comparing and for the wire."""
    # In clear, because two values that differ in a secret alone are different settings, though both are
    # shown as the same mask. The bytes are hashed or sent, and kept nowhere.
    try:
        return orjson.dumps(
            value, default=_clear, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
        )
    except TypeError:  # integers beyond 64 bits
        return encode_canonical(reveal(value))


def fingerprint_clear(value: Any) -> str:
    """SHA-256 of a plain value's clear bytes, in hexadecimal; secrets count by their value."""
    return hashlib.sha256(encode_clear(value)).hexdigest()


def _clear(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.value
    raise TypeError(type(value).__name__)


@lru_cache(maxsize=64)
def _defaults(model: type[BaseModel]) -> tuple[tuple[str, Any, type[BaseModel] | None], ...]:
    """(key, default, model of the part) of a model's fields; parts that have defaults themselves.

    A default of None is made explicit only where the pages say that null is the default.
    """
    found: list[tuple[str, Any, type[BaseModel] | None]] = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, models.SettingPart):
            if kind not in {models.Feed, models.GroupBalance}:
                found.append((key, None, kind))
        elif not field.is_required():
            default = field.get_default(call_default_factory=True)
            if default is not None or key in {"members", "luaPath", "functions"}:
                found.append((key, default, None))
    return tuple(found)


def _fill(part: Object, model: type[BaseModel]) -> None:
    """Make a part's defaults explicit, in place; parts below it are copied first."""
    for key, default, inner in _defaults(model):
        if inner is None:
            if key not in part:
                part[key] = list(default) if isinstance(default, list) else default
        elif isinstance(below := part.get(key, {}), Mapping):
            part[key] = dict(below)
            _fill(part[key], inner)


def _within(root: Object, path: tuple[str, ...], rule: Rule) -> None:
    """Apply a rule to the object at a path, where there is one; `_fill` has copied all on the way."""
    part: Any = root
    for key in path:
        part = part.get(key)
        if not isinstance(part, dict):
            return
    rule(part)


def _each(part: Object, key: str, rule: Rule) -> None:
    """Apply a rule to copies of the objects in a list."""
    found = part.get(key)
    if not isinstance(found, list | tuple):
        return
    part[key] = [dict(item) if isinstance(item, Mapping) else item for item in found]
    for item in part[key]:
        if isinstance(item, dict):
            rule(item)


def _by_name(part: Object, key: str) -> None:
    """Sort a list by its items' names, where all have one; equal names stay in their order."""
    found = part.get(key)
    if isinstance(found, list) and all(isinstance(item, dict) for item in found):
        names = [item.get("name") for item in found]
        if all(isinstance(name, str) for name in names):
            part[key] = sorted(found, key=lambda item: str(item["name"]))


def _sorted_texts(part: Object, key: str) -> None:
    """Sort a list that holds nothing but text."""
    found = part.get(key)
    if isinstance(found, list | tuple) and all(isinstance(item, str) for item in found):
        part[key] = sorted(found)


def _management(management: Object) -> None:
    _each(management, "roles", lambda role: _fill(role, models.Role))
    _by_name(management, "roles")


def _api(api: Object) -> None:
    default = api.get("defaultRole")

    def explicit(entry: Object) -> None:
        if entry.get("role") is None and isinstance(default, str):
            entry["role"] = default
        found = get_address_range(entry)
        if found is not None:
            entry["addr"] = str(found)

    _each(api, "allowList", explicit)
    # Only entries that cannot both match a caller may change places: of others, the order decides.
    if isinstance(api.get("allowList"), list):
        api["allowList"] = sort_entries(api["allowList"])


def _server(server: Object) -> None:
    _each(server, "connection", _connection)
    _by_name(server, "connection")
    _within(server, ("features",), _features)
    _within(server, ("events", "onPurgeRequest", "propagation"), lambda part: _sorted_texts(part, "nodelist"))


def _connection(connection: Object) -> None:
    info = connection.get("info")
    if isinstance(info, Mapping):
        # An OCI `fingerprint` stays readable: it is the public name of a key, and tells which one is meant.
        copy = {key: _hidden(value) if sounds_secret(key) else value for key, value in info.items()}
        _sorted_texts(copy, "brokers")
        connection["info"] = copy


def _features(features: Object) -> None:
    """Hide addresses that carry a password."""
    for name, feature in list(features.items()):
        for side in ("feed", "feedback"):
            part: Mapping[str, Any] = get_object(feature, side)
            info: Mapping[str, Any] = get_object(part, "info")
            url = info.get("url")
            if isinstance(url, str) and get_userinfo(url) is not None:
                features[name] = {**features[name], side: {**part, "info": {**info, "url": Secret(url)}}}


def _hidden(value: Any) -> Any:
    return value if isinstance(value, Secret) or value in (None, "") else Secret(value)


def _cluster(cluster: Object) -> None:
    balance, discover = cluster.get("balance"), cluster.get("discover")
    mode = balance.get("mode") if isinstance(balance, dict) else None
    if not isinstance(discover, dict):
        return
    # Served in turn, members are a set. A hash chooses by their place in the list: there another order is
    # another setting.
    if mode == "rr":
        _sorted_texts(discover, "members")

    def group(item: Object) -> None:
        _fill(item, models.Group)
        _sorted_texts(item, "functions")
        own = item.get("balance", {})
        if isinstance(own, Mapping):
            inherited: Object = {"mode": mode} if isinstance(mode, str) else {}
            said = {key: value for key, value in own.items() if key != "mode" or value is not None}
            item["balance"] = {**inherited, **said}
            if item["balance"].get("mode") == "rr":
                _sorted_texts(item, "nodes")

    _each(discover, "members", group)


def _hostings(root: Object) -> None:
    _each(root, "hosting", lambda host: _fill(host, models.Hosting))


_MODELS: Final[Mapping[str, type[BaseModel]]] = {"meta": models.Meta, "env": models.Env}

_RULES: Final[Mapping[str, tuple[tuple[tuple[str, ...], Rule], ...]]] = {
    "env": (
        (("env", "management"), _management),
        (("env", "management", "api"), _api),
        (("env", "management", "server"), _server),
        (("env", "management", "cluster"), _cluster),
    ),
    "hosting": (((), _hostings),),
}


def _whole(value: Any) -> Any:
    """The same value with `1.0` as `1`: JSON knows one kind of number, and nodes write either."""
    if isinstance(value, float):
        return normalise_whole(value)
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_whole(item) for item in value]
    return value
