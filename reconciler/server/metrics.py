"""The figures of one watch, in a registry of its own: counts that grow, and the board as it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from reconciler import __version__
from reconciler.core.observation import KINDS, Observed
from reconciler.planning.withheld_steps import STALLED
from reconciler.server.watch_state import SourceState, WatchedCluster, WatchState

BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
TRIGGERS = ("start", "poll", "files", "webhook", "interval", "again")
LOOKS = ("new", "secrets", "same", "invalid", "unreachable")
DROPPED = ("deadline", "room", "files")
ANSWERS = tuple(kind.__name__.lower() for kind in KINDS)


class Metrics:
    """Every metric that the watch serves; the table in `docs/watch.md` names the same ones."""

    def __init__(self, watch_state: WatchState, *, dry_run: bool) -> None:
        self.registry = CollectorRegistry()
        self.triggers = self._counter("triggers", "What asked for a look or a pass.", "trigger")
        self.looks = self._counter("source_looks", "Looks at the source.", "result")
        self.passes = self._counter("passes", "Passes over a cluster.", "cluster", "result")
        self.steps = self._counter("steps", "Steps that ended.", "cluster", "action", "state")
        self.rejects = self._counter("webhook_rejects", "Webhook calls that were not believed.", "reason")
        self.dropped = self._counter(
            "http_connections_dropped", "Connections ended before their time.", "reason"
        )
        self.unexpected = self._counter(
            "unexpected_errors", "Unexpected errors, by the loop they came from.", "loop"
        )
        self.seconds = Histogram(
            "reconciler_pass_duration_seconds",
            "Seconds from the first question to the last answer of a pass.",
            ["cluster"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        for trigger in TRIGGERS:
            self.triggers.labels(trigger)
        for reason in DROPPED:
            self.dropped.labels(reason)
        for look in LOOKS:
            self.looks.labels(look)
        self.registry.register(StateCollector(watch_state, dry_run=dry_run))
        ProcessCollector(registry=self.registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics as bytes with their content type, in the newest format that `accept` allows."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"reconciler_{name}", description, labels, registry=self.registry)


class StateCollector:
    """A collector that reads the board at the moment it is asked, so that nothing outlives its cluster."""

    def __init__(self, watch_state: WatchState, *, dry_run: bool) -> None:
        self._watch_state, self._dry_run = watch_state, dry_run

    def collect(self) -> Iterator[Metric]:
        """All gauges."""
        yield self._describe_watch()
        yield from self._source()
        yield _make_gauge(
            "feedback_outbox_messages", "Messages that wait to be delivered.", self._watch_state.outbox
        )
        yield _make_gauge("store_writable", "Whether the store can be written.", not self._watch_state.store)
        yield _make_gauge(
            "log_writable", "Whether the log can be written.", not self._watch_state.log.problem
        )
        lost = CounterMetricFamily("reconciler_log_lines_lost", "Log lines that could not be written.")
        lost.add_metric([], self._watch_state.log.lost)
        yield lost
        yield from self._clusters()

    def _describe_watch(self) -> Metric:
        family = GaugeMetricFamily(
            "reconciler_watch_info", "Version and mode of the watch.", labels=["version", "dry_run"]
        )
        family.add_metric([__version__, str(self._dry_run).lower()], 1)
        return family

    def _source(self) -> Iterator[Metric]:
        source = self._watch_state.source
        reached = source.state in {SourceState.GOOD, SourceState.INVALID}
        yield _make_gauge("source_up", "Whether the source answered the last look.", reached)
        good = source.state is SourceState.GOOD
        yield _make_gauge("source_valid", "Whether its newest revision is the one in use.", good)
        yield _make_gauge("source_looked_timestamp_seconds", "When the source was last asked.", source.looked)
        revision = GaugeMetricFamily(
            "reconciler_source_revision_info", "The revision in use.", labels=["source", "revision", "short"]
        )
        if source.revision:
            revision.add_metric([source.revision.source, source.revision.id, source.revision.short], 1)
        yield revision

    def _clusters(self) -> Iterator[Metric]:
        watch_state = self._watch_state
        yield self._per_cluster(
            "cluster_revision_info", "What the last pass worked towards.", "revision", _revisions
        )
        yield self._per_cluster("nodes", "Nodes by their last answer.", "observation", _answers)
        yield self._per_cluster("violations", "Guard verdicts against the last plan.", "code", _violations)
        figures: tuple[tuple[str, str, Callable[[WatchedCluster], float]], ...] = (
            ("stalled_nodes", "Nodes that nothing is sent to any more.", _stalled),
            ("pending_steps", "Steps planned that do not have their effect: the drift.", _pending),
            (
                "unsettled_passes",
                "Passes in a row that left something to try again.",
                lambda status: status.tries,
            ),
            ("last_pass_timestamp_seconds", "When the last pass ended.", lambda status: status.ended),
            (
                "last_success_timestamp_seconds",
                "When a pass last found or made everything as desired.",
                lambda status: status.success,
            ),
        )
        for name, description, figure in figures:
            family = GaugeMetricFamily(f"reconciler_{name}", description, labels=["cluster"])
            for cluster in sorted(watch_state.clusters):
                family.add_metric([cluster], float(figure(watch_state.clusters[cluster])))
            yield family

    def _per_cluster(
        self, name: str, description: str, label: str, figures: Callable[[WatchedCluster], dict[str, int]]
    ) -> Metric:
        family = GaugeMetricFamily(f"reconciler_{name}", description, labels=["cluster", label])
        for cluster, status in sorted(self._watch_state.clusters.items()):
            for value, figure in sorted(figures(status).items()):
                family.add_metric([cluster, value], figure)
        return family


def count_answers(observed: Observed[Any]) -> dict[str, int]:
    """How many nodes gave each of the kinds of answers."""
    counts = dict.fromkeys(ANSWERS, 0)
    for seen in observed.nodes.values():
        counts[type(seen).__name__.lower()] += 1
    return counts


def _make_gauge(name: str, description: str, value: float) -> Metric:
    family = GaugeMetricFamily(f"reconciler_{name}", description)
    family.add_metric([], float(value))
    return family


def _revisions(status: WatchedCluster) -> dict[str, int]:
    return {status.revision.id: 1} if status.revision else {}


def _answers(status: WatchedCluster) -> dict[str, int]:
    return dict(status.answers)


def _violations(status: WatchedCluster) -> dict[str, int]:
    codes = [violation.code for violation in status.pass_summary.violations] if status.pass_summary else []
    return {code: codes.count(code) for code in codes}


def _stalled(status: WatchedCluster) -> float:
    findings = status.pass_summary.findings if status.pass_summary else ()
    return float(sum(finding.code == STALLED for finding in findings))


def _pending(status: WatchedCluster) -> float:
    return float(status.pass_summary.pending) if status.pass_summary else 0.0
