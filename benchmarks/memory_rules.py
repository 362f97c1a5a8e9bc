"""What is remembered of a cluster: where it is pinned, what is held, and what its nodes had as desired."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final

from reconciler.core import drift, pins
from reconciler.core.actor import Actor
from reconciler.core.diff import Change, Op
from reconciler.core.pins import LeftRevision, Pin
from reconciler.core.reservations import Reservation
from reconciler.core.secret import Secret

NOW: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)


def pinned_clusters() -> None:
    """A pin stays until a revision gives the cluster something that it was not rolled back from."""

    def pin(*left: LeftRevision, cluster: str = "c", since: datetime = NOW) -> Pin:
        return Pin(cluster, None, left, "kim", "", since)

    bad = LeftRevision("bad", content="x")
    unknown = LeftRevision("old")

    def held(
        revision: str, content: str, *left: LeftRevision, is_older: bool = False, same: str = ""
    ) -> bool:
        unchanged = frozenset(same.split())
        return pins.is_held(pin(*left), revision, content=content, is_older=is_older, unchanged=unchanged)

    assert held("bad", "y", bad)
    assert held("new", "x", bad)
    assert held("new", "x", unknown, bad)
    assert not held("new", "y", bad, unknown)
    assert not held("new", "", unknown), "nothing is known of either content"
    assert held("new", "y", bad, is_older=True)
    assert held("new", "y", bad, same="bad")
    assert not held("new", "y", bad, same="other")

    one, two, three = (LeftRevision(name, content=name) for name in ("1", "2", "3"))

    def left(before: Pin | None, leaves: LeftRevision | None, taken: LeftRevision) -> str:
        return " ".join(each.revision for each in pins.list_left_revisions(before, leaves, taken))

    assert left(None, three, two) == "3"
    assert left(pin(three), two, one) == "3 2"
    assert left(pin(two, three), two, one) == "3 2", "once each, the latest last"
    assert left(pin(three), two, three) == "", "forward again to what was left"
    assert left(pin(two, three), one, three) == "2"
    assert left(pin(three), None, one) == "3"
    assert left(pin(two), LeftRevision("9", content="1"), one) == "2", "the same content by another name"
    assert left(None, LeftRevision("9"), LeftRevision("8")) == "9", "nothing is known of either content"

    older, newer = pin(one), pin(two, cluster="d", since=NOW + timedelta(seconds=1))
    for pair in ((older, newer), (newer, older)):
        merged = pins.merge_pins(*pair, "e")
        assert merged is not None
        assert (merged.cluster, merged.left) == ("e", (two,))
    assert pins.merge_pins(None, None, "e") is None
    assert pins.merge_pins(None, older, "c") == pins.merge_pins(older, None, "c") == older


def drifted_nodes() -> None:
    """A node has drifted if it shows something else than when it was as desired; a commit is no drift."""

    def judge(seen: str, shown: str, content: str = "x", *, keeps: bool = False) -> str:
        facts = {drift.BASELINE: drift.encode_baseline("x", seen)}
        found = drift.judge_drift("n", facts, content=content, shown=shown, keeps=keeps)
        if found is None:
            return ""
        return "kept" if found.is_kept else "both" if found.has_commit else "drift"

    assert judge("a", "a") == judge("a", "a", "y") == ""
    assert judge("a", "b") == "drift"
    assert judge("a", "b", "y") == "both"
    assert judge("a", "b", keeps=True) == "kept"
    assert judge("a", "b", "y", keeps=True) == "both", "a commit is applied"
    assert judge("", "b") == "", "not read since this program changed it"
    assert judge("", "") == judge("a", "") == "drift", "what it shows depends on others"
    assert judge("a", "", "y") == ""
    assert judge("a/b", "a/b") == judge("a/b", "a") == judge("a", "a/b") == ""
    assert judge("a/b", "a/c") == judge("a/b", "c/b") == "drift"
    for facts in ({}, {drift.BASELINE: "no JSON"}, {drift.BASELINE: "[]"}, {drift.BASELINE: '{"shown": ""}'}):
        assert drift.judge_drift("n", facts, content="x", shown="b", keeps=False) is None
    places = [
        Change("/a", Op.ADD, new="one"),
        Change("/b", Op.REMOVE, old="two"),
        Change("/c", Op.REPLACE, old="three", new="four"),
    ]
    shown = drift.describe_places(places)
    assert (
        shown == '/a: missing, desired "one"; /b: shows "two", not desired; /c: shows "three", desired "four"'
    )
    assert drift.describe_places([*places, *places]).endswith("; and 3 more")
    assert drift.describe_places([Change("", Op.REPLACE, old=1, new=2)]).startswith("the whole document: ")
    for secret in (
        Change("/s", Op.REPLACE, old=Secret("hunter2"), new=Secret("hunter3")),
        Change("/s", Op.REPLACE, old=Secret("hunter2"), new="x"),
        Change("/s", Op.REPLACE, old="x", new=Secret("hunter3")),
    ):
        assert "hunter" not in drift.describe_places([secret])
    assert drift.describe_places([Change("/s", Op.REPLACE, old=Secret("a"), new=Secret("b"))]) == (
        "/s: another secret (not shown)"
    )


def blocked_steps() -> None:
    """A hold keeps back everything; a reservation what would get in the way of whoever works on the node."""

    def blocks(*, is_hold: bool = False, manual: bool = False, id_: str = "s", stopped: bool = False) -> bool:
        reservation = Reservation(
            id="r", cluster="c", node="n", actor=Actor(), at=NOW, until=NOW, is_hold=is_hold
        )
        arguments = SimpleNamespace(suits_stopped_node=stopped)
        step: Any = SimpleNamespace(is_manual=manual, id=id_, arguments=arguments)
        return reservation.blocks(step)

    assert blocks()
    assert not blocks(manual=True)
    assert not blocks(id_="s/undo")
    assert not blocks(stopped=True)
    assert blocks(is_hold=True)
    assert blocks(is_hold=True, manual=True)
    assert blocks(is_hold=True, id_="s/undo")
    assert blocks(is_hold=True, stopped=True)


def kept_orders() -> None:
    """What people ordered keeps clusters and nodes back, no more and no less."""
    pinned_clusters()
    blocked_steps()


ORDERS: Final = (pins.is_held, pins.list_left_revisions, pins.merge_pins, Reservation.blocks)
DRIFT: Final = (drift.judge_drift, drift._is_same_reading, drift.describe_places, drift._describe_place)
