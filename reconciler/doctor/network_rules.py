"""Judges facts about what is reached over the network: names, proxies, nodes, certificates, clocks; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from statistics import median
from typing import Final

from reconciler.core.timestamps import format_minute
from reconciler.descriptions.values import format_count
from reconciler.doctor.facts import CertificateFact, ClockSample, NameFacts, NodeFact, ProxyFacts
from reconciler.doctor.findings import (
    DoctorFinding,
    Topic,
    report_error,
    report_ok,
    report_unchecked,
    report_warning,
)
from reconciler.text.node_names import format_node_names, group_by_key
from reconciler.text.one_line import join_some

_TOLERANCE: Final = 5.0
_FAR_OFF: Final = 60.0
"""Seconds that clocks may differ without harm; and from which on tokens, windows and leases are wrong."""

_SOON: Final = 30
"""Days before its end from which on a certificate is warned of."""

_MOST_NAMED: Final = 8


def judge_names(facts: NameFacts) -> Iterator[DoctorFinding]:
    """Whether the names resolve, and to addresses that this machine can reach."""
    topic, good = Topic.NAMES, []
    for one in facts.names:
        if one.problem:
            yield report_error(
                topic,
                f"the name does not resolve: {one.problem}",
                "correct the name, or the name servers in /etc/resolv.conf",
                f"{one.name} ({one.users})",
            )
        elif not one.v4 and not facts.has_v6:
            yield report_error(
                topic,
                "the name has only IPv6 addresses, and this machine has no route for IPv6",
                "set up IPv6 on this machine, or add an IPv4 address to the name",
                f"{one.name} ({one.users})",
            )
        else:
            good.append(one)
    if good:
        both = sum(bool(one.v4 and one.v6) for one in good)
        only = sum(not one.v4 for one in good)
        yield report_ok(
            topic,
            f"{format_count(len(good), 'name')} resolved: {len(good) - both - only} to IPv4, {only} to IPv6, "
            f"{both} to both",
        )
    if facts.far:
        yield report_unchecked(
            topic,
            f"{join_some(facts.far, _MOST_NAMED)}: resolved on the machine of the jump host",
        )
    if facts.left_out:
        yield report_unchecked(topic, f"{format_count(facts.left_out, 'more name')}: too many to ask for all")
    if not facts.is_fleet_known:
        yield report_unchecked(topic, "names of nodes: the fleet could not be read from the source")
    elif not facts.names and not facts.far:
        yield report_ok(topic, "fleet and host configuration have addresses only, no names")


def judge_proxy(facts: ProxyFacts) -> Iterator[DoctorFinding]:
    """What goes through a proxy, and whether that is what somebody wants."""
    topic = Topic.PROXY
    if facts.problem:
        yield report_error(topic, facts.problem, "correct the variable, or unset it")
        return
    if not facts.variables:
        yield report_ok(topic, "no proxy is set: everything is reached directly")
        return
    listed = ", ".join(f"{name} is {proxy}" for name, proxy in sorted(facts.variables.items()))
    if facts.source_variable and facts.is_source_private:
        yield report_warning(
            topic,
            f"the source {facts.source} has an address of a private network, and {facts.source_variable} "
            "sends requests for it to a proxy",
            f"add {facts.source} to NO_PROXY, if the proxy does not reach it",
        )
    elif facts.source_variable:
        yield report_ok(topic, f"the source {facts.source} is reached through a proxy: {listed}")
    elif facts.source:
        yield report_ok(topic, f"the source {facts.source} is reached directly, in spite of {listed}")
    else:
        yield report_ok(topic, f"the source needs no proxy; {listed}")
    if facts.nodes:
        yield report_warning(
            topic,
            f"nodes are always reached directly, but other programs of this machine, such as curl, send "
            f"calls to {format_count(facts.nodes, 'host')} of nodes to a proxy, and so show other answers",
            "add the networks of the nodes to NO_PROXY",
        )


def judge_node_readings(facts: Sequence[NodeFact]) -> Iterator[DoctorFinding]:
    """Which nodes can be read: a summary of each cluster, and each kind of failure once."""
    topic = Topic.NODES
    for cluster, some in groupby(facts, key=lambda one: one.cluster):
        nodes = [*some]
        asked = [one for one in nodes if not one.polls]
        failed = [one for one in asked if one.failure]
        if len(asked) < len(nodes):
            yield report_unchecked(
                topic,
                f"{format_count(len(nodes) - len(asked), 'node')} of {cluster} poll: they cannot be asked",
                "`reconcile status` shows when they called",
            )
        if asked and not failed:
            yield report_ok(topic, f"{cluster}: {format_count(len(asked), 'node')} can be read")
        elif failed and len(failed) < len(asked):
            yield report_ok(topic, f"{cluster}: {len(asked) - len(failed)} of {len(asked)} nodes can be read")
        for group in group_by_key(failed, lambda one: (one.failure, one.reason)):
            first = group[0]
            yield report_error(
                topic,
                f"{first.failure}: {first.reason}",
                first.remedy
                or "look at the nodes and at the network between; `reconcile status` shows each one",
                f"{cluster}: {format_node_names([one.node for one in group])}",
            )


def judge_certificates(facts: Sequence[CertificateFact], now: datetime) -> Iterator[DoctorFinding]:
    """Which certificates end soon."""
    topic, good = Topic.CERTIFICATES, []
    for one in facts:
        left = (one.end - now).total_seconds() if one.end else 0.0
        if one.problem:
            yield report_error(
                topic, f"{one.what} cannot be used: {one.problem}", "correct the file", one.where
            )
        elif one.end is None:
            yield report_unchecked(topic, f"{one.what}: its end cannot be read", where=one.where)
        elif left <= 0:
            when = format_minute(one.end)
            yield report_error(topic, f"{one.what} expired on {when} UTC", "replace it", one.where)
        elif left < _SOON * 86400:
            when, days = format_minute(one.end), format_count(int(left // 86400), "day")
            yield report_warning(
                topic, f"{one.what} expires on {when} UTC, in {days}", "replace it before", one.where
            )
        else:
            good.append(one.end)
    if good:
        first = format_minute(min(good))
        yield report_ok(
            topic, f"{format_count(len(good), 'certificate')}; the first one expires on {first} UTC"
        )
    if not facts:
        yield report_ok(topic, "no certificates: neither this host nor the nodes that answered use TLS")


def judge_clock(samples: Sequence[ClockSample]) -> Iterator[DoctorFinding]:
    """Whether this machine's clock, or that of a single node, is wrong."""
    topic = Topic.CLOCK
    if not samples:
        yield report_unchecked(
            topic, "nobody told the time: no node, git server or database answered with it"
        )
        return
    wrong = [one for one in samples if abs(one.offset) - one.uncertainty > _TOLERANCE]
    right = len(samples) - len(wrong)
    # A server that keeps the records counts more than nodes: leases and windows are measured by it.
    servers = [one for one in wrong if not one.is_node]
    if servers or len(wrong) > right:
        offset = median(one.offset for one in servers or wrong)
        report = report_error if abs(offset) > _FAR_OFF else report_warning
        yield report(
            topic,
            f"this machine's clock is {_describe_offset(offset)}, compared with "
            f"{join_some([one.whose for one in servers or wrong], _MOST_NAMED)}",
            "set the clock, and keep it right with a time service such as chrony or systemd-timesyncd",
        )
        return
    if right:
        widest = max(abs(one.offset) for one in samples if one not in wrong)
        yield report_ok(topic, f"within {max(1, round(widest))} s of {format_count(right, 'other clock')}")
    for one in wrong:
        yield report_warning(
            topic,
            f"the clock of {one.whose} is {_describe_offset(-one.offset)}",
            "set the clock there: its reports, certificates and tokens depend on it",
        )


def _describe_offset(seconds: float) -> str:
    """`12 s ahead`, or `3 s behind`."""
    return f"{abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}"
