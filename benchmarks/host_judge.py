"""Judges a trial of several hosts by what nodes, sink and database have recorded, and not by what hosts say.

Pure: records in, breaches out. `benchmarks/hosts.py` reads the records.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

EARLY_SECONDS = 0.01
"""How much earlier than its intent a call may seem to arrive: the times of the store have milliseconds."""

SHOWN = 5
"""Breaches of one kind that are shown in words."""


class Upload(NamedTuple):
    """A complete upload that arrived at a node; times in seconds since 1970."""

    at: float
    node: str
    version: str
    digest: str


class Received(NamedTuple):
    """A message of feedback that the sink accepted."""

    at: float
    id: str
    run: str


class Intent(NamedTuple):
    """A step of the journal whose intent was written; while it is open, `ended` is None and `state` empty."""

    run: str
    node: str
    intended: float
    ended: float | None
    state: str


class Message(NamedTuple):
    """A message of the outbox, in the order of the outcomes."""

    id: str
    run: str
    is_delivered: bool


class Commit(NamedTuple):
    """A commit of one setting for a cluster; the digest is that of the setting."""

    at: float
    cluster: str
    version: str
    digest: str


@dataclass(frozen=True)
class Records:
    """All that was recorded.

    Args:
        clusters: cluster -> its nodes.
        commits: in order; the first of each cluster is what its nodes had at the start.
        touched: cluster -> when its nodes were called, in order.
        ends: cluster -> when passes ended that did not fail, in order, as hosts or the database tell.
        excuses: messages that may be delivered again: one for each kill and each connection that was lost.
        watched: begin and end of the time in which no cluster may be idle.
        longest_idle: seconds.
    """

    clusters: Mapping[str, Sequence[str]]
    commits: Sequence[Commit]
    uploads: Sequence[Upload]
    received: Sequence[Received]
    intents: Sequence[Intent]
    messages: Sequence[Message]
    touched: Mapping[str, Sequence[float]]
    ends: Mapping[str, Sequence[float]]
    excuses: int
    watched: tuple[float, float]
    longest_idle: float


class Gap(NamedTuple):
    """The longest time in which something did not happen to a cluster."""

    seconds: float
    cluster: str

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s ({self.cluster})"


def judge(records: Records) -> list[str]:
    """The breaches, in words; none if all holds."""
    found: list[str] = []
    for kind in (
        find_doubles,
        find_wrong_content,
        find_steps_back,
        find_missing_changes,
        find_unrecorded_calls,
        find_open_intents,
        find_lost_messages,
        find_disorder,
        find_idle_clusters,
    ):
        breaches = list(kind(records))
        found += breaches[:SHOWN]
        if len(breaches) > SHOWN:
            found.append(f"… and {len(breaches) - SHOWN} more like the last one")
    return found


def find_doubles(records: Records) -> Iterator[str]:
    """Nodes that got one version twice."""
    for (node, version), count in Counter((one.node, one.version) for one in records.uploads).items():
        if count > 1:
            yield f"done twice: {node} got version {version} {count} times"


def find_wrong_content(records: Records) -> Iterator[str]:
    """Uploads that are not what was committed for the cluster of the node, or came before the commit."""
    cluster_of = {node: cluster for cluster, nodes in records.clusters.items() for node in nodes}
    commits = {(one.cluster, one.version): one for one in records.commits}
    for one in records.uploads:
        commit = commits.get((cluster_of[one.node], one.version))
        if commit is None or commit.digest != one.digest or one.at < commit.at:
            yield f"never committed: {one.node} got version {one.version} with other content, or too early"


def find_steps_back(records: Records) -> Iterator[str]:
    """Nodes that got an older version after a newer one."""
    order = {(one.cluster, one.version): number for number, one in enumerate(records.commits)}
    for cluster, node, uploads in _list_uploads(records):
        for before, after in pairwise(uploads):
            if order.get((cluster, after.version), -1) < order.get((cluster, before.version), -1):
                yield f"went back: {node} got version {after.version} after {before.version}"


def find_missing_changes(records: Records) -> Iterator[str]:
    """Commits that a node never got, although no newer one replaced them; the last one above all."""
    commits = _group_commits(records)
    for cluster, node, uploads in _list_uploads(records):
        got = {one.version: one.at for one in uploads}
        for commit, newer in pairwise([*commits[cluster][1:], None]):
            if commit is None or commit.version in got:
                continue
            if newer is None:
                yield f"lost: {node} never got version {commit.version}, the last one of {cluster}"
            elif newer.at - commit.at > 2 * records.longest_idle:
                yield f"lost: {node} never got version {commit.version}, which was the newest for long"


def count_superseded(records: Records) -> int:
    """Changes that a node did not get because a newer commit came first."""
    commits, count = _group_commits(records), 0
    for cluster, _, uploads in _list_uploads(records):
        got = {one.version for one in uploads}
        count += sum(one.version not in got for one in commits[cluster][1:-1])
    return count


def find_unrecorded_calls(records: Records) -> Iterator[str]:
    """Uploads that arrived outside the time between an intent for the node and its outcome."""
    intents = defaultdict(list)
    for intent in records.intents:
        intents[intent.node].append(intent)
    for one in records.uploads:
        if not any(
            known.intended - EARLY_SECONDS <= one.at and (known.ended is None or one.at <= known.ended)
            for known in intents[one.node]
        ):
            yield f"sent without an intent: {one.node} got version {one.version}"


def find_open_intents(records: Records) -> Iterator[str]:
    """Intents without an outcome, or of which nobody found out what became of them."""
    for one in records.intents:
        if one.ended is None or one.state in {"", "unknown"}:
            yield f"without an outcome: the step for {one.node} in the run {one.run} ({one.state or 'open'})"


def find_lost_messages(records: Records) -> Iterator[str]:
    """Messages that were not delivered, that nobody wrote, or that came again without a reason."""
    received = {one.id for one in records.received}
    for message in records.messages:
        if not message.is_delivered:
            yield f"message not delivered in time: {message.id} of the run {message.run}"
        elif message.id not in received:
            yield f"message lost: {message.id} of the run {message.run}"
    # A host that is killed between the answer of the sink and its record leaves one message to be sent again.
    repeated = len(records.received) - len(received)
    if repeated > records.excuses:
        yield f"delivered again: {repeated} messages, of which {records.excuses} have a reason"
    for unknown in sorted(received - {message.id for message in records.messages}):
        yield f"message of nobody: {unknown}"


def find_disorder(records: Records) -> Iterator[str]:
    """Runs whose messages came for the first time in another order than their outcomes."""
    first: dict[str, int] = {}
    for number, one in enumerate(records.received):
        first.setdefault(one.id, number)
    for before, after in pairwise(one for one in _group_messages(records) if one.id in first):
        if before.run == after.run and first[before.id] > first[after.id]:
            yield f"out of order: {after.id} before {before.id} in the run {after.run}"


def find_idle_clusters(records: Records) -> Iterator[str]:
    """Clusters that nobody called, or for which no pass ended, for too long."""
    for what, times in (("no node was called", records.touched), ("no pass ended", records.ends)):
        for cluster in records.clusters:
            seconds = measure_gap(times.get(cluster, ()), records.watched)
            if seconds > records.longest_idle:
                bound = f"the bound is {records.longest_idle:g} s"
                yield f"idle: {what} in {cluster} for {seconds:.1f} s, {bound}"


def find_longest_gap(
    times: Mapping[str, Sequence[float]], clusters: Iterable[str], watched: tuple[float, float]
) -> Gap:
    """The cluster with the longest gap."""
    return max(Gap(measure_gap(times.get(cluster, ()), watched), cluster) for cluster in clusters)


def measure_gap(times: Sequence[float], watched: tuple[float, float]) -> float:
    """The longest time between two moments, of which one lies in the watched time, or its bounds."""
    begin, end = watched
    inside = [one for one in times if begin <= one <= end]
    before = max((one for one in times if one < begin), default=begin)
    return max(after - earlier for earlier, after in pairwise([before, *inside, end]))


def _group_commits(records: Records) -> dict[str, list[Commit]]:
    found: dict[str, list[Commit]] = {cluster: [] for cluster in records.clusters}
    for one in records.commits:
        found[one.cluster].append(one)
    return found


def _group_messages(records: Records) -> list[Message]:
    """The messages of each run together, in their order."""
    return sorted(records.messages, key=lambda one: one.run)


def _list_uploads(records: Records) -> Iterator[tuple[str, str, list[Upload]]]:
    """Cluster, node, and its uploads in the order in which they arrived."""
    of_node = defaultdict(list)
    for one in records.uploads:
        of_node[one.node].append(one)
    for cluster, nodes in records.clusters.items():
        for node in nodes:
            yield cluster, node, of_node[node]
