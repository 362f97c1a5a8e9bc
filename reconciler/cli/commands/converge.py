"""The default command without `--dry-run`: look, show, ask, apply, look again, report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from reconciler.cli.commands.plan import (
    REFUSED,
    fleet_of,
    has_errors,
    looked,
    planned_status,
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
from reconciler.drivers.registry import DRIVERS, drivers_for
from reconciler.errors import GuardRefusal, UsageError
from reconciler.host import aio
from reconciler.planning.plan_pass import Survey
from reconciler.ports.store import Store
from reconciler.rollout.apply_pass import Occasion, apply
from reconciler.rollout.recovery import resume
from reconciler.store.factory import open_store
from reconciler.transports.bundle import open_transports

IN_PART = 5

_STOPPING = (
    "Stopping: what is under way is finished and read back first, the rest is left. Again to leave at once.\n"
)


def converge(order: Order, terminal: Terminal) -> int:
    """Carry out an order; gives the exit status.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used, or nobody can be asked.
    """
    with open_store(order.state, keep=order.keep) as store:
        seen = aio.run(_surveyed(order, terminal, store))
        open_ones = seen.released()
        if seen.refused or open_ones.plan.empty:
            return nothing_to_apply(order, terminal, seen, store)
        if order.format is Format.TEXT or not order.yes:
            terminal.remark(text.render_plan(view_of(seen), layout=terminal.layout) + "\n")
        if not order.yes and not _agreed(open_ones.plan, terminal):
            terminal.remark("Nothing was done.\n")
            return 1
        report, remaining = aio.run(apply_and_look(order, terminal, seen, store))
        status = applied_status(report, remaining)
        show_run(seen, report, remaining, order.format, terminal, status=status)
        return status


def applied_status(report: Report, remaining: Plan) -> int:
    """What an apply ends with: the report's own status, and 5 where a second look still finds something."""
    status = report.exit_status
    if status == 0 and (not remaining.empty or has_errors(remaining)):
        return IN_PART
    return status


def nothing_to_apply(order: Order, terminal: Terminal, seen: Survey, store: Store) -> int:
    """A refusal goes into the history; where all is as desired, messages left over are delivered."""
    report = Report("", seen.plan)
    with suppress(GuardRefusal):  # the plan below shows the verdicts
        report = aio.run(apply_survey(order, terminal, seen, store))
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


async def _surveyed(order: Order, terminal: Terminal, store: Store) -> Survey:
    return await resumed(await fleet_of(order), order, terminal, store)


async def resumed(fleet: Fleet, order: Order, terminal: Terminal, store: Store) -> Survey:
    """Settle what a killed run left, then look."""
    async with open_transports(order.host) as transports:
        settled = await resume(store, DRIVERS, transports, feedback=fleet.feedback)
    if settled:
        number = plural(len(settled), "step")
        terminal.remark(f"An earlier run had not ended; {number} settled by reading the nodes:\n")
        for outcome in settled:
            terminal.remark(text.outcome_line(outcome, layout=terminal.layout) + "\n")
        terminal.remark("\n")
    return await looked(fleet, order, terminal, await store.recall(), applying=True)


async def apply_survey(order: Order, terminal: Terminal, seen: Survey, store: Store) -> Report:
    """Apply a survey's plan, with what is under way shown on the terminal.

    Raises:
        GuardRefusal: a verdict stands against it; the history has it.
    """
    steps = len(list(seen.plan.steps()))
    async with open_transports(order.host) as transports:
        with watching(terminal, steps) as listener, stopping(lambda: terminal.remark(_STOPPING)) as stop:
            return await apply(
                seen,
                drivers=drivers_for(order.host.config, DRIVERS),
                transports=transports,
                journal=store,
                listener=listener,
                stop=stop,
                occasion=Occasion(order.trigger),
            )


async def apply_and_look(order: Order, terminal: Terminal, seen: Survey, store: Store) -> tuple[Report, Plan]:
    """Apply, then survey the same desired state again."""
    report = await apply_survey(order, terminal, seen, store)
    again = await looked(seen.fleet, order, terminal, await store.recall())
    return report, again.plan


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
