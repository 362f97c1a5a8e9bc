"""Each call of Sora's API on a simulated node: its argument, what the machine makes of it, its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from reconciler.documents.key_values import Scalar
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.choices import DEFAULTS, Choices, UndocumentedCall
from reconciler.drivers.sora.cluster_state import Mode, State, find_group, to_bits
from reconciler.drivers.sora.machine import CallRefusal
from reconciler.drivers.sora.membership import NodeNumbers

VERSION: Final = "2024.2.0"


class CallRefused(Exception):
    """A call ends with 400; the arguments are `error_type` and, where there is one, `error_reason`."""


class CallCrashed(Exception):
    """A call ends with 500."""


@dataclass(slots=True)
class SimulatedSite:
    """The simulated nodes of one cluster, and what they keep.

    Args:
        node_numbers: node names; node i of the state is the i-th of them.
        apis: name -> API address, as the nodes tell it to others.
        state: the machine state.
        choices: what the nodes do where the documents are silent.
        channels: channel -> the node that owns it.
        halves: how many registrations to come fail halfway.
        versions: node -> the version of Sora that it runs; of the others it is `VERSION`.
        confs: node -> the values of the sora.conf that it was started with; of nodes with a simulated one.
    """

    node_numbers: NodeNumbers
    apis: Mapping[str, str]
    state: State
    choices: Choices = DEFAULTS
    channels: dict[str, str] = field(default_factory=dict)
    halves: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    confs: dict[str, Mapping[str, Scalar]] = field(default_factory=dict)

    def take(self, result: State | CallRefusal, *, node: str = "") -> None:
        """Keep the next state, or end the call as the machine refuses it, naming a node if it is about one.

        Raises:
            CallRefused: the machine did.
        """
        if isinstance(result, CallRefusal):
            raise CallRefused(result.error_type, {"target_node": node} if node else {"reason": result.reason})
        self.state = result


def call_api(site: SimulatedSite, node: int, *, method: str, target: str, body: bytes) -> Any:
    """The JSON that a call is answered with, once it has had its effect.

    Raises:
        CallRefused: 400.
        CallCrashed: 500.
    """
    if method != "POST":
        raise CallRefused("UnexpectedMethod")
    if not target:
        raise CallRefused("MissingHeaderName")
    if target not in _CALLS:
        service, _, operation = target.partition(".")
        if not body or not operation:
            raise CallRefused("MissingTarget")
        name, _, version = service.partition("_")
        raise CallRefused("SchemaNotFound", {"service": name, "version": version, "operation": operation})
    name, kind, call = _CALLS[target]
    return call(site, node, _argument(body, name, kind))


def _argument(body: bytes, name: str, kind: type | None) -> Any:
    """The one argument of a call, of the right type; None for calls without."""
    try:
        value = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        raise CallRefused("InvalidJSON") from None
    if not isinstance(value, dict):
        raise CallRefused("InvalidJSON", [{"invalid": "the body is no object"}])
    if kind is None:
        return None
    given = value.get(name)
    items = given if isinstance(given, list) else [given]
    sound = isinstance(given, kind) and items and all(isinstance(item, str) and item for item in items)
    if not sound or len(set(items)) != len(items):
        raise CallRefused("InvalidJSON", [{"invalid": name}])
    return given


def _init(site: SimulatedSite, node: int, names: list[str]) -> Any:
    unknown = sorted(set(names) - set(site.node_numbers.names))
    if unknown:
        site.take(machine.MEMBER_AWAY, node=unknown[0])
    site.take(machine.init(site.state, node, site.node_numbers.bits(names), site.choices))
    return {"node_name_list": names}


def _register(site: SimulatedSite, node: int, contact: str) -> Any:
    if contact not in site.node_numbers.names:
        site.take(machine.CONTACT_AWAY, node=contact)
    # The most dangerous failure of Sora: the members count the node, and the caller gets an error.
    half = site.halves > 0
    site.take(machine.register(site.state, node, site.node_numbers.at(contact), site.choices, half=half))
    if half:
        site.halves -= 1
        raise CallCrashed
    return {"node_name_list": list(site.node_numbers.membership(site.state).names)}


def _purge(site: SimulatedSite, node: int, target: str) -> Any:
    if target not in site.node_numbers.names:
        site.take(machine.UNKNOWN_TARGET, node=target)
    site.take(machine.purge(site.state, node, site.node_numbers.at(target), site.choices), node=target)
    return {"target_node_name": target}


def _change_mode(site: SimulatedSite, node: int, mode: str) -> Any:
    if mode not in list(Mode):
        raise CallRefused("InvalidJSON", [{"invalid": "mode"}])
    site.take(machine.change_mode(site.state, node, Mode(mode)))
    return {"mode": mode}


def _get_mode(site: SimulatedSite, node: int, _: None) -> Any:
    return {"mode": site.state[node].mode.value}


def _list_nodes(site: SimulatedSite, node: int, _: None) -> Any:
    rows = machine.list_nodes(site.state, node, site.choices)
    if isinstance(rows, CallRefusal):
        raise CallRefused(rows.error_type, {"reason": rows.reason})
    return [_row(site, row) for row in rows]


def _row(site: SimulatedSite, row: machine.ListedNode) -> dict[str, Any]:
    name = site.node_numbers.names[row.node]
    line = {
        "node_name": name,
        "connected": row.connected,
        "temporary_node": row.temporary,
        **_describe_licence(row.node),
    }
    if row.connected:
        conf, host = site.confs.get(name, {}), name.rpartition("@")[2]
        line |= {
            "external_api_url": conf.get("external_api_url", site.apis[name]),
            "external_signaling_url": conf.get("external_signaling_url", f"wss://{host}/signaling"),
            "version": site.versions.get(name, VERSION),
            "mode": site.state[row.node].mode.value,
        }
    return line


def _list_channels(site: SimulatedSite, node: int, _: None) -> Any:
    """After each answer, one channel of each node that takes no new sessions ends."""
    group = find_group(site.state, node)
    here = group.nodes if group is not None else to_bits([node])
    listed = [
        {
            "channel_id": channel,
            "owners": [{"node_name": owner, "connected": bool(here >> site.node_numbers.at(owner) & 1)}],
        }
        for channel, owner in sorted(site.channels.items())
    ]
    # Time passes by answers, not by a clock, so that tests of draining need no waiting.
    for blocked in sorted(set(site.channels.values())):
        if site.state[site.node_numbers.at(blocked)].mode is not Mode.NORMAL:
            del site.channels[min(one for one, owner in site.channels.items() if owner == blocked)]
    return listed


def _describe_licence(number: int) -> dict[str, Any]:
    """The licence fields of one node, as the API names them."""
    return {
        "license_max_connections": 500,
        "license_max_nodes": 10,
        "license_serial_code": f"ABCDEF-SRA-E{number + 1:03}-203801-N10-500",
        "license_type": "Experimental",
    }


def _get_licence(_site: SimulatedSite, node: int, _: None) -> Any:
    return _describe_licence(node)


def _update_licence(_site: SimulatedSite, node: int, _: None) -> Any:
    return dict.fromkeys(("old_license", "new_license"), _describe_licence(node))


def _report(site: SimulatedSite, node: int, _: None) -> Any:
    if site.choices.statistics is UndocumentedCall.REFUSE:
        raise CallRefused("SchemaNotFound")
    name = site.node_numbers.names[node]
    owned = sum(owner == name for owner in site.channels.values())
    report: dict[str, Any] = {
        "version": site.versions.get(name, VERSION),
        "total_ongoing_connections": owned,
    }
    group = find_group(site.state, node)
    if group is not None:
        regular = group.nodes & group.log.regular
        leads = group.usable and regular & -regular == 1 << node
        report["cluster"] = {
            "raft_state": "leader" if leads else "follower" if group.usable else "candidate",
            "raft_term": group.log.epoch + 1,
            "raft_commit_index": group.log.version,
        }
    return report


_CALLS: Final[Mapping[str, tuple[str, type | None, Callable[[SimulatedSite, int, Any], Any]]]] = (
    MappingProxyType(
        {
            "Sora_20221221.InitCluster": ("node_name_list", list, _init),
            "Sora_20211215.RegisterClusterNode": ("contact_node_name", str, _register),
            "Sora_20211215.ListClusterNodes": ("", None, _list_nodes),
            "Sora_20211215.ListClusterChannels": ("", None, _list_channels),
            "Sora_20220629.PurgeClusterNode": ("target_node_name", str, _purge),
            "Sora_20211215.ChangeMode": ("mode", str, _change_mode),
            "Sora_20211215.GetMode": ("", None, _get_mode),
            "Sora_20171218.GetLicense": ("", None, _get_licence),
            "Sora_20171218.UpdateLicense": ("", None, _update_licence),
            "Sora_20171010.GetStatsReport": ("", None, _report),
        }
    )
)
