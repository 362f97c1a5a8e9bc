"""Rules about files, restarts and reservations, each with a check of what it means; see `rules.py`."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from mask_rules import STEP

from reconciler.core import reservations
from reconciler.core.actor import Actor
from reconciler.core.file_state import NO_FILE, FileState, compute_file_digest
from reconciler.core.observation import Absent, Observed, Present, Stale, Unauthorized, Unreachable
from reconciler.core.plan import Step
from reconciler.core.reservations import Reservation
from reconciler.core.step_status import StepStatus
from reconciler.drivers.sora import interruptions
from reconciler.drivers.sora.cluster_view import view_cluster
from reconciler.drivers.sora.schema import NodeRow, NodeView, SoraCluster, SoraDesired
from reconciler.errors import NodeRefused
from reconciler.file_delivery import steps
from reconciler.file_delivery.steps import (
    DISCARD,
    RESTORE,
    STAGE,
    SWITCH,
    DiscardArguments,
    FileArguments,
    RestoreArguments,
    StageArguments,
    SwitchArguments,
)

SILENT = Unreachable("no answer")
OLD, NEW, OTHER = b"old", b"new", b"other"
READY, DONE, CHANGED = StepStatus.READY, StepStatus.DONE, StepStatus.CHANGED


def _digest(content: bytes | None) -> str:
    return compute_file_digest(content)


def _file_step(action: str, arguments: FileArguments) -> Step:
    return Step(
        **{
            **{name: getattr(STEP, name) for name in STEP.__dataclass_fields__},
            "node": "n",
            "action": action,
            "arguments": arguments,
        }
    )


_PLACE: dict[str, Any] = {"entry": "conf", "host": "n", "before": _digest(OLD), "after": _digest(NEW)}
_BACK: dict[str, Any] = {**_PLACE, "before": _digest(NEW), "after": _digest(OLD)}
_STARTED: dict[str, Any] = {"started": "one", "started_command": "started"}


def judged_files() -> None:
    """What each step about a file makes of every state of it."""

    def judge(
        action: str, arguments: FileArguments, content: bytes | None, *, start: str = "", **beside: Any
    ) -> StepStatus:
        aside = {key: _digest(value) for key, value in beside.items() if key != "leftover"}
        state = FileState(content, **aside, leftover=beside.get("leftover", False))
        seen: Observed[Any] = Observed(
            {}, files={"n": {"conf": Present(state)}}, starts={"n": start} if start else {}
        )
        return steps.judge_file_step(_file_step(action, arguments), seen).status

    stage = StageArguments(**_PLACE, payload="p")
    assert judge(STAGE, stage, OLD) is READY
    assert judge(STAGE, stage, NEW) is DONE
    assert judge(STAGE, stage, OTHER, staged=NEW) is CHANGED
    assert judge(STAGE, stage, OLD, staged=NEW) is DONE
    assert judge(STAGE, stage, OLD, staged=NEW, leftover=True) is READY
    assert judge(STAGE, stage, OLD, staged=OTHER) is READY
    for more, starts in (({}, ("", "one", "two")), (_STARTED, ("", "one"))):
        switch = SwitchArguments(**_PLACE, **more)
        restore = RestoreArguments(**_BACK, **more)
        for start in starts:
            assert judge(SWITCH, switch, OLD, staged=NEW, start=start) is READY
            assert judge(SWITCH, switch, NEW, start=start) is DONE
            assert judge(SWITCH, switch, OTHER, staged=NEW, start=start) is CHANGED
            assert judge(SWITCH, switch, OLD, start=start) is CHANGED
            assert judge(RESTORE, restore, NEW, backup=OLD, start=start) is READY
            assert judge(RESTORE, restore, OLD, start=start) is DONE
            assert judge(RESTORE, restore, OTHER, backup=OLD, start=start) is CHANGED
            assert judge(RESTORE, restore, NEW, backup=OTHER, start=start) is CHANGED
    started = SwitchArguments(**_PLACE, **_STARTED)
    assert judge(SWITCH, started, OLD, staged=NEW, start="two") is CHANGED
    assert judge(SWITCH, started, NEW, start="two") is DONE
    assert judge(RESTORE, RestoreArguments(**_BACK, **_STARTED), NEW, backup=OLD, start="two") is CHANGED
    away = RestoreArguments(**{**_BACK, "after": NO_FILE})
    assert judge(RESTORE, away, NEW) is READY
    assert judge(RESTORE, away, None) is DONE
    discard = DiscardArguments(**_PLACE)
    assert judge(DISCARD, discard, OLD) is DONE
    assert judge(DISCARD, discard, OLD, staged=NEW) is READY
    assert judge(DISCARD, discard, OLD, leftover=True) is READY


def guarded_files() -> None:
    """A file gets another content only for the process that was read, and a later one is remembered."""

    def replace(
        *starts: str, facts: Mapping[str, str] | None = None, **more: str
    ) -> tuple[list[str], Mapping[str, str]]:
        shown, calls = list(starts), []

        async def read(command: str, values: Mapping[str, str], *, node: str) -> str:  # noqa: ARG001
            assert (command, node) == ("started", "n")
            return shown.pop(0)

        async def call() -> str:
            calls.append("called")
            return "words"

        own = SwitchArguments(**_PLACE, **more, intent_facts={"n": facts} if facts else {})
        transports = cast("Any", SimpleNamespace(commands=SimpleNamespace(read=read)))
        try:
            answer = asyncio.run(steps._replace_file(call, own, _file_step(SWITCH, own), transports))
        except NodeRefused as refused:
            calls.append(f"{refused.reason}; {refused.again} {refused.is_final} {refused.status}")
            return calls, {}
        assert answer.text == "words"
        assert not shown
        return calls, answer.facts

    facts = {"outdated": "one", "keys": "a b"}
    assert replace() == (["called"], {})
    assert replace("one", "one", facts=facts, **_STARTED) == (["called"], {})
    assert replace("one", "", facts=facts, **_STARTED) == (["called"], {})
    assert replace("one", "two", facts=facts, **_STARTED) == (["called"], {"outdated": "two"})
    ((refused,), _) = replace("two", facts=facts, **_STARTED)
    assert "was started again" in refused
    assert refused.endswith("True False 0")
    ((refused,), _) = replace("", facts=facts, **_STARTED)
    assert "does not show when" in refused


def counted_reservations() -> None:
    """Which reservations count, which steps they hold back, and who counts as away."""
    now = datetime(2026, 11, 30, tzinfo=UTC)

    def reserve(node: str, minutes: float, name: str = "1") -> Reservation:
        return Reservation(
            id=name,
            cluster="c",
            node=node,
            actor=Actor(),
            at=now - timedelta(hours=1),
            until=now + timedelta(minutes=minutes),
        )

    def find(minutes: float, answer: Any, *, members: tuple[str, ...] = ("n",)) -> tuple[Any, ...]:
        found = reservations.find_reserved_nodes(
            [reserve("n", minutes)], Observed({"n": answer}), now, members=frozenset(members)
        )
        return tuple(found.names), found.over

    held, over = (("n",), ()), ((), ("1",))
    fresh, silent = Present("x"), Unreachable("silent")
    assert find(1, fresh) == held
    assert find(0, fresh) == over
    assert find(-1, fresh) == over
    assert find(-1, silent) == held
    assert find(-1, silent, members=()) == over
    assert find(1, silent, members=()) == held
    assert find(-1, Absent("404")) == over
    assert find(-1, Stale("x", "old", age=60.0)) == over
    assert find(-1, Stale("x", "old", age=61.0)) == held
    assert find(-1, Unauthorized("401")) == held
    later = reservations.find_reserved_nodes(
        [reserve("n", 5, "2"), reserve("n", -1)], Observed({"n": silent}), now, members=frozenset("n")
    )
    assert [one.id for one in later.nodes.values()] == ["2"]
    # A hold ends by its time alone, also of a silent node, and is no reservation.
    for minutes, held_nodes, ended in ((1, {"n"}, ()), (-1, set(), ("h",))):
        hold = replace(reserve("n", minutes, "h"), is_hold=True)
        kept = reservations.find_reserved_nodes(
            [hold, reserve("m", 1, "r")], Observed({"n": silent}), now, members=frozenset("nm")
        )
        assert (kept.held, kept.over, "m" in kept.names) == (held_nodes, ended, True)

    def hold(minutes: float, name: str) -> Reservation:
        return replace(reserve("n", minutes, name), is_hold=True)

    def find_holds(*known: Reservation) -> tuple[list[str], list[str], tuple[str, ...]]:
        found = reservations.find_reserved_nodes(known, Observed({"n": silent}), now, members=frozenset("n"))
        return [one.id for one in found.nodes.values()], [one.id for one in found.holds], found.over

    # A hold ends with its time, whatever the node shows, and counts before a reservation that ends later.
    assert find_holds(hold(1, "h")) == (["h"], ["h"], ())
    assert find_holds(hold(0, "h")) == ([], [], ("h",))
    assert find_holds(hold(1, "h"), reserve("n", 9)) == (["h"], ["h"], ())
    assert find_holds(hold(1, "h"), hold(2, "g")) == (["g"], ["h", "g"], ())
    moved = reservations.find_moved_holds(
        [replace(hold(1, "h"), places=frozenset({"x:1"}))], "c", {"n": ("x:1",), "m": ("x:1",), "o": ("y:1",)}
    )
    assert [(one.node, one.ordered_as) for one in moved] == [("m", "c/n")]


def resumed_nodes() -> None:
    """Only a node that a run has stopped is brought back, and only while it is down."""
    raw: dict[str, Any] = {
        "name": "c",
        "kind": "sora",
        "nodes": [{"name": f"{one}@{one}.example.com", "api": f"http://{one}/"} for one in "ab"],
    }
    node = "a@a.example.com"
    restart = {"restart": {"command": "r", "started": {"command": "s"}}}

    def list_nodes(*, connected: bool) -> Any:
        rows = (
            NodeRow.model_validate({"node_name": name, "connected": is_up, "temporary_node": False})
            for name, is_up in ((node, connected), ("b@b.example.com", True))
        )
        return Present(NodeView(tuple(rows)))

    def ask(
        facts: Mapping[str, str], answer: Any, other: Any = SILENT, **more: Any
    ) -> tuple[bool, list[Any]]:
        entry = SoraCluster.model_validate({**raw, **more})
        desired = SoraDesired(entry, {node: facts})
        view = view_cluster(desired, Observed({node: answer, "b@b.example.com": other}))
        ended = list(interruptions.list_ended_interruptions(desired, view))
        return interruptions.is_interrupted(desired, view, node), ended

    down, up = Unreachable("refused"), Unauthorized("401")
    upgraded, restarted = {"stopped_for_upgrade": "1"}, {"stopped_for_restart": "2"}
    assert ask({}, down, **restart) == (False, [])
    assert ask(upgraded, down) == (True, [])
    assert ask(restarted, down) == (False, [])
    assert ask(restarted, down, **restart) == (True, [])
    assert ask(restarted, down, list_nodes(connected=False), **restart) == (True, [])
    assert ask(restarted, down, list_nodes(connected=True), **restart) == (False, [])
    assert ask({}, up, **restart) == (False, [])
    assert ask(upgraded, up) == (False, [(node, ("stopped_for_upgrade",))])
    assert ask({**upgraded, **restarted}, up, **restart) == (
        False,
        [(node, ("stopped_for_upgrade", "stopped_for_restart"))],
    )


FILES = (
    steps._judge_stage,
    steps._judge_switch,
    steps._judge_restore,
    steps._judge_start,
)
REPLACING = (steps._replace_file,)
RESERVATIONS = (
    reservations.find_reserved_nodes,
    reservations.find_moved_holds,
    reservations.is_back,
)
RESUMED = (interruptions.is_interrupted, interruptions.list_ended_interruptions)
