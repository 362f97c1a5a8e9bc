"""The dry run of the default command: load, observe, plan, guard, show; nothing here can write to a node."""

from __future__ import annotations

from dataclasses import replace

from reconciler.api.reader import Reader
from reconciler.cli.command_traces import trace_command
from reconciler.cli.options import PlanFormat
from reconciler.cli.plan_files import format_apply_command, write_plan_file
from reconciler.cli.planned_source import PlannedSource
from reconciler.cli.progress import show_progress
from reconciler.cli.render import text
from reconciler.cli.render.exit_report import ExitReport, report_plan_exit
from reconciler.cli.run_options import RunOptions
from reconciler.cli.state_access import open_history
from reconciler.cli.terminal import Terminal
from reconciler.descriptions.phrases import PlanView
from reconciler.desired.fleet import Fleet
from reconciler.host import aio
from reconciler.host.clock import utc_now
from reconciler.planning.inventory_report import list_inventory_uses
from reconciler.planning.plan_file import FileDigests, PlanFile
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.plan_summary import PlanSummary
from reconciler.planning.restored_package import RestoredSource
from reconciler.ports.tracer import NO_TRACER, Tracer
from reconciler.sources.output_check import WrittenFile
from reconciler.transports.bundle import open_transports

_STATES = 25_000
"""States that the model checker explores beside a dry run, over all clusters: about two seconds."""

_LEAST = 500
"""States of each cluster at least, however many clusters change."""


def run_dry_run(options: RunOptions, terminal: Terminal) -> int:
    """Plan and show the plan; gives the exit status. `out` gets a plan file, even of a refused plan.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used.
    """
    with trace_command(options, terminal) as tracer:
        return _plan_and_show(make_reader(options, tracer), options, terminal)


def _plan_and_show(reader: Reader, options: RunOptions, terminal: Terminal) -> int:
    notes = FileDigests()
    found = read_and_plan(reader, options, terminal, notes=notes)
    view = make_plan_view(found)
    if options.check:
        changed = sum(1 for context in found.guard_contexts if context.plan.steps)
        most = max(_LEAST, _STATES // max(1, changed))
        view = replace(view, checked=reader.check(found, faults=view.faults, most=most, weighs=True))
    ended = report_plan_exit(
        PlanSummary.of(found), detailed=options.detailed_exitcode, limit=options.unread_limit
    )
    print_plan(view, options.format, terminal, ended)
    if options.out is not None:
        write_plan_file(options.out, found, options, notes, reader.products)
        command = format_apply_command(options.out, options)
        terminal.remark(
            f"The plan is in {options.out}; on this host `{command}` applies exactly this plan.\n"
        )
    return ended.status


def read_and_plan(
    reader: Reader,
    options: RunOptions,
    terminal: Terminal,
    *,
    notes: FileDigests | None = None,
    file: PlanFile | None = None,
) -> PlanResult:
    """Read the source, the nodes and the history, and plan.

    Args:
        reader: of the options.
        options: what to plan.
        terminal: where progress is shown.
        notes: collects the digests of the files that are read.
        file: an earlier plan, instead of a new one.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used.
    """

    async def read() -> PlanResult:
        fleet = await (read_planned_fleet(file, options, reader) if file else reader.read_fleet(notes=notes))
        with open_history(options.state, terminal) as store:
            return await plan_with_progress(replace(reader, store=store), fleet, options, terminal, file=file)

    return aio.run_until_signal(read())


def make_reader(options: RunOptions, tracer: Tracer = NO_TRACER) -> Reader:
    """Make the reader of the source and nodes that the options name.

    Args:
        options: name them.
        tracer: of the command.

    Raises:
        ReconcilerError: there is no such source, or an option does not fit it.
    """
    source = options.locate(
        sha256=options.sha256,
        trust=options.trust,
        state=options.state.path if options.state else None,
        is_rollback=options.trigger == "rollback",
        writes=[WrittenFile("the plan file", options.out.absolute(), is_final=True)] if options.out else [],
    )
    restored = None
    if options.restored:
        source = restored = RestoredSource(source, options.locate_package(), options.only)
    return Reader(
        source,
        host=options.host,
        base=options.base,
        is_named=options.trigger == "rollback",
        restore=restored.restore if restored is not None else None,
        connect=tracer.trace_calls(open_transports),
        tracer=tracer,
    )


async def plan_with_progress(
    reader: Reader, fleet: Fleet, options: RunOptions, terminal: Terminal, *, file: PlanFile | None = None
) -> PlanResult:
    """Plan a fleet, with progress on the terminal.

    Raises:
        ReconcilerError: the files are wrong, or `--only` names nothing in them.
    """
    fleet = await reader.add_origin_notes(fleet)
    with show_progress(terminal) as listener:
        found = await reader.plan(fleet, only=options.only, file=file, listener=listener)
    return replace(found, all_or_nothing=options.all_or_nothing)


async def read_planned_fleet(file: PlanFile, options: RunOptions, reader: Reader) -> Fleet:
    """Read the fleet that a plan file was made from.

    Raises:
        WorldChanged: the source no longer has its revision, or has it with other files or another signer.
        SourceUnreachable: the source does not answer.
    """
    return await replace(reader, source=PlannedSource(options, file)).read_planned_fleet(file)


def make_plan_view(result: PlanResult) -> PlanView:
    """The part of a result that renderers show."""
    now = max((context.now for context in result.guard_contexts if context.now), default=utc_now())
    pins = tuple(context.pin for context in result.guard_contexts if context.pin is not None)
    return PlanView(
        result.plan,
        result.violations,
        result.overridden,
        result.fleet.warnings,
        all_or_nothing=result.all_or_nothing,
        pins=pins,
        inventory=list_inventory_uses(result.fleet, now),
    )


def print_plan(view: PlanView, form: PlanFormat, terminal: Terminal, ended: ExitReport) -> None:
    """Print a plan in the given format, with what `--tolerate-unread` did."""
    match form:
        case PlanFormat.TEXT:
            terminal.say(text.render_plan_text(view, layout=terminal.layout))
        case PlanFormat.JSON:
            from reconciler.cli.render import json as as_json  # noqa: PLC0415  (text needs no schema)

            terminal.say(as_json.render_plan_json(view, ended.plain()))
        case PlanFormat.MARKDOWN:
            from reconciler.cli.render import markdown  # noqa: PLC0415  (the same)

            terminal.say(markdown.render_plan_markdown(view))
    for sentence in ended.describe_tolerance():
        terminal.remark(f"{sentence}.\n")
