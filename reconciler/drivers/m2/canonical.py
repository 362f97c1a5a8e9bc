"""The canonical form of a `setting.json`: the same meaning gives the same value; pure.

Documented defaults are made explicit, addresses get their canonical form, and lists are sorted where their
order has no effect: roles and connections by name, brokers, functions of a group, addresses of a propagation
list, members of the mode `rr`. The order is kept where it has an effect: groups, which match in order;
allowList entries that overlap and differ in role; members of the mode `hash`; `urlIgnoreList`; and wherever
M2's pages say nothing.

Nothing is refused: a part with an undocumented structure stays as it is.
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
from reconciler.drivers.m2.address_range import get_address_range
from reconciler.drivers.m2.allowlist import sort_entries
from reconciler.drivers.m2.setting import models
from reconciler.drivers.m2.setting.diagnostics import get_object
from reconciler.secrets.patterns import is_secret_key
from reconciler.text.numbers import normalise_whole
from reconciler.text.urls import get_userinfo

Object: TypeAlias = dict[str, Any]
Rule: TypeAlias = Callable[[Object], None]

_MAYBE_WHOLE = re.compile(rb"\.0[,}\]]|\d[eE]")


def list_keys(document: Mapping[str, Any]) -> list[str]:
    """The top-level keys of a document's meaning: its own, and those with defaults."""
    return [*document, *(key for key in _MODELS if key not in document)]


def canonicalise_section(key: str, value: Any) -> Any:
    """The meaning of the value at one top-level key; no other key affects it."""
    # Rules change copies: the payload of an upload is made from the document itself.
    holder: Object = {key: value}
    if key in _MODELS and isinstance(value, Mapping):
        holder[key] = dict(value)
        _fill(holder[key], _MODELS[key])
    for path, rule in _RULES.get(key, ()):
        _within(holder, path, rule)
    # A node may answer `10.0` where the file has `10`. The search for such a number in the bytes takes a
    # fraction of a walk over the value, and most settings have none.
    return _normalise_numbers(holder[key]) if _MAYBE_WHOLE.search(encode_clear(holder)) else holder[key]


def encode_clear(value: Any) -> bytes:
    """The canonical bytes of a plain value with secrets in clear: for comparing and for the wire."""
    # In clear, because two values that differ only in a secret are different settings, though both are shown
    # as the same mask. The bytes are hashed or sent, and stored nowhere.
    options = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
    try:
        return orjson.dumps(value, default=reveal_secret, option=options)
    except TypeError:  # orjson refuses integers beyond 64 bits
        return encode_canonical(reveal(value))


def fingerprint_clear(value: Any) -> str:
    """SHA-256 of a plain value's clear bytes, in hexadecimal; secrets count by their value."""
    return hashlib.sha256(encode_clear(value)).hexdigest()


def reveal_secret(value: Any) -> Any:
    """For orjson: the text of a secret.

    Raises:
        TypeError: it is not a secret.
    """
    if isinstance(value, Secret):
        return value.value
    raise TypeError(type(value).__name__)


@lru_cache(maxsize=64)
def _defaults(model: type[BaseModel]) -> tuple[tuple[str, Any, type[BaseModel] | None], ...]:
    """(key, default, model of the part) of a model's fields; either a default or a model.

    A default of None is made explicit only where the pages give null as the default.
    """
    found: list[tuple[str, Any, type[BaseModel] | None]] = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, models.SettingPart):
            # A feed without a type does nothing, a group inherits its balance: defaults would add meaning.
            if kind not in {models.Feed, models.GroupBalance}:
                found.append((key, None, kind))
        elif not field.is_required():
            default = field.get_default(call_default_factory=True)
            if default is not None or key in {"members", "luaPath", "functions"}:
                found.append((key, default, None))
    return tuple(found)


def _fill(part: Object, model: type[BaseModel]) -> None:
    """Add a part's defaults, in place; parts below it are copied first."""
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
    """Sort a list by the names of its items, where all have one; equal names keep their order."""
    found = part.get(key)
    if isinstance(found, list) and all(isinstance(item, dict) for item in found):
        names = [item.get("name") for item in found]
        if all(isinstance(name, str) for name in names):
            part[key] = sorted(found, key=lambda item: str(item["name"]))


def _sort_texts(part: Object, key: str) -> None:
    """Sort a list where all items are text."""
    found = part.get(key)
    if isinstance(found, list | tuple) and all(isinstance(item, str) for item in found):
        part[key] = sorted(found)


def _canonicalise_management(management: Object) -> None:
    _each(management, "roles", lambda role: _fill(role, models.Role))
    _by_name(management, "roles")


def _canonicalise_api(api: Object) -> None:
    default = api.get("defaultRole")

    def make_explicit(entry: Object) -> None:
        if entry.get("role") is None and isinstance(default, str):
            entry["role"] = default
        found = get_address_range(entry)
        if found is not None:
            entry["addr"] = str(found)

    _each(api, "allowList", make_explicit)
    if isinstance(api.get("allowList"), list):
        api["allowList"] = sort_entries(api["allowList"])


def _canonicalise_server(server: Object) -> None:
    _each(server, "connection", _canonicalise_connection)
    _by_name(server, "connection")
    _within(server, ("features",), _hide_urls)
    _within(server, ("events", "onPurgeRequest", "propagation"), lambda part: _sort_texts(part, "nodelist"))


def _canonicalise_connection(connection: Object) -> None:
    info = connection.get("info")
    if isinstance(info, Mapping):
        # An OCI `fingerprint` stays readable: it is public, and tells which key is meant.
        copy = {
            key: Secret(value)
            if is_secret_key(key) and not isinstance(value, Secret) and value not in (None, "")
            else value
            for key, value in info.items()
        }
        _sort_texts(copy, "brokers")
        connection["info"] = copy


def _hide_urls(features: Object) -> None:
    """URLs with a password become secrets."""
    for name, feature in list(features.items()):
        for side in ("feed", "feedback"):
            part: Mapping[str, Any] = get_object(feature, side)
            info: Mapping[str, Any] = get_object(part, "info")
            url = info.get("url")
            if isinstance(url, str) and get_userinfo(url) is not None:
                features[name] = {**features[name], side: {**part, "info": {**info, "url": Secret(url)}}}


def _canonicalise_cluster(cluster: Object) -> None:
    balance, discover = cluster.get("balance"), cluster.get("discover")
    mode = balance.get("mode") if isinstance(balance, dict) else None
    if not isinstance(discover, dict):
        return
    # In the mode `rr` members are a set. A hash chooses a member by its index: another order would send
    # requests to other nodes, so it is another setting.
    if mode == "rr":
        _sort_texts(discover, "members")

    def canonicalise_group(item: Object) -> None:
        _fill(item, models.Group)
        _sort_texts(item, "functions")
        own = item.get("balance", {})
        if isinstance(own, Mapping):
            inherited: Object = {"mode": mode} if isinstance(mode, str) else {}
            given = {key: value for key, value in own.items() if key != "mode" or value is not None}
            item["balance"] = {**inherited, **given}
            if item["balance"].get("mode") == "rr":
                _sort_texts(item, "nodes")

    _each(discover, "members", canonicalise_group)


def _canonicalise_hosting(host: Object) -> None:
    _fill(host, models.Hosting)
    if host.get("aliases") in ([], None):  # no other name, whether it is written or not
        host.pop("aliases", None)


_MODELS: Final[Mapping[str, type[BaseModel]]] = {"meta": models.Meta, "env": models.Env}

_RULES: Final[Mapping[str, tuple[tuple[tuple[str, ...], Rule], ...]]] = {
    "env": (
        (("env", "management"), _canonicalise_management),
        (("env", "management", "api"), _canonicalise_api),
        (("env", "management", "server"), _canonicalise_server),
        (("env", "management", "cluster"), _canonicalise_cluster),
    ),
    "hosting": (((), lambda root: _each(root, "hosting", _canonicalise_hosting)),),
}


def _normalise_numbers(value: Any) -> Any:
    """The same value with `1.0` as `1`: JSON has one kind of number, and nodes write either form."""
    if isinstance(value, float):
        return normalise_whole(value)
    if isinstance(value, Mapping):
        return {key: _normalise_numbers(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_normalise_numbers(item) for item in value]
    return value
