"""Plans and reports made up for the renderings' tests."""

from dataclasses import replace
from datetime import date

from reconciler.cli.render.exit_report import ExitReport
from reconciler.core.arguments import RawArguments
from reconciler.core.diff import Change, Op, diff_values
from reconciler.core.outcome import Outcome, RunReport, State
from reconciler.core.plan import ClusterPlan, Effect, Inverse, Plan, Revision, Risk, Step
from reconciler.core.policy import Override
from reconciler.core.secret import Secret
from reconciler.descriptions.phrases import PlanView
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.exit_status import ExitStatus
from reconciler.planning.plan_summary import PlanSummary

ENDED = ExitReport(ExitStatus.DONE, PlanSummary()).plain()
"""The exit of a run that has nothing to say."""

REVISION = Revision(
    source="https://git.example.com/fleet.git",
    id="4be6bbe4f0c1a9c3a1de3a4a5f1e0d6c7b8a9f00",
    short="4be6bbe",
    title="Open the API to the new office",
)
OLD = {
    "meta": {"version": "7"},
    "env": {
        "management": {
            "api": {"allowList": [{"addr": "10.0.0.9"}, {"addr": "10.0.1.0/24", "role": "viewer"}]},
            "server": {"connection": [{"name": "s3", "info": {"secretAccessKey": Secret("hunter2")}}]},
        }
    },
}
NEW = {
    "meta": {"version": "8"},
    "env": {
        "management": {
            "api": {
                "allowList": [
                    {"addr": "10.0.1.0/24", "role": "viewer"},
                    {"addr": "10.1.0.0/16", "role": "viewer"},
                ],
                "defaultRole": "viewer",
            },
            "server": {"connection": [{"name": "s3", "info": {"secretAccessKey": Secret("hunter3")}}]},
        }
    },
}


def upload(number: int, **others) -> Step:
    node = f"edge-{number:02d}"
    step = Step(
        id=f"edge-seoul/{node}/upload",
        cluster="edge-seoul",
        node=node,
        action="upload",
        arguments=RawArguments(
            {"url": f"http://10.0.0.{number}:10040", "payload": "5f2d", "header": Secret("hunter2")}
        ),
        reason=f"{node} runs setting 7, the commit says 8",
        effect=Effect.HOT,
        risk=Risk.LOW,
        risk_reason="every part of it applies while the node serves",
        needs=f"{node} still shows the setting that was read",
        inverse=Inverse(words="upload the setting that was read", action="upload"),
        changes=diff_values(OLD, NEW),
    )
    return replace(step, **others)


EDGE = ClusterPlan(
    cluster="edge-seoul",
    kind="m2",
    nodes=43,
    unchanged=1,
    steps=(
        *(upload(number) for number in range(1, 20)),
        upload(
            20,
            reason="edge-20 has no setting loaded",
            changes=(Change("/meta/version", Op.ADD, new="8"),),
            risk=Risk.MEDIUM,
            risk_reason="the node serves nothing until it has a setting",
        ),
        *(upload(number) for number in range(21, 41)),
    ),
    findings=(
        Diagnostic(
            Severity.NOTE,
            "left-alone",
            "edge-43: none of the settings here allows its address",
            target="edge-seoul/edge-43",
        ),
        Diagnostic(
            Severity.ERROR,
            "unreachable",
            "no answer from 10.0.0.41:10040 within 3 s",
            "check whether edge-41 runs",
            target="edge-seoul/edge-41",
        ),
        Diagnostic(
            Severity.ERROR,
            "unreachable",
            "no answer from 10.0.0.41:10040 within 3 s",
            "check whether edge-42 runs",
            target="edge-seoul/edge-42",
        ),
    ),
    concurrency=5,
)

REGISTER = Step(
    id="live/node-04@10.0.1.4/register",
    cluster="live",
    node="node-04@10.0.1.4",
    action="register",
    arguments=RawArguments({"contact": "node-01@10.0.1.1"}),
    reason="the fleet file names node-04@10.0.1.4, and no member lists it",
    effect=Effect.MEMBERSHIP,
    risk=Risk.MEDIUM,
    risk_reason="4 regular nodes then, of which 1 may fail",
    needs="3 of 3 regular nodes are connected",
    inverse=Inverse(words="stop node-04@10.0.1.4 and purge it", action="purge"),
)
STOP = Step(
    id="live/node-03@10.0.1.3/stop",
    cluster="live",
    node="node-03@10.0.1.3",
    action="stop",
    arguments=RawArguments(),
    reason="node-03@10.0.1.3 runs but is not in the fleet file: stop it on its host",
    effect=Effect.MEMBERSHIP,
    risk=Risk.MEDIUM,
    risk_reason="3 of 4 regular nodes stay connected, a majority is 3",
    needs="node-04@10.0.1.4 is a member",
    inverse=Inverse(words="start node-03@10.0.1.3 again"),
    after=("live/node-04@10.0.1.4/register",),
    is_manual=True,
)
PURGE = Step(
    id="live/node-03@10.0.1.3/purge",
    cluster="live",
    node="node-03@10.0.1.3",
    action="purge",
    arguments=RawArguments({"through": "node-01@10.0.1.1"}),
    reason="the fleet file no longer names node-03@10.0.1.3",
    effect=Effect.MEMBERSHIP,
    risk=Risk.HIGH,
    risk_reason="a node that is purged while it only restarts has to be registered anew",
    needs="node-03@10.0.1.3 is stopped and 3 of 4 regular nodes are connected",
    inverse=Inverse(words="point of no return: a purged node comes back only by registering it"),
    after=("live/node-04@10.0.1.4/register", "live/node-03@10.0.1.3/stop"),
)
LIVE = ClusterPlan(cluster="live", kind="sora", nodes=3, unchanged=2, steps=(REGISTER, STOP, PURGE))

PLAN = Plan(REVISION, "0.1.0", (EDGE, LIVE))
EMPTY = Plan(
    REVISION, "0.1.0", (ClusterPlan("edge-seoul", "m2", 1000, 1000), ClusterPlan("live", "sora", 3, 3))
)

WARNING = Diagnostic(
    Severity.WARNING,
    "version-unchanged",
    "the setting changed and meta.version did not",
    "raise it, or write version: commit in fleet.yaml",
    position=Position("edge/setting.json", 2, 3),
    pointer="/meta/version",
)
REFUSAL = Diagnostic(
    Severity.ERROR,
    "quorum",
    "live: after purging node-03@10.0.1.3 only 1 of 3 regular nodes would be connected, a majority is 2",
    "bring node-02@10.0.1.2 back first",
    target="live",
)
OVERRIDE = Override(guard="blast-radius", until=date(2026, 12, 1), reason="the new office opens on Monday")
OVERRIDDEN = (
    Diagnostic(
        Severity.ERROR,
        "blast-radius",
        "edge-seoul: 40 of 43 nodes would be changed, the limit is 21",
        "",
        target="edge-seoul",
    ),
    OVERRIDE,
)

FULL = PlanView(PLAN, overridden=(OVERRIDDEN,), warnings=(WARNING,))
REFUSED = PlanView(replace(PLAN, clusters=(LIVE,)), violations=(REFUSAL,))
NOTHING = PlanView(EMPTY)

EVIL = "\x1b[2J\x1b]0;x\x07` | <b>x</b> [a](http://x) @team #1 \u202egnp\nnew ```\n```"
HOSTILE = PlanView(
    Plan(
        replace(REVISION, title=EVIL),
        "0.1.0",
        (
            ClusterPlan(
                "edge",
                "m2",
                2,
                0,
                steps=(
                    upload(
                        1,
                        cluster="edge",
                        reason=EVIL,
                        risk_reason=EVIL,
                        needs=EVIL,
                        inverse=Inverse(EVIL),
                        changes=(
                            Change(f"/{EVIL}", Op.REPLACE, old=EVIL, new="\x9b31m"),
                            Change("/x", Op.REMOVE, old=[EVIL]),
                        ),
                    ),
                ),
                findings=(Diagnostic(Severity.ERROR, "e", EVIL, EVIL, target=f"edge/{EVIL}"),),
            ),
        ),
    ),
    violations=(Diagnostic(Severity.ERROR, "v", EVIL, EVIL, target=EVIL),),
    warnings=(Diagnostic(Severity.WARNING, "w", EVIL, EVIL, position=Position(EVIL, 1, 1)),),
)


def report(*states: State, plan: Plan = PLAN) -> RunReport:
    """A run of a plan: the given states for its first steps, done for the others."""
    steps = list(plan.steps())
    told = {
        State.FAILED: "the node answered 500: disk full",
        State.SKIPPED: "an earlier step failed",
        State.WAITING: "node-03@10.0.1.3 still runs",
        State.CHANGED: "the node shows another setting than the one planned from",
    }
    every = [*states, *[State.DONE] * (len(steps) - len(states))]
    outcomes = [
        Outcome(step, state, told.get(state, ""), 0.25) for step, state in zip(steps, every, strict=True)
    ]
    return RunReport("20261121T034500-4be6bbe", plan, tuple(outcomes))


def partial() -> RunReport:
    """Forty uploads of which three failed, then a cluster that waits for an operator."""
    tail = (State.DONE, State.WAITING, State.SKIPPED)
    states = (State.FAILED, State.FAILED, State.FAILED, *[State.DONE] * 37, *tail)
    made = report(*states)
    first = replace(made.outcomes[5], waiting_for_restart=("/env/network/http",))
    undelivered = Diagnostic(
        Severity.WARNING,
        "feedback-undelivered",
        "3 messages could not be delivered to http://127.0.0.1:9000/feedback: no answer within 5 s",
        "they are kept, and the next run delivers them",
        target="feedback",
    )
    return replace(made, outcomes=(*made.outcomes[:5], first, *made.outcomes[6:]), findings=(undelivered,))
