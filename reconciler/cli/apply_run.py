"""Plan and apply, for `reconcile`, `reconcile apply` and `reconcile rollback`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from reconciler.api.reconciler import Reconciler, override_suspensions
from reconciler.cli.command_traces import trace_command
from reconciler.cli.dry_run import (
    make_plan_view,
    make_reader,
    plan_with_progress,
    print_plan,
    read_planned_fleet,
)
from reconciler.cli.options import PlanFormat
from reconciler.cli.progress import show_progress
from reconciler.cli.render import json as as_json
from reconciler.cli.render import markdown, text
from reconciler.cli.render.exit_report import ExitReport, report_idle_exit, report_run_exit
from reconciler.cli.run_options import RunOptions
from reconciler.cli.state_folder import find_watches
from reconciler.cli.terminal import Terminal, catch_stop_signal
from reconciler.core.outcome import RunReport, State
from reconciler.core.plan import Plan
from reconciler.descriptions import phrases
from reconciler.descriptions.phrases import PlanView
from reconciler.descriptions.values import format_count
from reconciler.errors import GuardRefusal, StateError, WorldChanged
from reconciler.exit_status import ExitStatus
from reconciler.host import aio
from reconciler.host.actor import get_current_actor
from reconciler.host.control_socket import RunningWatch, send_request
from reconciler.planning.plan_file import PlanFile, restrict_plan
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.plan_summary import PlanSummary
from reconciler.store.factory import open_store

_STOPPING = (
    "Stopping: running steps finish and are read back, no other step begins. Press Ctrl-C again to exit "
    "at once.\n"
)


def plan_and_apply(options: RunOptions, terminal: Terminal, file: PlanFile | None = None) -> int:
    """Plan, show, ask, apply, plan again, report; gives the exit status.

    Args:
        options: what to plan, and whether to ask.
        terminal: where to show and ask.
        file: an earlier plan, which is applied as far as it is valid, instead of a new one.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used, or nobody can confirm.
    """
    state = options.required_state.store
    with trace_command(options, terminal) as tracer:
        reader = make_reader(replace(options, keeps_inventory=True), tracer)
        with open_store(state, keep=options.keep) as store:
            reconciler = Reconciler(reader, store, actor=options.actor)
            return _plan_and_apply(reconciler, options, terminal, file)


def _plan_and_apply(
    reconciler: Reconciler, options: RunOptions, terminal: Terminal, file: PlanFile | None
) -> int:
    result = aio.run_until_signal(_recover_and_plan(reconciler, options, terminal, file))
    # A cluster on hold is shown, but the question counts only what would be done now.
    view, open_ones = make_plan_view(result), result.select_released()
    if result.is_refused or open_ones.plan.is_empty:
        return _report_nothing_to_apply(reconciler, options, terminal, result)
    if options.format is PlanFormat.TEXT or not options.yes:
        shown = text.render_plan_text(view, layout=terminal.layout)
        terminal.remark(shown + "\n", is_asked=not options.yes)
    watch = _find_serving_watch(open_ones, options)
    question = f"Apply {phrases.describe_pending(open_ones.plan)}?"
    remedy = "add --yes to apply without asking, or --dry-run to plan only"
    if not options.yes and not terminal.get_consent(question, verb="apply", remedy=remedy):
        terminal.remark("Nothing was done.\n")
        return ExitStatus.ERROR
    report, remaining = aio.run_until_signal(_apply_and_plan_again(reconciler, options, terminal, result))
    if watch is not None:
        _hand_over(watch, report, terminal)
    ended = report_run_exit(
        report,
        PlanSummary.of(remaining),
        is_removed=file is None and bool(result.removed_clusters),
        is_refused=bool(result.refused_clusters),
        limit=options.unread_limit,
    )
    # If nothing of a plan file was sent, its new plan, below, shows what the nodes need now.
    is_untouched = file is not None and report.exit_status == WorldChanged.exit_status
    rest = None if is_untouched else remaining.plan
    _print_run(view, report, rest, options.format, terminal, ended=ended)
    if result.new_plan is not None:
        # From the reading after the run: the nodes that it has just changed count as desired.
        new_plan = restrict_plan(remaining.plan, result.new_plan)
        if not new_plan.is_empty:
            shown = text.render_plan_text(PlanView(new_plan), layout=terminal.layout)
            terminal.remark(f"\nNew plan for the nodes that changed; nothing of it was done:\n\n{shown}")
    return ended.status


def _find_serving_watch(result: PlanResult, options: RunOptions) -> RunningWatch | None:
    """The watch that serves the plan's offers; None if the plan makes none.

    Raises:
        StateError: no watch serves them: the nodes would never see them.
    """
    clusters = sorted({step.cluster for step in result.plan.steps() if step.arguments.is_offer})
    if not clusters:
        return None
    folder = options.required_state
    watch = next((one for one in find_watches(folder) if not one.dry_run), None)
    if watch is None:
        raise StateError(
            f"the nodes of {', '.join(clusters)} poll, and no watch with the state {folder.place} serves "
            "them; nothing was done",
            remedy="start `reconcile watch` on this host, or restrict the run to other clusters with --only",
        )
    return watch


def _hand_over(watch: RunningWatch, report: RunReport, terminal: Terminal) -> None:
    """Let the watch go on with what this run has offered, and say so."""
    offered = sum(outcome.state is State.OFFERED for outcome in report.outcomes)
    if not offered:
        return
    terminal.remark(
        f"{format_count(offered, 'node')} may take what this run offers; the watch ({watch}) serves it, and "
        "goes on with the rollout. `reconcile status` shows how far it is.\n"
    )
    # Only sooner: the watch finds the offers at its next pass too.
    with suppress(OSError, StateError):
        send_request(watch.path, {"do": "look", "by": get_current_actor().encode()})


def _report_nothing_to_apply(
    reconciler: Reconciler, options: RunOptions, terminal: Terminal, result: PlanResult
) -> int:
    """Show a plan that is refused or empty; gives the exit status."""
    report = RunReport("", result.plan)
    # Applied all the same: this records a refusal and its approval request in the history, and delivers
    # messages that an earlier run left in the outbox.
    with suppress(GuardRefusal):  # print_plan shows the violations
        report = aio.run_until_signal(_apply_with_progress(reconciler, options, terminal, result))
    ended = report_idle_exit(report, PlanSummary.of(result), limit=options.unread_limit)
    if options.format is PlanFormat.JSON:
        terminal.say(as_json.render_run_json(make_plan_view(result), report, None, ended.plain()))
    else:
        print_plan(replace(make_plan_view(result), findings=report.findings), options.format, terminal, ended)
    return ended.status


async def _recover_and_plan(
    reconciler: Reconciler, options: RunOptions, terminal: Terminal, file: PlanFile | None
) -> PlanResult:
    """Settle the steps that a killed run left open, then plan."""
    if file is not None:
        fleet = await read_planned_fleet(file, options, reconciler.reader)
    else:
        fleet = await reconciler.reader.read_fleet()
    if options.trigger == "rollback":
        fleet = override_suspensions(fleet)
    async with reconciler.connected() as connected:
        settled = await connected.settle(fleet)
        if settled:
            number = format_count(len(settled), "step")
            terminal.remark(f"An earlier run did not finish. Settled {number} by reading the nodes:\n")
            for outcome in settled:
                terminal.remark(text.format_outcome(outcome, layout=terminal.layout) + "\n")
            terminal.remark("\n")
        return await plan_with_progress(connected.reader, fleet, options, terminal, file=file)


async def _apply_with_progress(
    reconciler: Reconciler, options: RunOptions, terminal: Terminal, result: PlanResult
) -> RunReport:
    """Apply a plan, with progress on the terminal.

    Raises:
        GuardRefusal: a guard refuses it; the history has the refusal.
    """
    steps = len(list(result.plan.steps()))
    with (
        show_progress(terminal, steps) as listener,
        catch_stop_signal(lambda: terminal.remark(_STOPPING)) as stop,
    ):
        return await reconciler.apply(result, trigger=options.trigger, listener=listener, stop=stop)


async def _apply_and_plan_again(
    reconciler: Reconciler, options: RunOptions, terminal: Terminal, result: PlanResult
) -> tuple[RunReport, PlanResult]:
    """Apply, then plan the same desired state again."""
    async with reconciler.connected() as connected:
        report = await _apply_with_progress(connected, options, terminal, result)
        with show_progress(terminal) as listener:
            return report, await connected.observe_again(result, only=options.only, listener=listener)


def _print_run(
    view: PlanView,
    report: RunReport,
    remaining: Plan | None,
    form: PlanFormat,
    terminal: Terminal,
    *,
    ended: ExitReport,
) -> None:
    """Print the report of a run; `remaining` is the plan made after it, None if nothing was done."""
    match form:
        case PlanFormat.TEXT:
            shown = text.render_report_text(
                report, remaining, kept_back=view.violations, layout=terminal.layout
            )
            terminal.say(f"\n{shown}")
        case PlanFormat.JSON:
            terminal.say(as_json.render_run_json(view, report, remaining, ended.plain()))
        case PlanFormat.MARKDOWN:
            # One comment on a forge: the plan gets three quarters of its length, the report the rest.
            plan = markdown.render_plan_markdown(view, limit=markdown.LIMIT * 3 // 4)
            result = markdown.render_report_markdown(report, remaining, limit=markdown.LIMIT // 4)
            terminal.say(f"{plan}\n{result}")
    for sentence in ended.describe_tolerance():
        terminal.remark(f"{sentence}.\n")
