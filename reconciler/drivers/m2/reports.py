"""The reader of heartbeats and setting feedbacks of nodes (M2 manual, Message v1); pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.core.endpoint import parse_endpoint
from reconciler.core.observation import NodeReport, ReportKind
from reconciler.drivers.m2.schema import M2Desired
from reconciler.drivers.m2.setting.diagnostics import get_object, get_value


def read_report(desired: M2Desired, message: Mapping[str, Any]) -> NodeReport | None:
    """The report in a message v1; None where it names no node of the cluster, or is another message.

    A node is recognised by `hostname`, its name or the host of its address, or else by an address of `iplist`
    that no other node of the cluster has. A message without `action` is a heartbeat.
    """
    node = _find_node(desired, get_object(message, "node"))
    if not node or message.get("messageVer") != "1":
        return None
    action = get_value(message, ("action", "api"))
    if action is None:
        return NodeReport(node, ReportKind.HEARTBEAT, get_value(message, ("node", "settingVer")))
    if not str(action).startswith("/setting/"):
        return None
    result = get_object(message, "parameters", 0, "result")
    version = result.get("version", get_value(message, ("node", "settingVer")))
    return NodeReport(node, ReportKind.FEEDBACK, version, str(result.get("status", "")))


def _find_node(desired: M2Desired, sender: Mapping[str, Any]) -> str:
    hosts = {
        node.name: parse_endpoint(node.address).host if node.address else "" for node in desired.entry.nodes
    }
    hostname, addresses = str(sender.get("hostname")), sender.get("iplist")
    if hostname in hosts:
        return hostname
    reported = {hostname, *(str(one) for one in (addresses if isinstance(addresses, list) else ()))}
    # Two nodes may share a host behind an address translation: then the report is nobody's.
    found = [name for name, host in hosts.items() if host and host in reported]
    return found[0] if len(found) == 1 else ""
