"""Faults, made-up fleets and choices of the simulation, as values."""

from __future__ import annotations

import json

import pytest

from reconciler.drivers.m2.choices import Choices, Match
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora.choices import Minority
from reconciler.errors import UsageError
from reconciler.ports.simulator import Address
from reconciler.simulation.addresses import free_addresses
from reconciler.simulation.faults import MEANING, Fault, Kind, On, Pending, parse_fault
from reconciler.simulation.fleet_generator import made_up
from reconciler.simulation.options import chosen


@pytest.mark.parametrize(
    ("text", "name", "fault"),
    [
        ("edge-01=cut", "edge-01", Fault(Kind.CUT)),
        ("edge-01=slow", "edge-01", Fault(Kind.SLOW, 1.0)),
        ("edge-01=slow:0.5*3", "edge-01", Fault(Kind.SLOW, 0.5, 3)),
        ("live=error:503@reads", "live", Fault(Kind.ERROR, 503, None, On.READS)),
        ("node-01@127.0.1.1=lost*1", "node-01@127.0.1.1", Fault(Kind.LOST, 0.0, 1, On.CHANGES)),
        ("node-01@127.0.1.1=half@changes*2", "node-01@127.0.1.1", Fault(Kind.HALF, 0.0, 2, On.CHANGES)),
        ("edge-01=lost@any", "edge-01", Fault(Kind.LOST)),
        ("edge-01=restarted:2", "edge-01", Fault(Kind.RESTARTED, 2.0)),
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
        ("cut", "not of the form"),
        ("=cut", "not of the form"),
        ("edge-01=", "not of the form"),
        ("edge-01=slow:fast", "not of the form"),
        ("edge-01=cut*", "not of the form"),
        ("edge-01=tired", "no fault 'tired'"),
        ("edge-01=cut@sundays", "cannot be on 'sundays'"),
        ("edge-01=cut*0", "at least 1"),
        ("edge-01=error:200", "200 makes no sense"),
    ],
)
def test_what_is_no_fault_is_explained(text, words):
    with pytest.raises(UsageError, match=words):
        parse_fault(text)


def test_every_fault_is_explained():
    assert set(MEANING) == set(Kind)


def test_faults_wait_in_their_order_for_the_requests_they_are_for():
    pending = Pending()
    for fault in (Fault(Kind.LOST, count=1, on=On.CHANGES), Fault(Kind.CUT, count=2), Fault(Kind.HALF)):
        pending.add(fault)
    taken = [pending.take(change=change) for change in (False, True, True, False, True)]
    assert [fault.kind for fault in taken] == [Kind.CUT, Kind.LOST, Kind.CUT, Kind.HALF, Kind.HALF]
    assert pending.texts() == ["half"]
    pending.clear()
    assert pending.take(change=True) is None


def test_free_addresses_are_different_and_below_the_ephemeral_ports():
    addresses = free_addresses(50)
    assert len(set(addresses)) == 50
    assert all(address.host == "127.0.0.1" and 10_000 <= address.port < 32_000 for address in addresses)


def test_a_made_up_fleet_counts_ports_from_127_0_0_1_and_addresses_elsewhere():
    ports = made_up("m2", 3, DRIVERS)["fleet.yaml"]
    assert [f"127.0.0.1:2000{number}" in ports for number in (1, 2, 3, 4)] == [True, True, True, False]
    files = made_up("m2", 3, DRIVERS, Address("127.1.0.255", 10040))
    assert [f"127.1.{end}:10040" in files["fleet.yaml"] for end in ("0.255", "1.0", "1.1")] == [True] * 3
    assert json.loads(files["setting.json"])["env"]["management"]["api"]["port"] == 10040
    assert made_up("m2", 3, DRIVERS) == made_up("m2", 3, DRIVERS)


@pytest.mark.parametrize(
    ("nodes", "sizes"),
    [(1, [1]), (3, [3]), (5, [5]), (6, [6]), (7, [7]), (8, [5, 3]), (12, [5, 7]), (1000, [5] * 200)],
)
def test_made_up_sora_clusters_have_a_majority_to_lose(nodes, sizes):
    text = made_up("sora", nodes, DRIVERS)["fleet.yaml"]
    clusters = text.split("kind: sora")[1:]
    assert [cluster.count("api:") for cluster in clusters] == sizes


@pytest.mark.parametrize(
    ("kind", "nodes", "first", "words"),
    [
        ("redis", 1, Address("127.0.0.1", 20001), "no kind 'redis'"),
        ("m2", 100, Address("127.0.0.1", 65500), "no 100 addresses"),
        ("m2", 3, Address("127.255.255.254", 10040), "no 3 addresses"),
        ("m2", 3, Address("192.168.0.1", 10040), "not on this machine"),
        ("m2", 3, Address("localhost", 10040), "not a number"),
    ],
)
def test_a_fleet_that_cannot_be_made_up_is_refused(kind, nodes, first, words):
    with pytest.raises(UsageError, match=words):
        made_up(kind, nodes, DRIVERS, first)


def test_choices_are_read_by_product_and_type():
    found = chosen(["m2.match=union", "m2.late=2", "m2.factory=false", "m2.caller=10.0.0.1"], DRIVERS)
    assert found == {"m2": Choices(match=Match.UNION, late=2, factory=False, caller="10.0.0.1")}
    assert (
        chosen(["sora.list-without-majority=error"], DRIVERS)["sora"].list_without_majority is Minority.ERROR
    )
    assert chosen([], DRIVERS) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("match=union", "not of the form"),
        ("redis.match=union", "not of the form"),
        ("m2.hue=blue", "no choice 'hue'"),
        ("m2.match=last", "cannot be 'last'"),
        ("m2.late=soon", "cannot be 'soon'"),
        ("m2.factory=maybe", "cannot be 'maybe'"),
    ],
)
def test_what_is_no_choice_is_explained(text, words):
    with pytest.raises(UsageError, match=words):
        chosen([text], DRIVERS)
