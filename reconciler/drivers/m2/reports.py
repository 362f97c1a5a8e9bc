"""The reader of heartbeats and setting feedbacks of nodes (M2 manual, Message v1); pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.core.observation import NodeReport, ReportKind
from reconciler.drivers.m2.setting.diagnostics import get_object, get_value


def read_report(node: str, message: Mapping[str, Any]) -> NodeReport | None:
    """The report in a message v1; None where it is another message.

    A message without `action` is a heartbeat.
    """
    if message.get("messageVer") != "1":
        return None
    action = get_value(message, ("action", "api"))
    if action is None:
        return NodeReport(node, ReportKind.HEARTBEAT, get_value(message, ("node", "settingVer")))
    if not str(action).startswith("/setting/"):
        return None
    result = get_object(message, "parameters", 0, "result")
    version = result.get("version", get_value(message, ("node", "settingVer")))
    return NodeReport(node, ReportKind.FEEDBACK, version, str(result.get("status", "")))
