"""Faults in M2's guards and judgement, and in the model of the executor, each with its scene."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

import scenes
from mutation import Mutant, edit
from scenes import m2, regular, sora

from reconciler.drivers.m2 import guards as m2_guards
from reconciler.drivers.m2 import judge as m2_judge
from reconciler.drivers.m2 import lock_out
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.state_table import StateTable

IN_CHAIN = sora(regular(6), range(5), at_once=2)
"""Two steps may be under way, and one comes after the other."""
PLAIN = m2(scenes.AFTER, scenes.BEFORE)
TWO = m2(scenes.AFTER, scenes.BEFORE, nodes=2)
SHUT = m2(scenes.SHUT, scenes.BEFORE)
HIDDEN = m2(scenes.HIDDEN, scenes.setting(scenes.HERE))
ROLLING = m2(scenes.PARTED, scenes.RINGED, nodes=3)
PAIR = m2(scenes.PARTED, scenes.RINGED, nodes=2)
AT_ONCE = m2(scenes.PARTED, scenes.RINGED, nodes=2, at_once=2)


M2 = (
    Mutant(
        "guard lock-out", "gone", edit(m2_guards.refuse_lockout_of_this_host, "if why:", "if False:"), SHUT
    ),
    Mutant(
        "guard lock-out",
        "turned round",
        edit(lock_out.Callers.losing, "and not _may(then", "and _may(then"),
        SHUT,
    ),
    Mutant(
        "guard lock-out",
        "knows one way of reading an allowList",
        edit(
            lock_out.find_callers,
            "for rule in RULES if",
            'for rule in RULES if rule.match == "union" and',
        ),
        HIDDEN,
    ),
    Mutant(
        "guard lock-out",
        "blind to an API that moves",
        edit(m2_guards.refuse_unreachable_port, "if there and there not in target.bases:", "if False:"),
        m2(scenes.MOVED, scenes.setting(scenes.HERE), base=":10040"),
    ),
    Mutant(
        "guard lock-out-all",
        "gone",
        edit(
            m2_guards.refuse_lockout_of_everybody,
            "if not (has_certain_access(after) if new else allowed):",
            "if False:",
        ),
        m2(scenes.NOBODY, None),
    ),
    Mutant(
        "guard uniformity",
        "gone",
        edit(m2_guards.refuse_cluster_split, "if left or (len(moving)", "if False and (len(moving)"),
        ROLLING,
    ),
    Mutant(
        "guard uniformity",
        "off by one",
        edit(
            m2_guards.refuse_cluster_split, "<= context.plan.concurrency", "<= context.plan.concurrency + 1"
        ),
        PAIR,
    ),
    Mutant(
        "guard uniformity",
        "blind to nodes that cannot be read",
        edit(m2_guards.refuse_cluster_split, "if left or (len(moving)", "if (len(moving)"),
        AT_ONCE,
    ),
    Mutant(
        "judgement of a delivery",
        "does not look what the node has now",
        edit(m2_judge._judge_content, "if before == loaded.content.fingerprint or", "if True or"),
        PLAIN,
    ),
    Mutant(
        "judgement of a delivery",
        "calls done whatever the node shows",
        edit(m2_judge._judge_content, "if loaded.shows(ExpectedSetting(after)) and not waits:", "if True:"),
        PLAIN,
    ),
)


EXECUTOR = (
    Mutant(
        "executor: every pass is judged",
        "gone",
        edit(StateTable._plan, "passed = not plan.steps or self._weigh", "passed = True or self._weigh"),
        SHUT,
    ),
    Mutant(
        "executor: intent before call",
        "the call is made first",
        edit(
            ExecutorModel._continue_run,
            "yield self._start_step(state, place, step)",
            "yield from self._call_node(state, place, step)",
        ),
        PLAIN,
    ),
    Mutant(
        "executor: what is done is not done again",
        "gone",
        edit(
            ExecutorModel._start_step,
            "if status is StepStatus.READY and",
            "if status in {StepStatus.READY, StepStatus.DONE} and",
        ),
        PLAIN,
    ),
    Mutant(
        "executor: done is what a reading shows",
        "the call's answer is believed",
        edit(ExecutorModel._conclude_step, "self.state_table.status(state.world, number) is not", "None is"),
        PLAIN,
    ),
    Mutant(
        "executor: settling by reading",
        "what was open is done again",
        edit(
            ExecutorModel._restart,
            "plan=-1, phases=(), struck=False, held=())",
            "phases=tuple(StepPhase.INTENT if one in OPEN else one for one in state.phases),"
            " struck=False, held=())",
        ),
        PLAIN,
    ),
    Mutant(
        "executor: settling waits for calls on their way",
        "gone",
        edit(ExecutorModel.moves, "elif state.late:", "elif False:"),
        PLAIN,
    ),
    Mutant(
        "executor: a pass leaves out the node of a call on its way",
        "gone",
        edit(
            StateTable._plan_beside,
            "if step.node in nodes or gone & set(step.after):",
            "if gone & set(step.after):",
        ),
        TWO,
    ),
    Mutant(
        "executor: concurrency",
        "off by one",
        edit(ExecutorModel._continue_run, "for phase in phases) < plan", "for phase in phases) <= plan"),
        TWO,
    ),
    Mutant(
        "executor: order of steps",
        "a call is enough, no outcome is waited for",
        edit(
            ExecutorModel._continue_run, "phases[one] is StepPhase.SUCCEEDED", "phases[one] >= StepPhase.SENT"
        ),
        IN_CHAIN,
    ),
)
