"""The reports of a simulated node: to whom, when, and the message v1 (M2 manual, Message v1); pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cronsim import CronSim, CronSimError

from reconciler.core.timestamps import format_timestamp
from reconciler.drivers.m2.machine import lookup
from reconciler.drivers.m2.simulator.world import M2World
from reconciler.ports.simulator import NodeMessage

PRODUCT: Final = "2.8.1"
"""The product version in the messages, from the manual's examples."""

_FEATURES: Final = "env.management.server.features"


@dataclass(frozen=True, slots=True)
class ReportChannel:
    """Where and when a node reports.

    Args:
        timeout: seconds for one POST.
        schedule: cron with six fields; empty for a report at an event.
    """

    url: str
    timeout: float
    schedule: str = ""


def find_channel(running: Mapping[str, Any], feature: str, kind: str) -> ReportChannel | None:
    """The HTTP feedback of a feature; None where the setting has none of this type."""
    part = lookup(running, f"{_FEATURES}.{feature}")
    feedback = part.get("feedback") if isinstance(part, Mapping) and part.get("enable") is True else None
    info = feedback.get("info") if isinstance(feedback, Mapping) and feedback.get("type") == kind else None
    if not isinstance(info, Mapping) or not info.get("url"):
        return None
    return ReportChannel(str(info["url"]), float(info.get("timeout", 5)), str(info.get("schedule", "")))


def make_heartbeat(name: str, host: str, running: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The message of a heartbeat.

    Args:
        name: of the node, which it sends as its hostname.
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
    """The message of a setting that was loaded; see `make_heartbeat`."""
    upload = lookup(running, f"{_FEATURES}.setting.feedback.uploadSetting")
    result = {"method": "deploy", "status": "ok", "version": lookup(running, "meta.version")}
    return {
        **make_heartbeat(name, host, running, now),
        "userdata": None,
        "action": {"api": "/setting/upload", "event": "/_api_/setting/upload"},
        "parameters": [{"result": result}],
        "setting": None if upload is False else running,
    }


class Reporter:
    """Makes the messages of the nodes of a world.

    Args:
        world: the nodes.
        hosts: node -> the host at which it listens.
    """

    def __init__(self, world: M2World, hosts: Mapping[str, str]) -> None:
        self._world = world
        self._hosts = hosts
        self._has_begun = False
        self._reloads: dict[str, int] = {}
        self._due: dict[tuple[str, str], datetime] = {}

    def due(self, now: datetime) -> Iterator[NodeMessage]:
        """Messages that are due: heartbeats by their cron, feedbacks about changes after the first call."""
        for name in self._world.names:
            state = self._world.state(name)
            if not state.up or state.running is None:
                continue
            sender = (name, self._hosts[name], state.running, format_timestamp(now))
            # A node that was down at the first call has reported nothing yet: its count starts at 0.
            before = self._reloads.get(name, 0 if self._has_begun else state.reloads)
            self._reloads[name] = state.reloads
            feedback = find_channel(state.running, "setting", "api")
            if feedback and state.reloads != before:
                yield NodeMessage(name, feedback.url, make_feedback(*sender), feedback.timeout)
            heartbeat = find_channel(state.running, "heartbeat", "apiPolling")
            if heartbeat and heartbeat.schedule:
                key = (name, heartbeat.schedule)
                is_due = key in self._due and now >= self._due[key]
                if is_due or key not in self._due:
                    self._due[key] = _find_next_time(heartbeat.schedule, now)
                if is_due:
                    yield NodeMessage(name, heartbeat.url, make_heartbeat(*sender), heartbeat.timeout)
        self._has_begun = True


def _find_next_time(schedule: str, now: datetime) -> datetime:
    try:
        return next(CronSim(schedule, now))
    except (CronSimError, StopIteration):  # a setting may have any text there: the node never reports
        return datetime.max.replace(tzinfo=UTC)
