"""What a simulated node reports by itself: to whom, when, and the message v1 that it sends; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cronsim import CronSim, CronSimError

from reconciler.core.timestamps import format_timestamp
from reconciler.drivers.m2.machine import lookup
from reconciler.drivers.m2.simulator import M2World
from reconciler.ports.simulator import NodeMessage

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


class Reporter:
    """Knows what the nodes of a world have reported.

    Args:
        world: the nodes.
        hosts: node -> the host at which it listens.
    """

    def __init__(self, world: M2World, hosts: Mapping[str, str]) -> None:
        self._world = world
        self._hosts = hosts
        self._reloads: dict[str, int] | None = None
        self._due: dict[tuple[str, str], datetime] = {}

    def due(self, now: datetime) -> Iterator[NodeMessage]:
        """What is due; a change counts from the first time on that this is asked."""
        nodes = list(self._nodes())
        if self._reloads is None:
            self._reloads = {name: reloads for name, reloads, _ in nodes}
        for name, reloads, running in nodes:
            yield from self._after_change(self._reloads, name, reloads, running, now)
            yield from self._by_cron(name, running, now)

    def _nodes(self) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
        """Name, number of settings loaded, and setting in effect, of each node that is up."""
        for name in self._world.names:
            state = self._world.state(name)
            if state.up and state.running is not None:
                yield name, state.reloads, state.running

    def _after_change(
        self, shown: dict[str, int], name: str, reloads: int, running: Mapping[str, Any], now: datetime
    ) -> Iterator[NodeMessage]:
        before = shown.get(name, 0)
        shown[name] = reloads
        way = find_feedback_channel(running)
        if reloads != before and way is not None:
            yield _message(name, way, make_feedback(name, self._hosts[name], running, format_timestamp(now)))

    def _by_cron(self, name: str, running: Mapping[str, Any], now: datetime) -> Iterator[NodeMessage]:
        way = find_heartbeat_channel(running)
        if way is None or not way.schedule:
            return
        key = (name, way.schedule)
        if key not in self._due:
            self._due[key] = _next(way.schedule, now)
        if now >= self._due[key]:
            self._due[key] = _next(way.schedule, now)
            yield _message(name, way, make_heartbeat(name, self._hosts[name], running, format_timestamp(now)))


def _message(node: str, way: ReportChannel, content: Mapping[str, Any]) -> NodeMessage:
    return NodeMessage(node, way.url, content, way.timeout)


def _next(schedule: str, now: datetime) -> datetime:
    try:
        return next(CronSim(schedule, now))
    except (CronSimError, StopIteration):
        return datetime.max.replace(tzinfo=UTC)
