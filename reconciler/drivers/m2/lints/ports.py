"""The lint of ports: two parts of one node that listen on the same port; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from reconciler.core.endpoint import LAST_PORT, InvalidAddress, parse_endpoint
from reconciler.core.fields import drop_zero_fraction
from reconciler.diagnostic import Diagnostic
from reconciler.drivers.m2.setting.check import MANAGEMENT
from reconciler.drivers.m2.setting.diagnostics import Path, get_items, get_object, get_value, warn

CODES: Final = frozenset({"port-clash"})

_ANYWHERE: Final = frozenset({"", "*", "0.0.0.0", "[::]"})  # noqa: S104  (compared, not bound)
_LOCAL: Final = {"localhost": "127.0.0.1"}
_CLUSTER: Final[Path] = (*MANAGEMENT, "cluster")
_API_PORT: Final = 10040
_BASE_PORT: Final = 9000
_DISCOVER_PORT: Final = 9900
_STATS: Final = "127.0.0.1:10038"


class _Listener(NamedTuple):
    """What listens: its name for messages, its place in the file, host and port."""

    name: str
    path: Path
    host: str
    port: int


def lint_ports(document: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """The management API, the traffic of a cluster, its statistics and the virtual hosts use other ports."""
    first: dict[int, list[_Listener]] = {}
    told: set[Path] = set()
    for one in _list_listeners(document):
        other = next((each for each in first.get(one.port, ()) if _share_address(each, one)), None)
        if other is not None and one.path not in told:
            told.add(one.path)
            message = f"{one.name} and {other.name} listen on the same port, {one.port}"
            yield warn(one.path, "port-clash", message, "give one of them another port")
        first.setdefault(one.port, []).append(one)


def _share_address(one: _Listener, other: _Listener) -> bool:
    # Virtual hosts share a port: the name in the request tells them apart.
    if one.path[0] == other.path[0] == "hosting":
        return False
    return one.host == other.host or bool(_ANYWHERE & {one.host, other.host})


def _list_listeners(document: Mapping[str, Any]) -> Iterator[_Listener]:
    api = (*MANAGEMENT, "api", "port")
    yield from _make_listener("the management API", api, "", get_value(document, api), _API_PORT)
    if get_value(document, (*_CLUSTER, "meta", "enable")) is True:
        traffic = (*_CLUSTER, "discover", "port")
        value = get_value(document, traffic)
        yield from _make_listener("the traffic of the cluster", traffic, "", value, _DISCOVER_PORT)
        stats: Mapping[str, Any] = get_object(document, *_CLUSTER, "stats")
        listen = stats.get("listen", _STATS)
        if stats.get("enable") is not False and isinstance(listen, str):
            yield from _read_listen("the statistics of the cluster", (*_CLUSTER, "stats", "listen"), listen)
        yield from _list_cluster_ports(document)
    for index, item in get_items(document, "hosting"):
        listen = get_object(item).get("listen")
        if isinstance(listen, str) and get_object(item).get("enable") is not False:
            yield from _read_listen("a virtual host", ("hosting", index, "listen"), listen)


def _list_cluster_ports(document: Mapping[str, Any]) -> Iterator[_Listener]:
    """In a cluster, each virtual host also listens at a port counted from `baseHostingPort`."""
    path = (*_CLUSTER, "meta", "baseHostingPort")
    value = get_value(document, path)
    base = _BASE_PORT if value is None else drop_zero_fraction(value)
    if not isinstance(base, int) or isinstance(base, bool):
        return
    hosts = [one for _, one in get_items(document, "hosting") if get_object(one).get("enable") is not False]
    for number in range(min(len(hosts), LAST_PORT)):
        yield _Listener("the cluster's port of a virtual host", path, "", base + number)


def _read_listen(name: str, path: Path, listen: str) -> Iterator[_Listener]:
    host, _, port = listen.rpartition(":")
    with suppress(InvalidAddress):
        host = host if host in _ANYWHERE else _LOCAL.get(host.lower()) or parse_endpoint(host).host
    if port.isascii() and port.isdecimal():
        yield from _make_listener(name, path, host, int(port[:9]), 0)


def _make_listener(name: str, path: Path, host: str, port: Any, default: int) -> Iterator[_Listener]:
    port = default if port is None else drop_zero_fraction(port)
    if isinstance(port, int) and not isinstance(port, bool):
        yield _Listener(name, path, host, port)
