"""The default command without `--dry-run`: look, show, ask, apply, look again, report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from reconciler.api.reconciler import Reconciler, override_suspensions
from reconciler.cli.commands.plan import (
    REFUSED,
    get_plan_exit_status,
    has_errors,
    make_plan_view,
    make_reader,
    plan_with_progress,
    print_plan,
)
from reconciler.cli.options import PlanFormat
from reconciler.cli.progress import show_progress
from reconciler.cli.render import json as as_json
from reconciler.cli.render import markdown, phrases, text
from reconciler.cli.render.values import format_count
from reconciler.cli.run_options import RunOptions
from reconciler.cli.signals import catch_stop_signal
from reconciler.cli.terminal import Terminal
from reconciler.core.outcome import RunReport
from reconciler.core.plan import Plan
from reconciler.desired.fleet import Fleet
from reconciler.errors import GuardRefusal, UsageError
from reconciler.host import aio
from reconciler.planning.plan_file import PlanFile
from reconciler.planning.plan_pass import PlanResult
from reconciler.store.factory import open_store

IN_PART = 5

_STOPPING = (
    "Stopping: running steps finish and are read back, no other step begins. Press Ctrl-C again to exit "
    "at once.\n"
)


def converge(order: RunOptions, terminal: Terminal) -> int:
    """Carry out an order; gives the exit status.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used, or nobody can be asked.
    """
    folder, reader = order.journal, make_reader(order)
    with open_store(folder, keep=order.keep) as store:
        reconciler = Reconciler(reader, store, actor=order.actor)
        seen = aio.run_until_signal(_surveyed(reconciler, order, terminal))
        open_ones = seen.released()
        if seen.refused or open_ones.plan.empty:
            return report_nothing_to_apply(reconciler, order, terminal, seen)
        if order.format is PlanFormat.TEXT or not order.yes:
            terminal.remark(text.render_plan_text(make_plan_view(seen), layout=terminal.layout) + "\n")
        if not order.yes and not _agreed(open_ones.plan, terminal):
            terminal.remark("Nothing was done.\n")
            return 1
        report, remaining = aio.run_until_signal(apply_and_plan_again(reconciler, order, terminal, seen))
        status = get_apply_exit_status(report, remaining) or (IN_PART if seen.vanished else 0)
        print_run(seen, report, remaining, order.format, terminal, status=status)
        return status


def get_apply_exit_status(report: RunReport, remaining: Plan) -> int:
    """What an apply ends with: the report's own status, and 5 where a second look still finds something."""
    status = report.exit_status
    if status == 0 and (not remaining.empty or has_errors(remaining)):
        return IN_PART
    return status


def report_nothing_to_apply(
    reconciler: Reconciler, order: RunOptions, terminal: Terminal, seen: PlanResult
) -> int:
    """A refusal goes into the history; where all is as desired, messages left over are delivered."""
    report = RunReport("", seen.plan)
    with suppress(GuardRefusal):  # the plan below shows the verdicts
        report = aio.run_until_signal(apply_with_progress(reconciler, order, terminal, seen))
    if order.trigger == "rollback" and any(one.code == "suspended" for one in seen.violations):
        terminal.remark("To roll back and keep all other changes suspended, add --while-suspended.\n")
    status = REFUSED if seen.violations else get_plan_exit_status(seen, detailed=False) or report.exit_status
    if order.format is PlanFormat.JSON:
        terminal.say(as_json.render_run_json(make_plan_view(seen), report, None, status=status))
    else:
        print_plan(replace(make_plan_view(seen), findings=report.findings), order.format, terminal)
    return status


def _agreed(plan: Plan, terminal: Terminal) -> bool:
    if not terminal.answers:
        raise UsageError(
            "cannot ask whether to apply this: standard input is not a terminal",
            remedy="add --yes to apply without asking, or --dry-run to plan only",
        )
    return terminal.confirm(f"Apply {phrases.describe_pending(plan)}?")


async def _surveyed(reconciler: Reconciler, order: RunOptions, terminal: Terminal) -> PlanResult:
    fleet = await reconciler.reader.read_fleet()
    if order.while_suspended:
        fleet = override_suspensions(fleet, f"{order.trigger} --while-suspended")
    return await recover_and_plan(reconciler, fleet, order, terminal)


async def recover_and_plan(
    reconciler: Reconciler,
    fleet: Fleet,
    order: RunOptions,
    terminal: Terminal,
    *,
    file: PlanFile | None = None,
) -> PlanResult:
    """Settle what a killed run left, then look."""
    async with reconciler.connected() as connected:
        settled = await connected.settle(fleet)
        if settled:
            number = format_count(len(settled), "step")
            terminal.remark(f"An earlier run did not finish. Settled {number} by reading the nodes:\n")
            for outcome in settled:
                terminal.remark(text.format_outcome(outcome, layout=terminal.layout) + "\n")
            terminal.remark("\n")
        return await plan_with_progress(connected.reader, fleet, order, terminal, file=file)


async def apply_with_progress(
    reconciler: Reconciler, order: RunOptions, terminal: Terminal, seen: PlanResult
) -> RunReport:
    """Apply a survey's plan, with what is under way shown on the terminal.

    Raises:
        GuardRefusal: a verdict stands against it; the history has it.
    """
    steps = len(list(seen.plan.steps()))
    with (
        show_progress(terminal, steps) as listener,
        catch_stop_signal(lambda: terminal.remark(_STOPPING)) as stop,
    ):
        return await reconciler.apply(seen, trigger=order.trigger, listener=listener, stop=stop)


async def apply_and_plan_again(
    reconciler: Reconciler, order: RunOptions, terminal: Terminal, seen: PlanResult
) -> tuple[RunReport, Plan]:
    """Apply, then survey the same desired state again."""
    async with reconciler.connected() as connected:
        report = await apply_with_progress(connected, order, terminal, seen)
        with show_progress(terminal) as listener:
            return report, await connected.observe_again(seen, only=order.only, listener=listener)


def print_run(
    seen: PlanResult,
    report: RunReport,
    remaining: Plan | None,
    form: PlanFormat,
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
    view = make_plan_view(seen)
    match form:
        case PlanFormat.TEXT:
            terminal.say("\n" + text.render_report_text(report, remaining, layout=terminal.layout))
        case PlanFormat.JSON:
            terminal.say(as_json.render_run_json(view, report, remaining, status=status))
        case PlanFormat.MARKDOWN:
            shown = markdown.render_plan_markdown(view, limit=markdown.LIMIT * 3 // 4)
            terminal.say(
                f"{shown}\n{markdown.render_report_markdown(report, remaining, limit=markdown.LIMIT // 4)}"
            )
