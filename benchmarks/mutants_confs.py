"""Faults in what delivers a sora.conf, restarts and upgrades nodes, each with the scene in which it shows."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

from mutation import Mutant, edit
from scenes import confs

from reconciler.drivers.sora import guards, judge, upgrades
from reconciler.drivers.sora.cluster_state import make_formed_state
from reconciler.file_delivery import steps

THREE = make_formed_state([False] * 3)
FIVE = make_formed_state([False] * 5)
COMMANDS = {
    "version": "new",
    "stop": {"command": "stop"},
    "upgrade": {"command": "upgrade"},
    "start": {"command": "start"},
}

STAGED = confs(make_formed_state([False] * 2))
DELIVERED = confs(THREE, faults=0)
RESTARTED = confs(FIVE, delivers=False, outdated=(0,), faults=2)
UPGRADED = confs(
    tuple(node._replace(is_old=number == 0) for number, node in enumerate(FIVE)),
    delivers=False,
    **COMMANDS,
)
ANY_UPGRADE = edit(upgrades.find_upgrade_obstacle, "if away else", "if False else")
ANY_STOP = edit(judge._judge_removal, "if why else _READY", "if False else _READY")
UPGRADE_UNSEEN = edit(judge._judge_running_version, "    if away:", "    if False:")

CONFS = (
    Mutant(
        "judgement of staging a file",
        "takes a content in part for the whole",
        edit(steps._judge_stage, "state.staged == own.after and not state.leftover", "state.leftover"),
        STAGED,
    ),
    Mutant(
        "judgement of restarting",
        "takes the process of before for another one",
        edit(judge._judge_restart, "if started == own.started:", "if False:"),
        DELIVERED,
    ),
    Mutant(
        "judgement of restarting",
        "does not look at the others again",
        edit(
            judge._judge_former_start,
            "return _judge_removal(own, cluster_view, spare=own.spare)",
            "return _READY",
        ),
        RESTARTED,
    ),
    Mutant(
        "guard upgrade-overlap",
        "gone",
        edit(guards.refuse_overlapping_upgrade, "        if away:", "        if False:"),
        UPGRADED,
        (ANY_UPGRADE, UPGRADE_UNSEEN),
        "planner and judgement",
    ),
    Mutant(
        "judgement of upgrading",
        "does not look whether another node is away",
        UPGRADE_UNSEEN,
        UPGRADED,
        (ANY_STOP,),
        "the rule of stopping",
    ),
)
"""A fault planted into one function, and what the model checker makes of it."""
