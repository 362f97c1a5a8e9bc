"""What `reconcile doctor` makes of names, proxies, nodes, certificates and clocks."""

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.doctor.facts import (
    CertificateFact,
    ClockSample,
    NameFact,
    NameFacts,
    NodeFact,
    ProxyFacts,
)
from reconciler.doctor.findings import FindingState
from reconciler.doctor.network_rules import (
    judge_certificates,
    judge_clock,
    judge_names,
    judge_node_readings,
    judge_proxy,
)

OK, WARNING, ERROR, UNCHECKED = FindingState
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def shown(findings):
    return [(one.state, f"{one.where}: {one.what}" if one.where else one.what) for one in findings]


def test_names_that_do_not_resolve_are_errors_and_the_others_are_counted():
    names = (
        NameFact("a.example", "3 nodes", 1, 1),
        NameFact("b.example", "the source", problem="Name or service not known"),
        NameFact("c.example", "1 node", 0, 2),
    )
    assert shown(judge_names(NameFacts(names, has_v6=True))) == [
        (ERROR, "b.example (the source): the name does not resolve: Name or service not known"),
        (OK, "2 names resolved: 0 to IPv4, 1 to IPv6, 1 to both"),
    ]
    without = [state for state, text in shown(judge_names(NameFacts(names))) if "no route for IPv6" in text]
    assert without == [ERROR]


def test_names_that_are_not_asked_for_are_not_called_good():
    far = shown(judge_names(NameFacts((), far=("inner.example",))))
    assert far == [(UNCHECKED, "inner.example: resolved on the machine of the jump host")]
    assert next(state for state, _ in shown(judge_names(NameFacts((), left_out=3)))) is UNCHECKED
    assert [state for state, _ in shown(judge_names(NameFacts((), is_fleet_known=False)))] == [UNCHECKED]


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        (ProxyFacts({}), OK, "no proxy is set"),
        (ProxyFacts({"http_proxy": "p"}), OK, "needs no proxy"),
        (ProxyFacts({"http_proxy": "p"}, source="s"), OK, "directly, in spite of http_proxy is p"),
        (ProxyFacts({"http_proxy": "p"}, source="s", source_variable="http_proxy"), OK, "through a proxy"),
        (
            ProxyFacts({"x": "p"}, source="s", source_variable="x", is_source_private=True),
            WARNING,
            "private network",
        ),
        (ProxyFacts({"x": "p"}, problem="x is no URL"), ERROR, "x is no URL"),
        (ProxyFacts({"x": "p"}, nodes=7), WARNING, "7 hosts of nodes to a proxy"),
    ],
)
def test_what_goes_through_a_proxy_is_told(facts, state, words):
    worst = max(judge_proxy(facts), key=lambda one: (one.state is not OK, one.what))
    assert worst.state is state
    assert words in worst.what


def test_equal_failures_of_a_cluster_are_one_finding_and_clusters_have_one_summary_each():
    nodes = [
        NodeFact("edge", "e1"),
        NodeFact("edge", "e2", "unreachable", "connection refused", "start it"),
        NodeFact("edge", "e3", "unreachable", "connection refused", "start it"),
        NodeFact("edge", "e4", "not authorized", "403"),
        NodeFact("live", "l1"),
        NodeFact("poll", "p1", polls=True),
    ]
    assert shown(judge_node_readings(nodes)) == [
        (OK, "edge: 1 of 4 nodes can be read"),
        (ERROR, "edge: e2, e3 (2 nodes): unreachable: connection refused"),
        (ERROR, "edge: e4: not authorized: 403"),
        (OK, "live: 1 node can be read"),
        (UNCHECKED, "1 node of poll poll: they cannot be asked"),
    ]


@pytest.mark.parametrize(
    ("days", "state", "words"),
    [(90, OK, "1 certificate"), (10, WARNING, "in 10 days"), (-1, ERROR, "expired on 2026-11-20")],
)
def test_a_certificate_is_warned_of_before_its_end(days, state, words):
    (found,) = judge_certificates([CertificateFact("it", "/c.pem", NOW + timedelta(days=days))], NOW)
    assert (found.state, words in found.what) == (state, True)


def test_a_certificate_that_cannot_be_used_or_read_is_named():
    facts = [CertificateFact("it", "/c.pem", problem="no PEM"), CertificateFact("other", "h:443")]
    assert [state for state, _ in shown(judge_certificates(facts, NOW))] == [ERROR, UNCHECKED]
    assert [state for state, _ in shown(judge_certificates([], NOW))] == [OK]


def sample(offset, whose="n1", *, is_node=True, uncertainty=0.5):
    return ClockSample(whose, offset, uncertainty, is_node)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], [(UNCHECKED, "nobody told the time")]),
        ([sample(0.4), sample(-1.2)], [(OK, "within 1 s of 2 other clocks")]),
        ([sample(30), sample(32, "n2")], [(WARNING, "this machine's clock is 31 s ahead")]),
        ([sample(-4000), sample(-4002, "n2")], [(ERROR, "this machine's clock is 4001 s behind")]),
        (
            [sample(0), sample(0, "n2"), sample(90, "n3")],
            [(OK, "within 1 s"), (WARNING, "of n3 is 90 s behind")],
        ),
        ([sample(0), sample(90, "db", is_node=False)], [(ERROR, "90 s ahead, compared with db")]),
        ([sample(8, uncertainty=5)], [(OK, "within 8 s")]),
    ],
)
def test_a_wrong_clock_is_told_from_that_of_a_node(samples, expected):
    found = shown(judge_clock(samples))
    assert [state for state, _ in found] == [state for state, _ in expected]
    assert all(words in text for (_, text), (_, words) in zip(found, expected, strict=True)), found
