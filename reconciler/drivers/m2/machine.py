"""The state machine of one M2 node: what each call does to it, and what waits for a restart; pure.

The simulator, the planner, the guards and the model checker use it. Where M2's pages say nothing, the rule is
a field of `Choices`, or the docstring of a function names the assumption.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from reconciler.core.endpoint import InvalidAddress
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.drivers.m2.address_range import parse_address_range
from reconciler.drivers.m2.setting.diagnostics import get_object, get_value

Plain: TypeAlias = Mapping[str, Any]

# Far beyond what the check of a file accepts: the model must not refuse what this program may send.
LIMITS: Final = JsonLimits(size=64 * 1024 * 1024, values=10_000_000)
"""Limits of a setting that a node accepts; numbers keep the form in which they were sent."""

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
"""Fields that take effect at a restart; all others apply without interruption (M2 manual, Restart)."""

RETENTION: Final = 100
"""Number of earlier settings that a node keeps."""


@dataclass(frozen=True, slots=True)
class NodePackage:
    """A `setting.json` as unchecked bytes, and the files beside it."""

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
        running: the setting in effect: `loaded`, with the old values of fields that wait for a restart.
        history: the settings it accepted, oldest first, at most `RETENTION`.
        local: the file on its disk, which `/setting/deploy/local` and a restart read.
        repository: the current content of its connected git repository; None where none is connected.
        reloads: number of settings it accepted.
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
    """A restart-only field whose delivered value is not in effect; values are None where it is not set."""

    field: str
    current: Any
    asked: Any


@dataclass(frozen=True, slots=True)
class ChangeAccepted:
    """The node accepted the change; `waiting` lists the fields that wait for a restart."""

    node: M2NodeState
    waiting: tuple[WaitingField, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeRefused:
    """The node refused the change and did not change.

    Args:
        code: E0001 no file, E0002 not a tgz, E0003 not loadable, E0004 bad content.
    """

    code: str
    reason: str


def upload(node: M2NodeState, package: NodePackage) -> ChangeAccepted | ChangeRefused:
    """The node after an upload: the setting is on its disk, loaded and, except what waits, in effect."""
    setting = parse_package(package)
    if isinstance(setting, ChangeRefused):
        return setting
    # Compared with what is in effect, not with the previous upload: a change that is taken back before the
    # restart leaves nothing waiting.
    changed = replace(
        node,
        loaded=setting,
        running=_keep_restart_only(node.running, setting.document),
        history=(*node.history, setting)[-RETENTION:],
        local=package,
        reloads=node.reloads + 1,
    )
    return ChangeAccepted(changed, find_waiting_fields(changed))


def deploy_local(node: M2NodeState) -> ChangeAccepted | ChangeRefused:
    """The node after it applied the file on its disk."""
    if node.local is None:
        return ChangeRefused("E0001", "there is no local setting.json")
    return upload(node, node.local)


def checkout(node: M2NodeState) -> ChangeAccepted | ChangeRefused:
    """The node after it checked out and applied its git repository."""
    if node.repository is None:
        return ChangeRefused("E0001", "no git repository is connected")
    return upload(node, node.repository)


def change_origin(node: M2NodeState, hosting: str, addresses: Sequence[str]) -> M2NodeState:
    """The node after it changed the origin of a running virtual host; `setting.json` stays as it is."""
    hosts = lookup(node.running, "hosting")
    if node.running is None or not isinstance(hosts, list):
        return node
    path = ["origin", "address"]
    changed = [
        replace_at(host, path, list(addresses)) if get_value(host, ["name"]) == hosting else host
        for host in hosts
    ]
    return replace(node, running={**node.running, "hosting": changed})


def restart(node: M2NodeState) -> M2NodeState:
    """The node after a restart with the file on its disk, or with its old setting where the file is bad."""
    # A restart reads the disk again: a file that an operator copied there takes effect without any call.
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
    """The node while it is down; its disk does not change."""
    return replace(node, up=False)


def find_waiting_fields(node: M2NodeState) -> tuple[WaitingField, ...]:
    """The fields that wait for a restart, in the order of `RESTART_ONLY`; values are compared literally."""
    if node.loaded is None or node.running is None:
        return ()
    pairs = ((name, lookup(node.running, name), lookup(node.loaded.document, name)) for name in RESTART_ONLY)
    return tuple(WaitingField(name, current, asked) for name, current, asked in pairs if current != asked)


def parse_package(package: NodePackage) -> AcceptedSetting | ChangeRefused:
    """The setting in a package, or why a node refuses it.

    Assumed: E0003 for anything but a JSON object, E0004 for an invalid `env.management`. An allowList entry
    may have an undefined role, and then grants nothing.
    """
    try:
        document = read_json(package.text, LIMITS)
    except JsonError as error:
        return ChangeRefused("E0003", f"setting.json is not JSON: {error}")
    if not isinstance(document, dict):
        return ChangeRefused("E0003", "setting.json is not an object")
    reason = next(iter(_find_faults(document)), "")
    return ChangeRefused("E0004", reason) if reason else AcceptedSetting(document, package)


def lookup(document: Plain | None, dotted: str) -> Any:
    """The value at a dotted path; None where the path does not exist."""
    return get_value(document, dotted.split("."))


def _keep_restart_only(before: Plain | None, asked: Plain) -> Plain:
    """`asked` with the restart-only fields of `before`; `asked` itself where none differs."""
    if before is None:
        return asked
    for name in RESTART_ONLY:
        current = lookup(before, name)
        if current != lookup(asked, name):
            asked = replace_at(asked, name.split("."), current)
    return asked


def replace_at(value: Any, path: list[str], leaf: Any) -> dict[str, Any]:
    """A copy with another value at a path; None removes the key."""
    copy = dict(value) if isinstance(value, Mapping) else {}
    head, *rest = path
    if rest:
        copy[head] = replace_at(copy.get(head), rest, leaf)
    elif leaf is None:
        copy.pop(head, None)
    else:
        copy[head] = leaf
    return copy


def _find_faults(document: Plain) -> Iterable[str]:
    """Why the node refuses a setting."""
    management = get_object(document, "env", "management")
    api = get_object(management, "api")
    port = api.get("port", 10040)  # `True` is an int in Python, and no port
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:  # noqa: PLR2004
        yield "env.management.api.port is not a port"
    yield from _check_unique_names(management, "roles")
    yield from _check_unique_names(get_object(management, "server"), "connection")
    entries = api.get("allowList")
    if entries is None:
        return
    # One invalid entry refuses the whole setting (assumed). No delivery depends on it: the check of the file
    # refuses such a list first.
    if not isinstance(entries, list):
        yield "env.management.api.allowList is not a list"
        return
    for entry in entries:
        addr = entry.get("addr") if isinstance(entry, dict) else None
        try:
            parse_address_range(addr if isinstance(addr, str) else "")
        except InvalidAddress as error:
            yield f"env.management.api.allowList: {addr!r} {error.message}"


def _check_unique_names(parent: Plain, key: str) -> Iterable[str]:
    items = parent.get(key)
    if items is None:
        return
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        yield f"{key} is not a list of objects"
        return
    names = [item.get("name") for item in items]
    if not all(isinstance(text, str) for text in names) or len(set(names)) < len(names):
        yield f"{key} has an item without a unique name"
