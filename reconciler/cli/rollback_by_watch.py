"""`reconcile rollback` by a user who may not open the state: the running watch plans and applies it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.options import Format
from reconciler.cli.render.history import render_run, run_plain
from reconciler.cli.render.text import render_plan
from reconciler.cli.render.view import View
from reconciler.errors import StateError, UsageError
from reconciler.host import aio
from reconciler.host.actor import this_actor
from reconciler.planning.plan_file import parsed
from reconciler.text.one_line import clean

if TYPE_CHECKING:
    from reconciler.cli.order import Order
    from reconciler.cli.order_desk import OrderDesk
    from reconciler.cli.terminal import Terminal

_FAILED = 5


def roll_back_by_watch(order: Order, desk: OrderDesk, terminal: Terminal) -> int:
    """Let the watch show its plan, ask, and let it apply exactly that; gives the exit status.

    Raises:
        UsageError: the order asks for what the watch decides, or nobody can be asked.
        StateError: the watch refuses, or does not answer.
    """
    _refuse_what_the_watch_decides(order, desk)
    asked = {
        "revision": order.ref,
        "only": order.only,
        "while_suspended": "yes" if order.while_suspended else "",
        "by": this_actor(claim=order.by, why=order.why).plain(),
    }
    shown, data = desk.ask_watch({"do": "rollback", **asked})
    plan = parsed(data, "the watch's answer").loaded()
    terminal.remark(render_plan(View(plan), layout=terminal.layout) + "\n")
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
    done, _ = desk.ask_watch({"do": "rollback", **asked, "plan": str(shown["plan"])})
    _tell_refused(done, terminal)
    if run := str(done.get("run", "")):
        record = aio.run(desk.read().run(run))
        is_json = order.format is Format.JSON
        terminal.say(run_plain(record) if is_json else render_run(record, layout=terminal.layout))
    return int(done.get("status", _FAILED))


def _refuse_what_the_watch_decides(order: Order, desk: OrderDesk) -> None:
    if desk.watch is None:  # refused where the desk was opened
        raise StateError(f"no watch answers for the state {desk.folder}")
    if order.source not in {".", desk.watch.source} or order.path or order.trust is not None:
        raise UsageError(
            f"the state {desk.folder} is closed to this user, so that the watch ({desk.watch}) rolls back, "
            "from its own source and with its own options",
            remedy="leave out SOURCE, --path and what is said of signers; or run the command as root",
        )
    if not order.ref:
        raise UsageError(
            "a rollback through a watch needs its revision",
            remedy="name the commit: `reconcile rollback COMMIT`; `reconcile history` lists what was applied",
        )


def _tell_refused(answer: dict[str, object], terminal: Terminal) -> None:
    refused = answer.get("refused")
    for line in refused if isinstance(refused, list) else []:
        terminal.remark(f"refused: {clean(str(line))}\n")
