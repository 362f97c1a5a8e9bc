"""`reconcile rollback` by a user who cannot open the state folder: the running watch plans and applies it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from reconciler.api.acts import RollBackAct, RollBackResult
from reconciler.cli.history_place import HistoryOfServer
from reconciler.cli.options import PlanFormat
from reconciler.cli.order_place import make_act
from reconciler.cli.render.history import render_run_record, render_run_record_json
from reconciler.cli.render.text import render_plan_text
from reconciler.core.selection import format_selection
from reconciler.descriptions.phrases import PlanView
from reconciler.errors import UsageError
from reconciler.exit_status import ExitStatus
from reconciler.host import aio
from reconciler.host.actor import get_current_actor
from reconciler.planning.plan_file import parse_plan_file
from reconciler.ports.store import RunRecord
from reconciler.text.one_line import clean_line

if TYPE_CHECKING:
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.server_client import ServerClient
    from reconciler.cli.state_access import StateAccess
from reconciler.cli.terminal import Terminal
from reconciler.sources.locate import is_same_source

_FAILED = 5


def roll_back_by_watch(options: RunOptions, access: StateAccess, terminal: Terminal) -> int:
    """Ask the watch for its plan, ask for confirmation, and let the watch apply it; gives the exit status.

    Raises:
        UsageError: an option contradicts the watch's own, or nobody can confirm.
        StateError: the watch refuses, or does not answer.
    """
    watch = access.running_watch
    is_own = options.source == "." or is_same_source(options.source, watch.source)
    if not is_own or options.path not in {"", watch.within} or options.trust is not None:
        raise UsageError(
            f"this user cannot open the state {access.folder}; instead, the watch ({access.watch}) rolls "
            "back, from its own source and with its own options",
            remedy="leave out SOURCE, --path and the options for signers, or run the command as root",
        )
    if not options.ref:
        raise UsageError(
            "a rollback through the watch needs a revision",
            remedy="give the commit: `reconcile rollback COMMIT`; `reconcile history` lists applied commits",
        )
    asked = {
        "revision": options.ref,
        "only": format_selection(options.only),
        "by": get_current_actor(claim=options.by, why=options.why).encode(),
    }

    def ask(plan: str) -> RollBackResult:
        # The second request names the plan that was shown: if the watch now plans anything else, it refuses.
        answer, data = access.ask_watch({"do": "rollback", **asked, **({"plan": plan} if plan else {})})
        refused = answer.get("refused")
        return RollBackResult(
            status=int(answer.get("status", _FAILED if plan else 0)),
            refused=tuple(map(str, refused if isinstance(refused, list) else ())),
            plan=str(answer.get("plan", "")),
            is_empty=bool(answer.get("empty")),
            plan_file=data.decode("utf-8", "replace"),
            run=str(answer.get("run", "")),
        )

    return _roll_back(ask, lambda run: aio.run_until_signal(access.read().run(run)), options, terminal)


def roll_back_by_server(options: RunOptions, client: ServerClient, terminal: Terminal) -> int:
    """As `roll_back_by_watch`, by a watch elsewhere.

    Raises:
        ReconcilerError: it is refused, or there is no valid answer.
    """
    if not options.ref:
        raise UsageError(
            "a rollback by a server needs a revision",
            remedy="give the commit: `reconcile rollback COMMIT`; `reconcile history` lists applied commits",
        )
    terminal.remark(str(client))

    def ask(plan: str) -> RollBackResult:
        act = make_act(
            RollBackAct,
            revision=options.ref,
            only=options.only.only,
            skip=options.only.skip,
            plan=plan,
            by=options.by,
            reason=options.why,
        )
        return client.perform(act)

    return _roll_back(ask, HistoryOfServer(client).read_run, options, terminal)


def _roll_back(
    ask: Callable[[str], RollBackResult],
    read_run: Callable[[str], RunRecord],
    options: RunOptions,
    terminal: Terminal,
) -> int:
    """Show the plan, ask for confirmation, and let it be applied; gives the exit status."""
    shown = ask("")
    # The digest in the file shows that the answer arrived whole: this is what the user confirms.
    plan = parse_plan_file(shown.plan_file.encode(), "the watch's answer").load_plan()
    shown_plan = render_plan_text(PlanView(plan), layout=terminal.layout)
    terminal.remark(shown_plan + "\n", is_asked=not options.yes)
    _show_refusals(shown, terminal)
    if shown.status or shown.is_empty:
        return shown.status
    remedy = "add --yes to apply without asking"
    if not options.yes and not terminal.get_consent("Apply this?", verb="apply", remedy=remedy):
        terminal.remark("Nothing was done.\n")
        return ExitStatus.ERROR
    done = ask(shown.plan)
    _show_refusals(done, terminal)
    if done.run:
        record = read_run(done.run)
        is_json = options.format is PlanFormat.JSON
        terminal.say(
            render_run_record_json(record) if is_json else render_run_record(record, layout=terminal.layout)
        )
    return done.status


def _show_refusals(answer: RollBackResult, terminal: Terminal) -> None:
    for line in answer.refused:
        terminal.remark(f"refused: {clean_line(line)}\n")
