"""The metrics of one watch, in their own registry: counters, and gauges read from the watch state."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from reconciler import __version__
from reconciler.core.observation import KINDS, Observed
from reconciler.planning.withheld_findings import STALLED
from reconciler.server.nodes.node_metrics import collect_node_metrics
from reconciler.server.watch_state import SourceState, WatchState

BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
TRIGGERS = ("start", "poll", "files", "webhook", "interval", "retry", "hold-ends")
READ_RESULTS = ("new", "secrets", "same", "invalid", "unreachable")
DROPPED = ("deadline", "room", "files")
ANSWERS = tuple(kind.__name__.lower() for kind in KINDS)


class Metrics:
    """Every metric that the watch serves; the table in `docs/watch.md` names the same ones."""

    def __init__(self, watch_state: WatchState, *, dry_run: bool) -> None:
        # Not the registry of the process: several watches, as in tests, would have the same names.
        self.registry = CollectorRegistry()
        self.triggers = self._counter("triggers", "Triggers of source reads and passes.", "trigger")
        self.source_reads = self._counter("source_looks", "Reads of the source.", "result")
        self.passes = self._counter("passes", "Passes over a cluster.", "cluster", "result")
        self.steps = self._counter("steps", "Steps that ended.", "cluster", "action", "state")
        self.rejects = self._counter("webhook_rejects", "Rejected webhook calls.", "reason")
        self.dropped = self._counter(
            "http_connections_dropped", "Connections that the listener closed early.", "reason"
        )
        self.unexpected = self._counter("unexpected_errors", "Unexpected errors by loop.", "loop")
        self.seconds = Histogram(
            "reconciler_pass_duration_seconds",
            "Duration of passes in seconds.",
            ["cluster"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        # Each known label starts at 0: a series that appears with its first event hides that event from
        # `rate()`.
        for trigger in TRIGGERS:
            self.triggers.labels(trigger)
        for reason in DROPPED:
            self.dropped.labels(reason)
        for result in READ_RESULTS:
            self.source_reads.labels(result)
        self.registry.register(StateCollector(watch_state, dry_run=dry_run))
        ProcessCollector(registry=self.registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics as bytes with their content type, in the newest format that `accept` allows."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"reconciler_{name}", description, labels, registry=self.registry)


class StateCollector:
    """Reads the watch state at each scrape, so that no series outlives its cluster."""

    def __init__(self, watch_state: WatchState, *, dry_run: bool) -> None:
        self._watch_state, self._dry_run = watch_state, dry_run

    def collect(self) -> Iterator[Metric]:
        """All gauges."""
        info = GaugeMetricFamily(
            "reconciler_watch_info", "Version and mode of the watch.", labels=["version", "dry_run"]
        )
        info.add_metric([__version__, str(self._dry_run).lower()], 1)
        yield info
        yield from self._source()
        yield _make_gauge(
            "feedback_outbox_messages", "Feedback messages that wait for delivery.", self._watch_state.outbox
        )
        yield from self._notices()
        yield _make_gauge("store_writable", "Whether the store can be written.", not self._watch_state.store)
        yield _make_gauge(
            "log_writable", "Whether the log can be written.", not self._watch_state.log.problem
        )
        lost = CounterMetricFamily("reconciler_log_lines_lost", "Log lines that could not be written.")
        lost.add_metric([], self._watch_state.log.lost)
        yield lost
        yield from self._clusters()
        yield self._unmanaged()
        yield self._hosts()
        yield from collect_node_metrics(self._watch_state.node_server)

    def _notices(self) -> Iterator[Metric]:
        """What waits for each address where people are told."""
        waiting = GaugeMetricFamily(
            "reconciler_notices_waiting", "Notices that wait for delivery.", labels=["address"]
        )
        failing = GaugeMetricFamily(
            "reconciler_notices_failing", "Whether the last delivery failed.", labels=["address"]
        )
        given_up = CounterMetricFamily(
            "reconciler_notices_given_up", "Notices that could not be delivered.", labels=["address"]
        )
        for name, state in sorted(self._watch_state.addresses.items()):
            waiting.add_metric([name], state.waiting)
            failing.add_metric([name], bool(state.problem))
            given_up.add_metric([name], state.given_up)
        yield from (waiting, failing, given_up)

    def _source(self) -> Iterator[Metric]:
        source = self._watch_state.source
        reached = source.state in {SourceState.GOOD, SourceState.INVALID}
        yield _make_gauge("source_up", "Whether the source answered the last read.", reached)
        good = source.state is SourceState.GOOD
        yield _make_gauge("source_valid", "Whether its newest revision is in use.", good)
        yield _make_gauge("source_looked_timestamp_seconds", "When the source was last read.", source.read_at)
        revision = GaugeMetricFamily(
            "reconciler_source_revision_info", "The revision in use.", labels=["source", "revision", "short"]
        )
        if source.revision:
            revision.add_metric([source.revision.source, source.revision.id, source.revision.short], 1)
        yield revision

    def _unmanaged(self) -> Metric:
        """How many nodes show something in the fields that are not ours."""
        found = GaugeMetricFamily(
            "reconciler_unmanaged_nodes",
            "Nodes that show a value in a field that is not ours.",
            labels=["cluster", "field"],
        )
        for cluster, status in sorted(self._watch_state.clusters.items()):
            summary = status.pass_summary
            for pattern, count in sorted((summary.unmanaged if summary else {}).items()):
                found.add_metric([cluster, pattern], count)
        return found

    def _hosts(self) -> Metric:
        """Which host runs, or ran, the last pass of each cluster, if several share the passes."""
        found = GaugeMetricFamily(
            "reconciler_last_pass_host_info",
            "Host that runs, or ran, the last pass.",
            labels=["cluster", "host"],
        )
        for cluster, status in sorted(self._watch_state.clusters.items()):
            if status.host:
                found.add_metric([cluster, status.host], 1)
        return found

    def _clusters(self) -> Iterator[Metric]:
        def gauge(name: str, description: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"reconciler_{name}", description, labels=["cluster", *labels])

        revision = gauge("cluster_revision_info", "Revision of the last pass.", "revision")
        outdated = gauge("cluster_outdated", "Whether a revision that changes it waits for its first pass.")
        nodes = gauge("nodes", "Nodes by their last observation.", "observation")
        violations = gauge("violations", "Guard violations of the last plan.", "code")
        stalled = gauge("stalled_nodes", "Nodes that no more steps are sent to.")
        held = gauge("held_nodes", "Nodes that nothing is sent to by order of a person.")
        drifted = gauge("drifted_nodes", "Nodes that were changed behind our back, by the last pass.")
        drift_began = gauge("drift_timestamp_seconds", "Since when the longest drifted node has drifted.")
        pinned = gauge("pinned_timestamp_seconds", "Since when a rollback pins the cluster.", "revision")
        pending = gauge("pending_steps", "Planned steps without their effect: the drift.")
        tries = gauge("unsettled_passes", "Passes in a row that need a retry.")
        ended = gauge("last_pass_timestamp_seconds", "When the last pass ended.")
        success = gauge(
            "last_success_timestamp_seconds", "When a pass last found or made everything as desired."
        )
        # What is about a cluster that is missing from the fleet file is found by each pass over another one.
        found = {
            (violation.cluster or cluster, violation.code, violation.target, violation.message)
            for cluster, status in self._watch_state.clusters.items()
            for violation in (status.pass_summary.violations if status.pass_summary else ())
        }
        for (cluster, code), count in sorted(collections.Counter((one[0], one[1]) for one in found).items()):
            violations.add_metric([cluster, code], count)
        for cluster, status in sorted(self._watch_state.clusters.items()):
            summary = status.pass_summary
            if status.revision:
                revision.add_metric([cluster, status.revision.id], 1)
            outdated.add_metric([cluster], status.is_outdated)
            for kind, count in sorted(status.answers.items()):
                nodes.add_metric([cluster, kind], count)
            findings = summary.findings if summary else ()
            stalled.add_metric([cluster], sum(finding.code == STALLED for finding in findings))
            held.add_metric([cluster], len(summary.held_nodes) if summary else 0)
            drifted.add_metric([cluster], len(summary.drift) if summary else 0)
            if began := [one.since for one in (summary.drift if summary else ()) if one.since]:
                drift_began.add_metric([cluster], min(began).timestamp())
            if summary and summary.pin:
                pin = summary.pin.pin
                pinned.add_metric([cluster, pin.revision.id if pin.revision else ""], pin.since.timestamp())
            pending.add_metric([cluster], summary.pending if summary else 0)
            tries.add_metric([cluster], status.tries)
            ended.add_metric([cluster], status.ended)
            success.add_metric([cluster], status.success)
        expiry = GaugeMetricFamily(
            "reconciler_expiry_timestamp_seconds",
            "When something ends that has expired or expires soon.",
            labels=["kind", "target", "what"],
        )
        ends = {
            one
            for status in self._watch_state.clusters.values()
            for one in (status.pass_summary.expiries if status.pass_summary else ())
        }
        for one in sorted(ends, key=lambda one: (one.kind, one.target, one.what, one.at)):
            expiry.add_metric([one.kind.value, one.target, one.what], one.at.timestamp())
        yield expiry
        operations = gauge(
            "operation_nodes", "Nodes of operations that have not ended, by state.", "operation", "state"
        )
        for (cluster, kind, state), count in sorted(self._watch_state.operations.items()):
            operations.add_metric([cluster, kind, state], count)
        yield operations
        yield from (
            revision,
            outdated,
            nodes,
            violations,
            stalled,
            held,
            drifted,
            drift_began,
            pinned,
            pending,
        )
        yield from (tries, ended, success)


def count_answers(observed: Observed[Any]) -> dict[str, int]:
    """Number of nodes by kind of observation."""
    counts = dict.fromkeys(ANSWERS, 0)
    for seen in observed.nodes.values():
        counts[type(seen).__name__.lower()] += 1
    return counts


def _make_gauge(name: str, description: str, value: float) -> Metric:
    family = GaugeMetricFamily(f"reconciler_{name}", description)
    family.add_metric([], float(value))
    return family
