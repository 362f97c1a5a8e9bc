"""What an import writes of a Go cluster: what all nodes show, and never a guess about members."""

from dataclasses import replace

import pytest
from support.gocluster import desired, entry, observe, row, seen, view, views

from reconciler.drivers.gocluster.product import DRIVER


def read(shown, **more):
    wanted = seen(desired(entry(3, **more)))
    return DRIVER.build_live_state(wanted, observe(wanted, shown))


def test_members_that_came_and_left_are_those_of_every_view():
    known = ["node1", "node2", "node4"]
    live = read({name: view(name, peers=known) for name in known if name != "node4"})
    assert [(one["name"], one["addr"]) for one in live.nodes] == [
        (name, f"10.0.0.{name[-1]}:9654") for name in known
    ]
    assert live.missing == ("node4 is in game, and no node shows the address of its API",)


@pytest.mark.parametrize(
    ("shown", "more", "words"),
    [
        ({}, {}, "no node of game shows its peers"),
        (views(3) | {"node2": view("node2", peers=["node1", "node2"])}, {}, "disagree about its members"),
    ],
)
def test_nothing_is_written_of_what_is_not_known(shown, more, words):
    live = read(shown, **more)
    assert not live.nodes
    assert words in live.missing[0]


def test_without_observe_only_values_are_followed():
    live = read({}, observe=False)
    assert live.nodes is None
    assert live.missing == ()


def test_a_name_that_no_fleet_file_can_have_is_told():
    odd = replace(row("node2"), name="../x", address="10.0.0.9:9654")
    own = view("node1")
    live = read({"node1": replace(own, peers=(odd,))})
    assert [one["name"] for one in live.nodes] == ["node1"]
    assert "a name that a fleet file cannot have" in live.missing[0]
