"""`reconcile rollback` by a user who may not open the state: the running watch plans and applies it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.options import PlanFormat
from reconciler.cli.render.history import render_run_record, render_run_record_json
from reconciler.cli.render.plan_view import PlanView
from reconciler.cli.render.text import render_plan_text
from reconciler.errors import StateError, UsageError
from reconciler.host import aio
from reconciler.host.actor import get_current_actor
from reconciler.planning.plan_file import parse_plan_file
from reconciler.text.one_line import clean_line

if TYPE_CHECKING:
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.state_access import StateAccess
    from reconciler.cli.terminal import Terminal

_FAILED = 5


def roll_back_by_watch(order: RunOptions, cluster_input: StateAccess, terminal: Terminal) -> int:
    """Let the watch show its plan, ask, and let it apply exactly that; gives the exit status.

    Raises:
        UsageError: the order asks for what the watch decides, or nobody can be asked.
        StateError: the watch refuses, or does not answer.
    """
    _refuse_what_the_watch_decides(order, cluster_input)
    asked = {
        "revision": order.ref,
        "only": order.only,
        "while_suspended": "yes" if order.while_suspended else "",
        "by": get_current_actor(claim=order.by, why=order.why).plain(),
    }
    shown, data = cluster_input.ask_watch({"do": "rollback", **asked})
    plan = parse_plan_file(data, "the watch's answer").loaded()
    terminal.remark(render_plan_text(PlanView(plan), layout=terminal.layout) + "\n")
    if shown.get("refused"):
        _tell_refused(shown, terminal)
    if shown.get("status") or shown.get("empty"):
        return int(shown.get("status", 0))
    if not order.yes and not terminal.answers:
        raise UsageError(
            "cannot ask whether to apply this: standard input is not a terminal",
            remedy="add --yes to apply without asking",
        )
    if not order.yes and not terminal.confirm("Apply this?"):
        terminal.remark("Nothing was done.\n")
        return 1
    done, _ = cluster_input.ask_watch({"do": "rollback", **asked, "plan": str(shown["plan"])})
    _tell_refused(done, terminal)
    if run := str(done.get("run", "")):
        record = aio.run_until_signal(cluster_input.read().run(run))
        is_json = order.format is PlanFormat.JSON
        terminal.say(
            render_run_record_json(record) if is_json else render_run_record(record, layout=terminal.layout)
        )
    return int(done.get("status", _FAILED))


def _refuse_what_the_watch_decides(order: RunOptions, cluster_input: StateAccess) -> None:
    if cluster_input.watch is None:  # refused where the desk was opened
        raise StateError(f"no watch answers for the state {cluster_input.folder}")
    if order.source not in {".", cluster_input.watch.source} or order.path or order.trust is not None:
        raise UsageError(
            f"this user cannot open the state {cluster_input.folder}; instead, the watch "
            f"({cluster_input.watch}) rolls back, from its own source and with its own options",
            remedy="leave out SOURCE, --path and the options for signers, or run the command as root",
        )
    if not order.ref:
        raise UsageError(
            "a rollback through the watch needs a revision",
            remedy="give the commit: `reconcile rollback COMMIT`; `reconcile history` lists applied commits",
        )


def _tell_refused(answer: dict[str, object], terminal: Terminal) -> None:
    refused = answer.get("refused")
    for line in refused if isinstance(refused, list) else []:
        terminal.remark(f"refused: {clean_line(str(line))}\n")
