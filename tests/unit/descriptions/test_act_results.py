"""The sentences about what came of an act, which commands and pages share."""

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.api import acts
from reconciler.core.reservations import StopAnswer, StopDecision, StopReply
from reconciler.descriptions.act_results import describe_act
from reconciler.diagnostic import Diagnostic, Severity

PROGRAM = Path(__file__).parents[3] / "reconciler"
HOSTILE = "edge\x1b[2J\nAll clusters are as desired"
LATER = datetime(2026, 12, 24, 18, tzinfo=UTC)
DOUBT = Diagnostic(Severity.WARNING, "code", HOSTILE, HOSTILE, target="edge")

RESULTS = {
    acts.ApproveAct: acts.ApproveResult("a1" * 32),
    acts.SuspendAct: acts.SuspendResult(HOSTILE, f"no run has seen {HOSTILE}"),
    acts.ResumeAct: acts.ResumeResult(HOSTILE, was_suspended=True, retried=(HOSTILE,)),
    acts.HoldAct: acts.HoldResult(HOSTILE, LATER, is_seen=False, is_busy=True),
    acts.ReleaseAct: acts.ReleaseResult(HOSTILE, ended=(HOSTILE,)),
    acts.UnpinAct: acts.UnpinResult(HOSTILE, pinned=(HOSTILE,), warning=HOSTILE),
    acts.RetryAct: acts.RetryResult(HOSTILE, found=(HOSTILE,)),
    acts.LookAct: acts.LookResult((HOSTILE,)),
    acts.StopAct: acts.StopResult(
        StopReply(
            cluster=HOSTILE,
            node=HOSTILE,
            decision=StopDecision(StopAnswer.YES, (HOSTILE,), (HOSTILE,), (DOUBT,)),
            until=LATER,
        ).plain()
    ),
}
PLANNED_FIRST = {acts.RollBackAct, acts.PurgeAct}
"""Acts whose first result is a plan, and no sentence."""


def make_act(kind):
    return kind.model_construct(reason=HOSTILE, by="")


@pytest.mark.parametrize("kind", [kind for kind in acts.ACTS if kind not in PLANNED_FIRST])
def test_each_act_tells_what_came_of_it_in_lines_that_no_name_can_break(kind):
    text = describe_act(make_act(kind), RESULTS[kind])
    assert text.lines
    told = [*text.lines, *text.warnings]
    assert not any(one in line for line in told for one in "\x1b\n")


def test_a_warning_is_told_where_the_name_was_seen_by_no_run():
    assert describe_act(make_act(acts.HoldAct), RESULTS[acts.HoldAct]).warnings
    seen = acts.HoldResult("edge/n1", LATER)
    assert not describe_act(make_act(acts.HoldAct), seen).warnings
    assert describe_act(make_act(acts.HoldAct), seen).ending[1] == "reconcile release edge/n1"


def test_commands_and_pages_have_no_sentences_of_their_own_about_results():
    """Who changes a sentence changes it for both."""
    tree = ast.parse((PROGRAM / "descriptions/act_results.py").read_text("utf-8"))
    documented = {
        ast.get_docstring(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
    }
    parts = {
        node.value.strip()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and len(node.value.split()) >= 4
        and node.value not in documented
    }
    assert len(parts) > 8
    own = [*(PROGRAM / "cli").rglob("*.py"), *(PROGRAM / "server").rglob("*.py")]
    assert not {part: file.name for file in own for part in parts if part in file.read_text("utf-8")}
