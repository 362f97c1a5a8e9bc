"""Faults, generated fleets and choices of the simulation, as values."""

from __future__ import annotations

import json

import pytest

from reconciler.core.endpoint import SocketAddress
from reconciler.drivers.m2.choices import AllowListMatch, Choices
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora.choices import MinorityListing
from reconciler.errors import UsageError
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.faults import MEANING, Fault, FaultKind, FaultScope, PendingFaults, parse_fault
from reconciler.simulation.products import generate_fleet, parse_choices


@pytest.mark.parametrize(
    ("text", "name", "fault"),
    [
        ("edge-01=cut", "edge-01", Fault(FaultKind.CUT)),
        ("edge-01=slow", "edge-01", Fault(FaultKind.SLOW, 1.0)),
        ("edge-01=slow:0.5*3", "edge-01", Fault(FaultKind.SLOW, 0.5, 3)),
        ("live=error:503@reads", "live", Fault(FaultKind.ERROR, 503, None, FaultScope.READS)),
        ("node-01@127.0.1.1=lost*1", "node-01@127.0.1.1", Fault(FaultKind.LOST, 0.0, 1, FaultScope.CHANGES)),
        (
            "node-01@127.0.1.1=half@changes*2",
            "node-01@127.0.1.1",
            Fault(FaultKind.HALF, 0.0, 2, FaultScope.CHANGES),
        ),
        ("edge-01=lost@any", "edge-01", Fault(FaultKind.LOST)),
        ("edge-01=restarted:2", "edge-01", Fault(FaultKind.RESTARTED, 2.0)),
    ],
)
def test_a_fault_is_read_as_it_is_written(text, name, fault):
    assert parse_fault(text) == (name, fault)


def test_a_fault_that_waits_is_written_as_it_is_read():
    for text in ("slow:0.5*3", "error:503@reads", "lost@changes*1", "half"):
        assert str(parse_fault(f"edge-01={text}")[1]) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cut", "invalid fault"),
        ("=cut", "invalid fault"),
        ("edge-01=", "invalid fault"),
        ("edge-01=slow:fast", "invalid fault"),
        ("edge-01=cut*", "invalid fault"),
        ("edge-01=tired", "unknown fault 'tired'"),
        ("edge-01=cut@sundays", "unknown scope 'sundays'"),
        ("edge-01=cut*0", "at least 1"),
        ("edge-01=error:200", "invalid argument 200"),
    ],
)
def test_an_invalid_fault_is_refused(text, words):
    with pytest.raises(UsageError, match=words):
        parse_fault(text)


def test_every_fault_is_explained():
    assert set(MEANING) == set(FaultKind)


def test_faults_wait_in_their_order_for_the_requests_they_are_for():
    pending = PendingFaults()
    for fault in (
        Fault(FaultKind.LOST, count=1, on=FaultScope.CHANGES),
        Fault(FaultKind.CUT, count=2),
        Fault(FaultKind.HALF),
    ):
        pending.add(fault)
    taken = [pending.take(change=change) for change in (False, True, True, False, True)]
    assert [fault.kind for fault in taken] == [
        FaultKind.CUT,
        FaultKind.LOST,
        FaultKind.CUT,
        FaultKind.HALF,
        FaultKind.HALF,
    ]
    assert pending.texts() == ["half"]
    pending.clear()
    assert pending.take(change=True) is None


def test_free_addresses_are_different_and_below_the_ephemeral_ports():
    addresses = find_free_addresses(50)
    assert len(set(addresses)) == 50
    assert [
        address
        for address in addresses
        if not (address.host == "127.0.0.1" and 10000 <= address.port < 32000)
    ] == []


def test_a_generated_fleet_counts_ports_from_127_0_0_1_and_addresses_elsewhere():
    ports = generate_fleet("m2", 3, DRIVERS)["fleet.yaml"]
    assert [f"127.0.0.1:2000{number}" in ports for number in (1, 2, 3, 4)] == [True, True, True, False]
    files = generate_fleet("m2", 3, DRIVERS, SocketAddress("127.1.0.255", 10040))
    assert [f"127.1.{end}:10040" in files["fleet.yaml"] for end in ("0.255", "1.0", "1.1")] == [True] * 3
    assert json.loads(files["setting.json"])["env"]["management"]["api"]["port"] == 10040
    assert generate_fleet("m2", 3, DRIVERS) == generate_fleet("m2", 3, DRIVERS)


@pytest.mark.parametrize(
    ("nodes", "sizes"),
    [(1, [1]), (3, [3]), (5, [5]), (6, [6]), (7, [7]), (8, [5, 3]), (12, [5, 7]), (1000, [5] * 200)],
)
def test_generated_sora_clusters_survive_a_failure(nodes, sizes):
    text = generate_fleet("sora", nodes, DRIVERS)["fleet.yaml"]
    clusters = text.split("kind: sora")[1:]
    assert [cluster.count("api:") for cluster in clusters] == sizes


@pytest.mark.parametrize(
    ("kind", "nodes", "first", "words"),
    [
        ("redis", 1, SocketAddress("127.0.0.1", 20001), "unknown kind 'redis'"),
        ("m2", 100, SocketAddress("127.0.0.1", 65500), "fewer than 100 addresses"),
        ("m2", 3, SocketAddress("127.255.255.254", 10040), "fewer than 3 addresses"),
        ("m2", 3, SocketAddress("192.168.0.1", 10040), "loopback address"),
        ("m2", 3, SocketAddress("localhost", 10040), "must be numeric"),
    ],
)
def test_a_fleet_that_cannot_be_generated_is_refused(kind, nodes, first, words):
    with pytest.raises(UsageError, match=words):
        generate_fleet(kind, nodes, DRIVERS, first)


def test_choices_are_read_by_product_and_type():
    found = parse_choices(["m2.match=union", "m2.late=2", "m2.factory=false", "m2.caller=10.0.0.1"], DRIVERS)
    assert found == {"m2": Choices(match=AllowListMatch.UNION, late=2, factory=False, caller="10.0.0.1")}
    assert (
        parse_choices(["sora.list-without-majority=error"], DRIVERS)["sora"].list_without_majority
        is MinorityListing.ERROR
    )
    assert parse_choices([], DRIVERS) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("match=union", "invalid choice"),
        ("redis.match=union", "invalid choice"),
        ("m2.hue=blue", "unknown choice 'hue'"),
        ("m2.match=last", "cannot be 'last'"),
        ("m2.late=soon", "cannot be 'soon'"),
        ("m2.factory=maybe", "cannot be 'maybe'"),
    ],
)
def test_an_invalid_choice_is_refused(text, words):
    with pytest.raises(UsageError, match=words):
        parse_choices([text], DRIVERS)
