"""Rules that no model explores, each with a check of what it means, and the functions that hold it.

The checks are what `mutants.py` and the tests hold planted faults against. They take milliseconds, and none
can go on for ever: a fault is found by a failed assertion, or by the error that it brings about at once.
"""

# ruff: noqa: SLF001, ARG002  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from types import FunctionType, SimpleNamespace
from typing import Any, cast

import access_rules
import bus_rules
import host_rules
import machine_rules
import mask_rules
import memory_rules
import unmanaged_rules
from mask_rules import REVISION, STEP
from mutation import running
from planting import UNMASKED, Fault, faults
from replay import NOWHERE

from reconciler.cli.render import exit_report
from reconciler.cli.render.exit_report import report_idle_exit, report_plan_exit, report_run_exit
from reconciler.core import secret
from reconciler.core.actor import Actor
from reconciler.core.arguments import RawArguments
from reconciler.core.observation import NodeReport as Told
from reconciler.core.observation import Observed, ReportKind
from reconciler.core.outcome import Outcome, RunReport, State
from reconciler.core.plan import ClusterPlan, Plan, Step
from reconciler.core.rollout_rules import MetricGate, ReportGate
from reconciler.core.secret import MASK, Secret, find_secrets, mask, reveal
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.core.wave_state import WAVE_WAITS
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import NodeRefused
from reconciler.planning.plan_summary import PlanSummary
from reconciler.planning.unread_limit import UnreadLimit
from reconciler.ports.driver import StepAnswer
from reconciler.ports.listener import PassListener
from reconciler.ports.store import RunStart
from reconciler.rollout import metric_comparison, report_gate, step_executor
from reconciler.rollout.metric_comparison import GateStatus, SoakReadings
from reconciler.rollout.report_gate import ReceivedReports
from reconciler.rollout.run_log import RunLog
from reconciler.secrets.redaction import Redactor


@dataclass(frozen=True, slots=True)
class Rule:
    """What is checked, and where it is held.

    Args:
        check: raises AssertionError where the rule does not hold.
        functions: in which faults are planted.
        alike: places of faults that change nothing that anybody could notice, and why.
        kind: how the places of the faults begin that are planted; empty for all kinds.
    """

    name: str
    check: Callable[[], None]
    functions: tuple[Any, ...]
    alike: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""

    def faults(self) -> Iterator[Fault]:
        """Every fault of the rule's functions; of one kind, where the rule is about that alone."""
        for function in self.functions:
            for fault in faults(plain(function)):
                if self.kind in fault.place:
                    yield fault

    def finds(self, fault: Fault) -> bool:
        """Whether the check fails, or ends in an error, once a fault is planted."""
        with running(fault.function, fault.module):
            try:
                self.check()
            except Exception:  # noqa: BLE001  (a fault may bring about any error)
                return True
        return False


GOOD, BAD, UNCLEAR = GateStatus.GOOD, GateStatus.BAD, GateStatus.UNCLEAR


def metric_gates() -> None:
    """Changed nodes against unchanged ones: by value, by growth, upwards and downwards, and in silence."""

    def judged(
        changed: Mapping[str, float | None],
        unchanged: Mapping[str, float | None],
        before: Mapping[str, float] | None = None,
        seconds: float = 10.0,
        **gate: Any,
    ) -> tuple[GateStatus, str]:
        after = {node: {"m": value} for node, value in {**changed, **unchanged}.items() if value is not None}
        soaked = SoakReadings({node: {"m": value} for node, value in (before or {}).items()}, after, seconds)
        found = metric_comparison.compare_metric(
            MetricGate.model_validate({"name": "m", "factor": 2, **gate}),
            tuple(changed),
            tuple(unchanged),
            soaked,
        )
        return found.status, found.reason

    def value(changed: Any, unchanged: Any, **gate: Any) -> GateStatus:
        return judged(changed, unchanged, compare="value", **gate)[0]

    assert value({"a": 4}, {"x": 1, "y": 2, "z": 90}) is GOOD
    assert value({"a": 4.1}, {"x": 1, "y": 2, "z": 90}) is BAD
    assert value({"a": 1, "b": 4.1}, {"x": 2}) is BAD
    assert value({"a": 3}, {"x": 0}, ignore=3) is GOOD
    assert value({"a": 3.1}, {"x": 0}, ignore=3) is BAD
    assert value({"a": 25}, {"x": 10}, ignore=3) is BAD
    assert value({"a": 15}, {"x": 10}, ignore=30) is GOOD
    assert value({"a": 50}, {"x": 100}, worse="lower") is GOOD
    assert value({"a": 49}, {"x": 100}, worse="lower") is BAD
    assert value({"a": 500}, {"x": 100}, worse="lower") is GOOD
    assert value({"a": 3}, {"x": 8}, worse="lower", ignore=5) is GOOD
    assert value({"a": 2.9}, {"x": 8}, worse="lower", ignore=5) is BAD
    assert value({"a": 6}, {"x": 8}, worse="lower", ignore=1) is GOOD
    assert value({"a": 0}, {"x": 0}) is GOOD
    assert value({"a": None}, {"x": 1}) is UNCLEAR
    assert value({"a": None, "b": 9}, {"x": 1}) is UNCLEAR
    assert value({"a": 1}, {"x": None}) is UNCLEAR
    assert value({"a": 1}, {"x": None, "y": 1}) is GOOD
    assert value({"a": 1}, {}) is UNCLEAR
    assert judged({"a": 1}, {"x": 1}, compare="value", seconds=0.0)[0] is GOOD
    fair = {"a": 100, "x": 0}
    assert judged({"a": 120}, {"x": 10}, fair)[0] is GOOD
    assert judged({"a": 121}, {"x": 10}, fair)[0] is BAD
    assert judged({"a": 20}, {"x": 10}, fair)[0] is GOOD, "a counter that began anew"
    assert judged({"a": 21}, {"x": 10}, fair)[0] is BAD, "a counter that began anew"
    assert judged({"a": 100}, {"x": 10}, fair, worse="lower")[0] is BAD, "a counter that stands still"
    assert judged({"a": 30}, {"x": 10}, {"a": 0, "x": 900})[0] is BAD, "began anew on the unchanged node"
    assert judged({"a": 1}, {"x": 1}, {"x": 0})[0] is UNCLEAR
    assert judged({"a": 1}, {"x": 1}, {"a": 0})[0] is UNCLEAR
    assert judged({"a": 1}, {"x": 1}, {"a": 0, "x": 0}, 0.0) == (
        UNCLEAR,
        "the rate of m needs a soak time",
    )
    usual = "on unchanged nodes it is"
    worst = judged({"a": 5, "b": 9, "c": 1}, {"x": 1}, compare="value")[1]
    assert (
        worst
        == "the value of m of b (and of 1 more) is 9, on unchanged nodes it is 1; a factor of 2 is allowed"
    )
    low = judged({"a": 1}, {"x": 10}, compare="value", worse="lower")[1]
    assert low == f"the value of m of a is 1, {usual} 10; a factor of 2 is allowed"
    assert judged({"a": 130}, {"x": 10}, fair)[1].startswith(
        "the rate of m of a is 3, on unchanged nodes it is 1"
    )
    far = judged({"a": 1, "b": 40}, {"x": 100}, compare="value", worse="lower")[1]
    assert far.startswith("the value of m of a (and of 1 more) is 1,"), "the furthest is named"
    same = judged({"a": 9, "b": 9}, {"x": 1}, compare="value")[1]
    assert same.startswith("the value of m of b"), "of several the last name, whatever their order"
    assert judged({"a": 1}, {"x": 0.5}, {"a": 0, "x": 0}, 0.5)[0] is GOOD, "a soak of less than a second"
    quiet = judged(dict.fromkeys("gfedcba"), {"x": 1}, compare="value")[1]
    assert quiet == "the value of m is missing from a, b, c, d, e"


def report_gates() -> None:
    """What nodes say by themselves: the newest of each kind, of the right version, and good."""
    beats = ReportGate()
    both = ReportGate(feedback=True)
    feedback = ReportGate(feedback=True, heartbeat=False)

    def judged(gate: ReportGate, given: Mapping[str, Any], *told: Told) -> tuple[GateStatus, str]:
        heard = ReceivedReports()
        for report in told:
            heard.take(report)
        found = report_gate.evaluate_reports(gate, given, heard)
        return found.status, found.reason

    def beat(node: str, version: Any = "7") -> Told:
        return Told(node, ReportKind.HEARTBEAT, version)

    def says(node: str, status: str = "ok", version: Any = None) -> Told:
        return Told(node, ReportKind.FEEDBACK, version, status)

    assert judged(beats, {"a": "7"}, beat("a"))[0] is GOOD
    assert judged(beats, {"a": 7}, beat("a"))[0] is GOOD
    assert judged(beats, {"a": None}, beat("a", "3"))[0] is GOOD
    assert judged(beats, {"a": "7"}, says("a"))[0] is UNCLEAR
    assert judged(beats, {"a": "7"}, beat("b")) == (UNCLEAR, "a has sent no heartbeat since it was changed")
    assert judged(beats, {"a": "7"}, beat("a", "6")) == (
        UNCLEAR,
        "the heartbeat of a still has version 6 instead of 7",
    )
    assert judged(beats, {"a": "7"}, beat("a", None)) == (UNCLEAR, "the heartbeat of a has no version")
    assert judged(beats, {"a": "7"}, beat("a", "6"), beat("a"))[0] is GOOD, "the newest counts"
    assert judged(beats, {"a": "7"}, beat("a"), beat("a", "6"))[0] is UNCLEAR, "the newest counts"
    assert judged(both, {"a": "7"}, beat("a"))[0] is UNCLEAR
    assert judged(both, {"a": "7"}, beat("a"), says("a"))[0] is GOOD
    assert judged(both, {"a": "7"}, beat("a"), says("a", "OK"))[0] is GOOD
    failure = "a reports a failure of its new setting"
    assert judged(both, {"a": "7"}, beat("a"), says("a", "E4")) == (BAD, f"{failure}: E4")
    assert judged(both, {"a": "7"}, beat("a"), says("a", "")) == (BAD, f"{failure}: no status")
    assert judged(both, {"a": "7"}, beat("a"), says("a", "E4", "6"))[0] is UNCLEAR, "of another version"
    assert judged(both, {"a": "7", "b": "7"}, beat("a"), says("b", "E4"))[0] is BAD
    assert judged(feedback, {"a": "7"}, says("a"))[0] is GOOD
    assert judged(beats, dict.fromkeys("dbac", "7"))[1] == "; ".join(
        [*(f"{node} has sent no heartbeat since it was changed" for node in "abc"), "and 1 more"]
    )
    assert judged(beats, dict.fromkeys("abc", "7"))[1].count("; ") == len("ab")


WHO = Actor(user="ada")
ERROR = Diagnostic(Severity.ERROR, "code", "it went wrong")
NOTE = Diagnostic(Severity.WARNING, "code", "look at it")


def plan_of(steps: int = 1, *findings: Diagnostic) -> Plan:
    """A plan of one cluster."""
    return Plan(REVISION, "1", (ClusterPlan("edge", "m2", 1, 0, steps=(STEP,) * steps, findings=findings),))


def exit_statuses() -> None:
    """0 done; 5 in part; 4 nothing done because the world changed; 1 nothing done; 2 pending; 3 refused."""

    def ended(*states: State, findings: tuple[Diagnostic, ...] = ()) -> RunReport:
        return RunReport("run", plan_of(), tuple(Outcome(STEP, state) for state in states), findings)

    nothing = {State.FAILED, State.SKIPPED, State.UNDONE, State.CHANGED}
    for states in (one for most in (1, 2, 3) for one in combinations(State, most)):
        found = set(states)
        if found <= {State.DONE, State.FOUND}:
            wanted = 0
        elif not found <= nothing:
            wanted = 5
        else:
            wanted = 4 if State.CHANGED in found and State.UNDONE not in found else 1
        report = ended(*states)
        assert (report.exit_status, report.is_success) == (wanted, wanted == 0), states
        assert report_run_exit(report, PlanSummary()).status == wanted, states
        for rest in (PlanSummary(pending=1), PlanSummary(errors=1), PlanSummary(unread=("live/a",))):
            assert report_run_exit(report, rest).status == (wanted or 5), states
        assert report_run_exit(report, PlanSummary(), is_removed=True).status == (wanted or 5), states
        assert report_run_exit(report, PlanSummary(), is_refused=True).status == 3, states
        assert report_run_exit(report, PlanSummary(), is_refused=True).status == 3, states
    failed = ended(State.DONE, findings=(NOTE, ERROR))
    assert (failed.exit_status, failed.is_success) == (5, False)
    noted = ended(State.DONE, findings=(NOTE,))
    assert (noted.exit_status, noted.is_success) == (0, True)
    assert ended(State.FAILED, findings=(NOTE,)).exit_status == 1
    waits = Diagnostic(Severity.NOTE, WAVE_WAITS, "a wave waits for its nodes")
    assert ended(State.FAILED, findings=(waits,)).exit_status == 5

    def planned(summary: PlanSummary, limit: str = "") -> list[int]:
        read = UnreadLimit.read(limit)
        return [report_plan_exit(summary, detailed=one, limit=read).status for one in (False, True)]

    away = ("live/a", "live/b")
    assert report_plan_exit(PlanSummary(pending=1)).status == 0, "without a status of its own"
    assert planned(PlanSummary(pending=1)) == [0, 2]
    assert report_plan_exit(PlanSummary(pending=1)).status == 0
    assert planned(PlanSummary(waiting=1)) == [0, 2]
    assert planned(PlanSummary()) == [0, 0]
    assert planned(PlanSummary(pending=1, errors=1)) == [1, 2]
    assert planned(PlanSummary(errors=1)) == planned(PlanSummary(errors=1), "2") == [1, 1]
    assert planned(PlanSummary(nodes=40, pending=1, unread=away)) == [1, 2]
    assert planned(PlanSummary(nodes=40, unread=away), "1") == [1, 1]
    assert planned(PlanSummary(nodes=39, unread=away), "5%") == [1, 1]
    for limit in ("2", "5%"):
        assert planned(PlanSummary(nodes=40, unread=away), limit) == [0, 0]
        assert planned(PlanSummary(nodes=40, unread=away, pending=1), limit) == [0, 2]
        assert planned(PlanSummary(nodes=40, unread=away, needed={"live/b": "why"}), limit) == [1, 1]
    assert planned(PlanSummary(pending=1, errors=1, refused=1)) == [3, 3]
    idle = RunReport("", plan_of(0))
    assert report_idle_exit(idle, PlanSummary(held=("live",))).status == 3
    assert report_idle_exit(idle, PlanSummary(refused=1)).status == 3
    assert report_idle_exit(idle, PlanSummary(unread=away)).status == 1
    assert report_idle_exit(replace(idle, findings=(ERROR,)), PlanSummary()).status == 5
    assert report_idle_exit(idle, PlanSummary()).status == 0


def masks() -> None:
    """Nothing shows a secret, whatever holds it; everything else stays as it is."""
    clear, named = Secret("clear-1"), Secret("clear-2", "${env:A}")
    plain = {"a": [1, "x", {"b": None}], "c": ("y", True)}
    assert mask(plain) == {"a": [1, "x", {"b": None}], "c": ["y", True]}
    assert mask(plain["a"]) is plain["a"], "what holds none is not copied"
    held = {"a": [1, clear, {"b": named}], "c": ("y", named), "d": MappingLike({"e": clear}), "f": clear}
    shown = mask(held)
    assert shown == {
        "a": [1, MASK, {"b": "${env:A}"}],
        "c": ["y", "${env:A}"],
        "d": {"e": MASK},
        "f": MASK,
    }
    assert held["a"] == [1, clear, {"b": named}], "what was given is not changed"
    assert reveal(held)["a"] == [1, "clear-1", {"b": "clear-2"}]
    assert [path for path, _ in find_secrets(held)] == [("a", 1), ("a", 2, "b"), ("c", 1), ("d", "e"), ("f",)]
    assert list(find_secrets(clear, ("here",))) == [(("here",), clear)]
    assert list(find_secrets("text")) == []
    assert secret.make_secret(clear) is clear
    assert secret.make_secret("x") == Secret("x")
    for text in (str(clear), repr(clear), str(named), repr(named), f"{clear}{named}", f"{held}"):
        assert "clear-" not in text
    assert (repr(clear), repr(named)) == (f"Secret({MASK})", "Secret(${env:A})")
    for other in (b"ab", Word("ab"), 1j):
        assert mask(other) is other
        assert list(find_secrets(other)) == []
    told = Redactor(["password-1"]).redact_text("say password-1 at http://user:pw@host/x")
    assert told == f"say {MASK} at http://host/x"
    assert Redactor(["abcd"]).redact_text("say abcd") == f"say {MASK}"


class Word(str):
    """A text that is no plain one."""

    __slots__ = ()


class MappingLike(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, own: Mapping[str, Any]) -> None:
        self._own = own

    def __getitem__(self, key: str) -> Any:
        return self._own[key]

    def __iter__(self) -> Any:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


class AtOnce(RawArguments):
    """Of a step that leaves no time for a stop."""

    runs_after_stop = True


class Events(PassListener):
    """A store, a courier, a driver and a listener that write down who was spoken to, in order."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.seen: list[str] = []
        self.refuses = refuses
        self.capabilities = SimpleNamespace()

    async def begin_run(self, opening: RunStart) -> str:
        assert opening.actor == WHO, "the history says who asked"
        self.seen.append("journal: run")
        return "run-1"

    def on_run_begun(self, run: str) -> None:
        self.seen.append(f"announce: {run}")

    def on_run_ended(self, run: str, exit_status: int) -> None:
        self.seen.append(f"announce: {run} ended with {exit_status}")

    def on_step_started(self, step: Step) -> None:
        self.seen.append("announce: started")

    async def record_intent(self, *_: Any, **__: Any) -> None:
        self.seen.append("journal: intent")

    async def act(self, *_: Any) -> StepAnswer:
        self.seen.append("call")
        if self.refuses:
            raise NodeRefused("a", "no", status=400, code="E1")
        return StepAnswer("accepted")

    async def record_outcomes(self, run: str, endings: Any) -> None:
        states = ", ".join(ending.outcome.state for ending in endings)
        letters = sum(ending.outbox_message is not None for ending in endings)
        assert not any(ending.outbox_message and ending.outbox_message.wanted for ending in endings), (
            "there is no sink"
        )
        self.seen.append(f"journal: {run} {states}, {letters} letters")

    def wake(self) -> None:
        self.seen.append("courier")

    def on_step_ended(self, outcome: Outcome) -> None:
        self.seen.append(f"announce: {outcome.state}")

    async def finish_run(self, run: str, status: int, note: str) -> None:
        self.seen.append(f"journal: {run} ends with {status}{note}")


def order_of_a_run() -> None:
    """Journal, then call, then journal, then announcement: whoever is told finds it in the journal."""

    async def course(
        *,
        refuses: bool = False,
        person: bool = False,
        stale: bool = False,
        heard: bool = True,
        stopped: bool = False,
        at_once: bool = False,
    ) -> list[str]:
        events = Events(refuses=refuses)

        class Driver:
            reads = ()
            act = events.act

            async def observe_step(self, *_: Any) -> Observed[Any]:
                return Observed({})

            def judge(self, *_: Any) -> StepVerdict:
                return StepVerdict(
                    StepStatus.DONE if "call" in events.seen and not refuses else StepStatus.READY
                )

        sender = cast("Any", events) if heard else None
        empty = RunLog(cast("Any", events), "", REVISION, actor=WHO, listener=events, message_sender=sender)
        log = await empty.begin("command", plan_of())
        step = replace(STEP, is_manual=person, arguments=AtOnce({}) if at_once else STEP.arguments)
        stop = asyncio.Event()
        if stopped:
            stop.set()
        why = {step.id: "it has changed"} if stale else {}
        bench = step_executor.ExecutionContext(cast("Any", Driver()), NOWHERE, {}, log, stop, stale=why)
        state = await step_executor.run_step(step, bench)
        events.seen.append(f"gives {state}, keeps {log.outcomes[step.id].state}")
        await log.record_skipped([(step, "the run was stopped")])
        await log.finish_run(5, "!")
        another = await log.begin("undo", plan_of())
        assert (another.actor, another.listener, another.message_sender) == (
            log.actor,
            events,
            log.message_sender,
        )
        return events.seen

    begin = ["journal: run", "announce: run-1", "announce: started"]
    end = ["journal: run-1 skipped, 0 letters", "courier", "announce: skipped", "journal: run-1 ends with 5!"]
    end += ["announce: run-1 ended with 5", *begin[:2]]

    def told(state: str, letters: int) -> list[str]:
        written = f"journal: run-1 {state}, {letters} letters"
        return [written, "courier", f"announce: {state}", f"gives {state}, keeps {state}"]

    performed = ["journal: intent", "call"]
    assert asyncio.run(course()) == [*begin, *performed, *told("done", 1), *end]
    assert "courier" not in asyncio.run(course(heard=False))
    assert asyncio.run(course(refuses=True)) == [*begin, *performed, *told("failed", 1), *end]
    assert asyncio.run(course(person=True)) == [*begin, *told("waiting", 0), *end]
    assert asyncio.run(course(stale=True)) == [*begin, *told("changed", 1), *end]
    assert asyncio.run(course(stopped=True)) == [*begin, *told("skipped", 0), *end]
    assert asyncio.run(course(stopped=True, at_once=True)) == [*begin, *performed, *told("done", 1), *end]


def plain(function: Any) -> FunctionType:
    """The function behind a property, a class method or a bound one."""
    found = getattr(function, "fget", None) or getattr(function, "__func__", function)
    assert isinstance(found, FunctionType)
    return found


GATES = (SoakReadings.of, metric_comparison.compare_metric)
REPORTS = (
    report_gate.evaluate_reports,
    report_gate._has_version,
    report_gate._explain_missing,
    ReceivedReports.take,
)
STATUSES = (
    RunReport.exit_status,
    RunReport.is_success,
    RunReport._has_error,
    report_run_exit,
    report_plan_exit,
    report_idle_exit,
    exit_report._has_errors,
    PlanSummary.find_tolerated,
    UnreadLimit.resolve,
)
MASKS = (
    *(secret._replace_secrets, secret._replace_within, secret.find_secrets, secret.mask),
    *(Secret.__repr__, Secret.__str__, secret.reveal, secret.make_secret, Redactor.redact_text),
)
ORDER = (
    *(
        RunLog.begin,
        RunLog.announce_start,
        RunLog.record_intent,
        RunLog.record_skipped,
        RunLog.record_outcomes,
        RunLog._record_together,
    ),
    *(RunLog.finish_run, step_executor.run_step),
)

_REMEMBERING = tuple(
    f"Redactor.redact_text: {words}"
    for words in (
        "always False: (recent := self._recent.get(text)) is not None",
        "always True: len(text) <= _SHORT",
        "always False: len(text) <= _SHORT",
        "LtE in len(text) <= _SHORT",
        "always True: len(self._recent) >= _RECENT",
        "always False: len(self._recent) >= _RECENT",
        "GtE in len(self._recent) >= _RECENT",
    )
)

RULES = (
    Rule("gates of metrics", metric_gates, GATES),
    Rule("gates of reports", report_gates, REPORTS),
    Rule("exit statuses", exit_statuses, STATUSES),
    Rule(
        "masks",
        masks,
        MASKS,
        {
            "_replace_secrets: always False: kind in _PLAIN": "what is plain comes to the same further down",
            "find_secrets: always True: type(item) not in _PLAIN": "what is plain holds no secret",
            **dict.fromkeys(_REMEMBERING, "what was masked before is only remembered, to mask it once"),
        },
    ),
    Rule("what nodes are quoted with", mask_rules.quoted_texts, mask_rules.QUOTING, kind=UNMASKED),
    Rule("what is shown of changes", mask_rules.shown_changes, mask_rules.SHOWING, kind=UNMASKED),
    Rule("order of journal, call and announcement", order_of_a_run, ORDER),
    Rule("files are judged by what is read", machine_rules.judged_files, machine_rules.FILES),
    Rule(
        "files are changed for the process that was read",
        machine_rules.guarded_files,
        machine_rules.REPLACING,
    ),
    Rule("reservations count", machine_rules.counted_reservations, machine_rules.RESERVATIONS),
    Rule("nodes that runs have stopped", machine_rules.resumed_nodes, machine_rules.RESUMED),
    Rule("pins and holds", memory_rules.kept_orders, memory_rules.ORDERS),
    Rule("drifted nodes", memory_rules.drifted_nodes, memory_rules.DRIFT),
    Rule("channels that meet", bus_rules.meeting_channels, bus_rules.MEETING, bus_rules.MEETING_ALIKE),
    Rule("channels that a host allows", bus_rules.allowed_channels, bus_rules.ALLOWING),
    Rule("whom a message reaches", bus_rules.shared_feeds, bus_rules.SHARING, bus_rules.SHARING_ALIKE),
    Rule("lists of instances", host_rules.listed_instances, host_rules.INVENTORY),
    Rule("leases of several hosts", host_rules.lasting_leases, host_rules.LEASES, host_rules.ALIKE),
    Rule("requests that are local", access_rules.local_requests, access_rules.LOCAL),
    Rule("what roles permit", access_rules.permitted_acts, access_rules.PERMITTED),
    Rule("pages that may send a form", access_rules.foreign_pages, access_rules.PAGES),
    Rule("what a caller sees of others", access_rules.visible_records, access_rules.VISIBLE),
    Rule("unmanaged fields", unmanaged_rules.unmanaged_fields, unmanaged_rules.HELD, unmanaged_rules.ALIKE),
)
