"""The metrics of the node server, read at each scrape."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.node_server import NodeServerState, NodeServerStatus

DROPPED = ("deadline", "files", "handshake", "node", "room", "stalled")
POLL_ANSWERS = ("offer", "unavailable", "unchanged", "withheld")


def collect_node_metrics(server: NodeServerStatus | None) -> Iterator[Metric]:
    """All metrics of the node server; without samples if there is none."""
    yield from _collect_calls(server)
    yield from _collect_nodes(server)
    yield from _collect_buses(server)


def _collect_buses(server: NodeServerStatus | None) -> Iterator[Metric]:
    """What message buses have, and whether they are connected."""
    buses = server.state.buses if server else {}
    counters = server.counters if server else CallCounters()
    counts: dict[str, tuple[str, Mapping[str, float]]] = {
        "bus_published": ("Offers that the bus has acknowledged.", counters.bus_published),
        "bus_failed": ("Attempts to publish an offer that failed.", counters.bus_failed),
        "bus_received": ("Messages of a bus, also skipped ones.", counters.bus_received),
        "bus_claims": ("Messages on shared channels, which only name a node.", counters.bus_claims),
    }
    for name, (text, found) in counts.items():
        yield _counter(name, text, "bus", {bus: found.get(bus, 0) for bus in buses})
    skipped = dict(counters.bus_skipped)
    yield _counter("bus_skipped", "Messages of buses that were skipped, by why.", "why", skipped)
    now = time.time()
    gauges: dict[str, tuple[str, Mapping[str, float]]] = {
        "bus_connected": (
            "Whether a message bus is connected.",
            {bus: not state.problem for bus, state in buses.items()},
        ),
        "bus_waiting": (
            "Offers that a message bus should have by now, and does not.",
            {bus: state.waiting for bus, state in buses.items()},
        ),
        "bus_lag_seconds": (
            "How long the oldest of these offers waits.",
            {
                bus: max(0.0, now - state.oldest.timestamp()) if state.oldest else 0.0
                for bus, state in buses.items()
            },
        ),
        "bus_heard_timestamp_seconds": (
            "When the newest message of a bus was sent.",
            {bus: state.heard.timestamp() for bus, state in buses.items() if state.heard},
        ),
    }
    for name, (text, values) in gauges.items():
        yield _gauge(name, text, "bus", values)


def _collect_calls(server: NodeServerStatus | None) -> Iterator[Metric]:
    counters = server.counters if server else None
    polls = {name: getattr(counters, _FIELDS.get(name, name)) for name in POLL_ANSWERS} if counters else {}
    yield _counter("node_polls", "Polls of nodes by their answer.", "answer", polls)
    reports = dict(counters.reports) if counters else {}
    if counters:
        reports["invalid"] = counters.invalid
    yield _counter(
        "node_reports", "Reports of nodes by kind, also those that match no schema.", "kind", reports
    )
    refused = {str(status): number for status, number in dict(counters.refused).items()} if counters else {}
    yield _counter("node_refusals", "Refused calls of nodes and of strangers.", "status", refused)
    dropped = {**dict.fromkeys(DROPPED, 0), **dict(counters.dropped)} if counters else {}
    yield _counter(
        "node_connections_dropped", "Connections of nodes that the server ended early.", "reason", dropped
    )
    downloads = {"": counters.downloads} if counters else {}
    yield _counter("node_downloads", "Packages delivered to nodes, also in parts.", "", downloads)
    stored = {"": counters.stored} if counters else {}
    yield _counter("node_calls_stored", "Calls of nodes that were stored.", "", stored)
    groups = {"": counters.groups} if counters else {}
    yield _counter("node_call_groups", "Writes in which calls of nodes were stored.", "", groups)


_FIELDS = {"offer": "offers"}


def _collect_nodes(server: NodeServerStatus | None) -> Iterator[Metric]:
    state = server.state if server else NodeServerState()
    is_here = server is not None
    up = {"": not server.problem} if server else {}
    yield _gauge("node_server_up", "Whether calls of nodes can be stored.", "", up)
    numbers = {
        "node_connections": ("Open connections of nodes.", state.connections),
        "node_downloads_active": ("Downloads under way.", state.downloads),
        "node_downloads_waiting": ("Downloads that wait for their turn.", state.queued),
    }
    for name, (text, number) in numbers.items():
        yield _gauge(name, text, "", {"": number} if is_here else {})
    clusters = state.clusters.items()
    numbers_by_cluster: dict[str, tuple[str, Mapping[str, float]]] = {
        "polled_nodes": ("Nodes with a URL of their own.", {one: found.nodes for one, found in clusters}),
        "polled_nodes_never_heard": (
            "Nodes that have never called.",
            {one: found.never for one, found in clusters},
        ),
        "polled_nodes_silent": (
            "Nodes that called before and miss more polls than allowed.",
            {one: len(found.silent) for one, found in clusters},
        ),
        "polled_nodes_waiting": (
            "Nodes that have not taken the offer that they may see.",
            {one: len(found.waiting) for one, found in clusters},
        ),
        "polled_nodes_clashing": (
            "Nodes whose reports do not agree with their token.",
            {one: len(found.clashes) for one, found in clusters},
        ),
        "polled_nodes_heard_timestamp_seconds": (
            "Oldest last call of all nodes that ever called.",
            {one: found.heard.timestamp() for one, found in clusters if found.heard},
        ),
    }
    for name, (text, values) in numbers_by_cluster.items():
        yield _gauge(name, text, "cluster", values)
    versions = GaugeMetricFamily(
        "reconciler_polled_nodes_version",
        "Nodes by the version that they said last.",
        labels=["cluster", "version"],
    )
    for cluster, found in clusters:
        for version, number in found.count_versions().items():
            versions.add_metric([cluster, version], number)
    yield versions


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"reconciler_{name}", text, labels=[label] if label else [])
    for value, number in values.items():
        family.add_metric([value] if label else [], float(number))
    return family


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"reconciler_{name}", text, labels=[label] if label else [])
    for value, number in values.items():
        family.add_metric([value] if label else [], number)
    return family
