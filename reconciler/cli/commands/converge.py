"""The default command without `--dry-run`: look, show, ask, apply, look again, report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from reconciler.api.reconciler import Reconciler, through_suspensions
from reconciler.cli.commands.plan import (
    REFUSED,
    has_errors,
    look,
    planned_status,
    reader_of,
    show_plan,
    view_of,
)
from reconciler.cli.options import Format
from reconciler.cli.order import Order
from reconciler.cli.progress import watching
from reconciler.cli.render import json as as_json
from reconciler.cli.render import markdown, text, words
from reconciler.cli.render.clean import plural
from reconciler.cli.signals import stopping
from reconciler.cli.terminal import Terminal
from reconciler.core.outcome import Report
from reconciler.core.plan import Plan
from reconciler.desired.fleet import Fleet
from reconciler.errors import GuardRefusal, UsageError
from reconciler.host import aio
from reconciler.planning.plan_file import PlanFile
from reconciler.planning.plan_pass import Survey
from reconciler.store.factory import open_store

IN_PART = 5

_STOPPING = (
    "Stopping: what is under way is finished and read back first, the rest is left. Again to leave at once.\n"
)


def converge(order: Order, terminal: Terminal) -> int:
    """Carry out an order; gives the exit status.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used, or nobody can be asked.
    """
    folder, reader = order.journal, reader_of(order)
    with open_store(folder, keep=order.keep) as store:
        reconciler = Reconciler(reader, store, actor=order.actor)
        seen = aio.run(_surveyed(reconciler, order, terminal))
        open_ones = seen.released()
        if seen.refused or open_ones.plan.empty:
            return nothing_to_apply(reconciler, order, terminal, seen)
        if order.format is Format.TEXT or not order.yes:
            terminal.remark(text.render_plan(view_of(seen), layout=terminal.layout) + "\n")
        if not order.yes and not _agreed(open_ones.plan, terminal):
            terminal.remark("Nothing was done.\n")
            return 1
        report, remaining = aio.run(apply_and_look(reconciler, order, terminal, seen))
        status = applied_status(report, remaining) or (IN_PART if seen.vanished else 0)
        show_run(seen, report, remaining, order.format, terminal, status=status)
        return status


def applied_status(report: Report, remaining: Plan) -> int:
    """What an apply ends with: the report's own status, and 5 where a second look still finds something."""
    status = report.exit_status
    if status == 0 and (not remaining.empty or has_errors(remaining)):
        return IN_PART
    return status


def nothing_to_apply(reconciler: Reconciler, order: Order, terminal: Terminal, seen: Survey) -> int:
    """A refusal goes into the history; where all is as desired, messages left over are delivered."""
    report = Report("", seen.plan)
    with suppress(GuardRefusal):  # the plan below shows the verdicts
        report = aio.run(apply_survey(reconciler, order, terminal, seen))
    if order.trigger == "rollback" and any(one.code == "suspended" for one in seen.violations):
        terminal.remark("To go back while changes stay suspended for all others: add --while-suspended.\n")
    status = REFUSED if seen.violations else planned_status(seen, detailed=False) or report.exit_status
    if order.format is Format.JSON:
        terminal.say(as_json.render_run(view_of(seen), report, None, status=status))
    else:
        show_plan(replace(view_of(seen), findings=report.findings), order.format, terminal)
    return status


def _agreed(plan: Plan, terminal: Terminal) -> bool:
    if not terminal.answers:
        raise UsageError(
            "cannot ask whether to apply this: standard input is not a terminal",
            remedy="add --yes to apply without asking, or --dry-run to plan only",
        )
    return terminal.confirm(f"Apply {words.pending(plan)}?")


async def _surveyed(reconciler: Reconciler, order: Order, terminal: Terminal) -> Survey:
    fleet = await reconciler.reader.read_fleet()
    if order.while_suspended:
        fleet = through_suspensions(fleet, f"{order.trigger} --while-suspended")
    return await resumed(reconciler, fleet, order, terminal)


async def resumed(
    reconciler: Reconciler, fleet: Fleet, order: Order, terminal: Terminal, *, file: PlanFile | None = None
) -> Survey:
    """Settle what a killed run left, then look."""
    async with reconciler.connected() as connected:
        settled = await connected.settle(fleet)
        if settled:
            number = plural(len(settled), "step")
            terminal.remark(f"An earlier run had not ended; {number} settled by reading the nodes:\n")
            for outcome in settled:
                terminal.remark(text.outcome_line(outcome, layout=terminal.layout) + "\n")
            terminal.remark("\n")
        return await look(connected.reader, fleet, order, terminal, file=file)


async def apply_survey(reconciler: Reconciler, order: Order, terminal: Terminal, seen: Survey) -> Report:
    """Apply a survey's plan, with what is under way shown on the terminal.

    Raises:
        GuardRefusal: a verdict stands against it; the history has it.
    """
    steps = len(list(seen.plan.steps()))
    with watching(terminal, steps) as listener, stopping(lambda: terminal.remark(_STOPPING)) as stop:
        return await reconciler.apply(seen, trigger=order.trigger, listener=listener, stop=stop)


async def apply_and_look(
    reconciler: Reconciler, order: Order, terminal: Terminal, seen: Survey
) -> tuple[Report, Plan]:
    """Apply, then survey the same desired state again."""
    async with reconciler.connected() as connected:
        report = await apply_survey(connected, order, terminal, seen)
        with watching(terminal) as listener:
            return report, await connected.look_again(seen, only=order.only, listener=listener)


def show_run(
    seen: Survey,
    report: Report,
    remaining: Plan | None,
    form: Format,
    terminal: Terminal,
    *,
    status: int,
) -> None:
    """Write what became of a run, in the form asked for; without `remaining` where nothing was done.

    Args:
        seen: what the run's plan was made from.
        report: the run.
        remaining: what a second look would still plan.
        form: how to write it.
        terminal: where to.
        status: the exit status that the command ends with.
    """
    view = view_of(seen)
    match form:
        case Format.TEXT:
            terminal.say("\n" + text.render_report(report, remaining, layout=terminal.layout))
        case Format.JSON:
            terminal.say(as_json.render_run(view, report, remaining, status=status))
        case Format.MARKDOWN:
            shown = markdown.render_plan(view, limit=markdown.LIMIT * 3 // 4)
            terminal.say(f"{shown}\n{markdown.render_report(report, remaining, limit=markdown.LIMIT // 4)}")
