"""Liveness and readiness of the watch, as plain JSON made from its state."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from reconciler.core.diagnostic_json import to_plain_problem
from reconciler.core.plan import Revision
from reconciler.server.nodes.bus_service import BusState
from reconciler.server.nodes.node_server import NodeServerStatus
from reconciler.server.nodes.summary import LISTED
from reconciler.server.pass_result import PassSummary
from reconciler.server.watch_state import SourceState, WatchedCluster, WatchState

FINDINGS = 20
"""Findings listed for one cluster; `findings_in_all` counts them all."""


def check_liveness(watch_state: WatchState, *, now: float) -> tuple[bool, dict[str, Any]]:
    """Whether every loop has reported by the time that it announced; with details.

    Args:
        watch_state: the current state.
        now: monotonic time, as for the heartbeats.
    """
    late = {
        name: round(now - until, 1) for name, until in sorted(watch_state.heartbeats.items()) if now > until
    }
    # Only the loops count. A source, store or node that fails is no reason to restart: a supervisor that
    # restarted the watch during an outage would make it longer.
    detail: dict[str, Any] = {"live": not late, "loops": sorted(watch_state.heartbeats)}
    if late:
        detail["late"] = late
        detail["reasons"] = [f"the {name} loop is {seconds:g} s late" for name, seconds in late.items()]
    return not late, detail


def check_readiness(watch_state: WatchState, *, dry_run: bool) -> tuple[bool, dict[str, Any]]:
    """Whether every cluster has had a pass, the source answers and the store can be written; with details."""
    reasons = list(_list_obstacles(watch_state))
    source = watch_state.source
    return not reasons, {
        "ready": not reasons,
        "reasons": reasons,
        "dry_run": dry_run,
        "source": {
            "state": source.state.value,
            "revision": _revision(source.revision),
            "rejected": source.rejected or None,
            "problem": source.message or None,
            **({"problems": [to_plain_problem(one) for one in source.problems]} if source.problems else {}),
            "read_at": _instant(source.read_at),
            "since": _instant(source.since),
        },
        "store": {"writable": not watch_state.store, "problem": watch_state.store or None},
        "log": {
            "writable": not watch_state.log.problem,
            "lines_lost": watch_state.log.lost,
            "problem": watch_state.log.problem or None,
        },
        "feedback": {"outbox": watch_state.outbox},
        **({"notifications": _addresses(watch_state)} if watch_state.addresses else {}),
        **({"nodes": _nodes(watch_state.node_server)} if watch_state.node_server else {}),
        "clusters": [_cluster(watch_state.clusters[name]) for name in sorted(watch_state.clusters)],
    }


def _list_obstacles(watch_state: WatchState) -> Iterator[str]:
    if watch_state.stopping:
        yield "the watch is stopping"
    if watch_state.source.state is SourceState.UNREAD:
        yield "the source has not been read yet"
    if watch_state.source.state is SourceState.UNREACHABLE:
        yield f"the source does not answer: {watch_state.source.message}"
    elif watch_state.source.revision is None and watch_state.source.state is SourceState.INVALID:
        yield f"the source has no usable revision: {watch_state.source.message}"
    if watch_state.store:
        yield f"the store cannot be written: {watch_state.store}"
    if watch_state.no_passes and watch_state.no_passes.partition(";")[0] != watch_state.store:
        yield f"this host takes no pass: {watch_state.no_passes}"
    if watch_state.node_server and watch_state.node_server.problem:
        yield f"the node server cannot use the store: {watch_state.node_server.problem}"
    waiting = [name for name, status in sorted(watch_state.clusters.items()) if status.pass_summary is None]
    if waiting:
        yield f"the first pass has not ended: {', '.join(waiting)}"


def _addresses(watch_state: WatchState) -> list[dict[str, Any]]:
    """Where people are told, and what waits for each address; no reason to be unready."""
    return [
        {
            "address": name,
            "waiting": state.waiting,
            "oldest": _instant(state.oldest.timestamp() if state.oldest else 0.0),
            "problem": state.problem or None,
            "given_up": state.given_up,
        }
        for name, state in sorted(watch_state.addresses.items())
    ]


def _nodes(server: NodeServerStatus) -> dict[str, Any]:
    """The node server, and the nodes that poll it."""
    state = server.state
    return {
        "listen": str(server.address),
        "problem": server.problem or None,
        "connections": state.connections,
        "downloads": {"active": state.downloads, "waiting": state.queued},
        "clusters": [
            {
                "cluster": name,
                "nodes": found.nodes,
                "never_heard": found.never,
                "oldest_call": _instant(found.heard.timestamp() if found.heard else 0.0),
                "silent": found.silent[:LISTED],
                "silent_in_all": len(found.silent),
                "waiting": found.waiting[:LISTED],
                "waiting_in_all": len(found.waiting),
                "clashes": dict(list(found.clashes.items())[:LISTED]),
                "versions": found.count_versions(),
            }
            for name, found in sorted(state.clusters.items())
        ],
        **({"buses": [_bus(name, bus) for name, bus in sorted(state.buses.items())]} if state.buses else {}),
    }


def _bus(name: str, bus: BusState) -> dict[str, Any]:
    """A message bus by which nodes are told and report."""
    return {
        "bus": name,
        "connected": not bus.problem,
        "problem": bus.problem or None,
        "waiting": bus.waiting,
        "oldest_waiting": _instant(bus.oldest.timestamp() if bus.oldest else 0.0),
        "newest_message": _instant(bus.heard.timestamp() if bus.heard else 0.0),
        "channels": bus.channels,
    }


def _cluster(status: WatchedCluster) -> dict[str, Any]:
    pass_summary = status.pass_summary
    return {
        "cluster": status.name,
        "revision": _revision(status.revision),
        "target": _revision(status.target),
        "outdated": status.is_outdated,
        "state": pass_summary.result.value if pass_summary else "new",
        "doing": status.doing,
        **({"host": status.host} if status.host else {}),
        "last_pass": _instant(status.ended),
        "last_success": _instant(status.success),
        "next_pass": _instant(status.due),
        "tries": status.tries,
        **_detail(pass_summary),
    }


def _detail(pass_summary: PassSummary | None) -> dict[str, Any]:
    if pass_summary is None:
        return {"pending": None}
    return {
        "pending": pass_summary.pending,
        "drift": [{"node": one.node, **one.plain()} for one in pass_summary.drift[:FINDINGS]],
        "pin": pass_summary.pin.pin.plain() if pass_summary.pin else None,
        "problem": pass_summary.message or None,
        "run": pass_summary.run or None,
        "unread_nodes": list(pass_summary.unread_nodes),
        "held_nodes": list(pass_summary.held_nodes),
        "waiting_for_restart": list(pass_summary.waiting_for_restart),
        "violations": [
            {"code": item.code, "target": item.target, "message": item.message, "remedy": item.remedy}
            for item in pass_summary.violations
        ],
        "findings": [
            {
                "severity": item.severity.value,
                "code": item.code,
                "target": item.target,
                "message": item.located,
            }
            for item in pass_summary.findings[:FINDINGS]
        ],
        "findings_in_all": len(pass_summary.findings),
    }


def _revision(revision: Revision | None) -> dict[str, str] | None:
    return {"id": revision.id, "short": revision.short, "title": revision.title} if revision else None


def _instant(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
