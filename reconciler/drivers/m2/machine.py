"""The state machine of one M2 node: what each call does to it, and what waits for a restart.

Pure, and shared by the simulator, the guards and the tests. Where the product's pages are silent,
the rule is a field of `Choices`; what is no choice but still an assumption stands in the docstring
of the function that makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from reconciler.core.endpoint import InvalidAddress
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.drivers.m2.address_range import parse_address_range

Plain: TypeAlias = Mapping[str, Any]

LIMITS: Final = JsonLimits(size=64 * 1024 * 1024, values=10_000_000)
"""Bounds on a setting that a node of the model takes; numbers stay exactly as they were sent."""

RESTART_ONLY: Final = (
    "env.properties.memoryUsage",
    "env.properties.coreWorkers",
    "env.properties.inspection",
    "env.network.passiveSockets",
    "env.network.http",
    "env.network.https",
    "env.network.http2",
    "env.network.geoip",
    "env.rt.localCacheStorage",
    "env.rt.properties",
)
"""Settings that take effect at a restart only; everything else applies without interruption."""

RETENTION: Final = 100
"""How many past settings a node keeps."""


@dataclass(frozen=True, slots=True)
class NodePackage:
    """A `setting.json` as bytes nobody has judged yet, and the files that lie beside it."""

    text: bytes
    resources: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AcceptedSetting:
    """A setting that a node accepted."""

    document: Plain
    package: NodePackage


@dataclass(frozen=True, slots=True)
class M2NodeState:
    """One node.

    Args:
        loaded: the setting it accepted last; None before the first.
        running: what is in effect: `loaded` but for restart-only fields that still wait.
        history: the settings it accepted, the oldest first, at most `RETENTION`.
        local: the file on its disk, which `/setting/deploy/local` and a restart read.
        repository: what its connected git repository would give now; None where none is connected.
        reloads: how many settings it accepted since it was made.
    """

    loaded: AcceptedSetting | None = None
    running: Plain | None = None
    history: tuple[AcceptedSetting, ...] = ()
    local: NodePackage | None = None
    repository: NodePackage | None = None
    up: bool = True
    reloads: int = 0


@dataclass(frozen=True, slots=True)
class WaitingField:
    """A restart-only field whose asked-for value is not in effect; None where it is not set."""

    field: str
    current: Any
    asked: Any


@dataclass(frozen=True, slots=True)
class ChangeAccepted:
    """The change was taken; `find_waiting_fields` lists what a restart would still bring."""

    node: M2NodeState
    waiting: tuple[WaitingField, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeRefused:
    """The change was not taken; the node is as it was.

    Args:
        code: E0001 no file, E0002 not a tgz, E0003 not loadable, E0004 bad content.
    """

    code: str
    reason: str


def upload(node: M2NodeState, package: NodePackage) -> ChangeAccepted | ChangeRefused:
    """A setting is delivered: it becomes the file on the disk, loaded and, but for what waits, running."""
    setting = parse_package(package)
    if isinstance(setting, ChangeRefused):
        return setting
    changed = replace(
        node,
        loaded=setting,
        running=_in_effect(node.running, setting.document),
        history=(*node.history, setting)[-RETENTION:],
        local=package,
        reloads=node.reloads + 1,
    )
    return ChangeAccepted(changed, find_waiting_fields(changed))


def deploy_local(node: M2NodeState) -> ChangeAccepted | ChangeRefused:
    """The file on the node's disk is applied."""
    if node.local is None:
        return ChangeRefused("E0001", "there is no local setting.json")
    return upload(node, node.local)


def checkout(node: M2NodeState) -> ChangeAccepted | ChangeRefused:
    """The connected git repository is pulled and applied."""
    if node.repository is None:
        return ChangeRefused("E0001", "no git repository is connected")
    return upload(node, node.repository)


def restart(node: M2NodeState) -> M2NodeState:
    """The node reads the file on its disk, keeps its old setting where that is bad, and runs all of it."""
    setting = parse_package(node.local) if node.local is not None else None
    if isinstance(setting, AcceptedSetting) and (
        node.loaded is None or setting.package != node.loaded.package
    ):
        node = replace(
            node,
            loaded=setting,
            history=(*node.history, setting)[-RETENTION:],
            reloads=node.reloads + 1,
        )
    return replace(node, running=node.loaded.document if node.loaded else None, up=True)


def kill(node: M2NodeState) -> M2NodeState:
    """The node is down; all it has on its disk stays."""
    return replace(node, up=False)


def start(node: M2NodeState) -> M2NodeState:
    """The node comes up again, as after a restart."""
    return restart(node)


def find_waiting_fields(node: M2NodeState) -> tuple[WaitingField, ...]:
    """What waits for a restart, in the order of `RESTART_ONLY`; values are compared as they stand."""
    if node.loaded is None or node.running is None:
        return ()
    pairs = ((name, lookup(node.running, name), lookup(node.loaded.document, name)) for name in RESTART_ONLY)
    return tuple(WaitingField(name, current, asked) for name, current, asked in pairs if current != asked)


def parse_package(package: NodePackage) -> AcceptedSetting | ChangeRefused:
    """The setting in a package, or why a node does not take it.

    Assumed: E0003 for what is not a JSON object, E0004 for an `env.management` that the node cannot
    act on. An allowList entry may name a role that does not exist: it then gives no permission.
    """
    try:
        document = read_json(package.text, LIMITS)
    except JsonError as error:
        return ChangeRefused("E0003", f"setting.json is not JSON: {error}")
    if not isinstance(document, dict):
        return ChangeRefused("E0003", "setting.json is not an object")
    reason = next(iter(_objections(document)), "")
    return ChangeRefused("E0004", reason) if reason else AcceptedSetting(document, package)


def lookup(document: Plain | None, dotted: str) -> Any:
    """The value at a dotted path; None where there is none."""
    value: Any = document
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _in_effect(before: Plain | None, asked: Plain) -> Plain:
    """`asked` with the restart-only fields as they were before; `asked` itself where none differs."""
    if before is None:
        return asked
    for name in RESTART_ONLY:
        current = lookup(before, name)
        if current != lookup(asked, name):
            asked = _with(asked, name.split("."), current)
    return asked


def _with(value: Any, path: list[str], leaf: Any) -> dict[str, Any]:
    """A copy with another value at a path; None takes the key away."""
    copy = dict(value) if isinstance(value, Mapping) else {}
    head, *rest = path
    if rest:
        copy[head] = _with(copy.get(head), rest, leaf)
    elif leaf is None:
        copy.pop(head, None)
    else:
        copy[head] = leaf
    return copy


def _part(value: Plain, key: str) -> Plain:
    part = value.get(key)
    return part if isinstance(part, Mapping) else {}


def _items(value: Plain, key: str) -> Any:
    items = value.get(key)
    return [] if items is None else items


def _objections(document: Plain) -> Iterable[str]:
    management = _part(_part(document, "env"), "management")
    api = _part(management, "api")
    port = api.get("port", 10040)
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:  # noqa: PLR2004
        yield "env.management.api.port is not a port"
    yield from _named_once(management, "roles", "name")
    yield from _named_once(_part(management, "server"), "connection", "name")
    entries = _items(api, "allowList")
    if not isinstance(entries, list):
        yield "env.management.api.allowList is not a list"
        return
    for entry in entries:
        addr = entry.get("addr") if isinstance(entry, dict) else None
        try:
            parse_address_range(addr if isinstance(addr, str) else "")
        except InvalidAddress as error:
            yield f"env.management.api.allowList: {addr!r} {error.message}"


def _named_once(parent: Plain, key: str, name: str) -> Iterable[str]:
    items = _items(parent, key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        yield f"{key} is not a list of objects"
        return
    names = [item.get(name) for item in items]
    if not all(isinstance(text, str) for text in names) or len(set(names)) < len(names):
        yield f"{key} has an item without a {name} of its own"
