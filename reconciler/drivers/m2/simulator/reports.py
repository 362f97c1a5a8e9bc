"""What a simulated node reports by itself: to whom, when, and the message v1 that it sends; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.drivers.m2.machine import lookup

PRODUCT: Final = "2.8.1"
"""The version of the product that simulated nodes say they run, as in the documents' examples."""

_FEATURES: Final = "env.management.server.features"


@dataclass(frozen=True, slots=True)
class ReportChannel:
    """Where and when a node reports.

    Args:
        timeout: seconds for one POST.
        schedule: cron of six fields; empty where it reports at an event.
    """

    url: str
    timeout: float
    schedule: str = ""


def find_heartbeat_channel(running: Mapping[str, Any] | None) -> ReportChannel | None:
    """How the node sends its heartbeats over HTTP; none where its setting asks for none."""
    return _way(running, "heartbeat", "apiPolling")


def find_feedback_channel(running: Mapping[str, Any] | None) -> ReportChannel | None:
    """How the node reports over HTTP that it has a new setting; none where its setting asks for none."""
    return _way(running, "setting", "api")


def make_heartbeat(name: str, host: str, running: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The message of a heartbeat.

    Args:
        name: the node's, which it gives as its hostname.
        host: its address.
        running: its setting.
        now: the time in ISO 8601.
    """
    node = {
        "productVer": PRODUCT,
        "settingVer": lookup(running, "meta.version"),
        "hostname": name,
        "iplist": [host],
    }
    return {"messageVer": "1", "timestamp": now, "node": node}


def make_feedback(name: str, host: str, running: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The message of a setting that was loaded; the arguments are those of `heartbeat`."""
    upload = lookup(running, f"{_FEATURES}.setting.feedback.uploadSetting")
    result = {"method": "deploy", "status": "ok", "version": lookup(running, "meta.version")}
    return {
        **make_heartbeat(name, host, running, now),
        "userdata": None,
        "action": {"api": "/setting/upload", "event": "/_api_/setting/upload"},
        "parameters": [{"result": result}],
        "setting": None if upload is False else running,
    }


def _way(running: Mapping[str, Any] | None, feature: str, kind: str) -> ReportChannel | None:
    found = lookup(running, f"{_FEATURES}.{feature}") if running else None
    if not isinstance(found, Mapping) or found.get("enable") is not True:
        return None
    told = found.get("feedback")
    info = told.get("info") if isinstance(told, Mapping) and told.get("type") == kind else None
    if not isinstance(info, Mapping) or not info.get("url"):
        return None
    return ReportChannel(str(info["url"]), float(info.get("timeout", 5)), str(info.get("schedule", "")))
