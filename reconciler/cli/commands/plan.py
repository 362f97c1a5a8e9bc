"""The reading half of the default command: load, observe, plan, guard, show; it reaches no way to write."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.api.reader import Reader
from reconciler.cli.history_reader import open_history
from reconciler.cli.options import PlanFormat
from reconciler.cli.progress import show_progress
from reconciler.cli.render.plan_view import PlanView
from reconciler.cli.run_options import RunOptions
from reconciler.cli.terminal import Terminal
from reconciler.core.plan import Plan
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Severity
from reconciler.host import aio
from reconciler.planning.plan_file import FileDigests
from reconciler.planning.plan_pass import PlanResult
from reconciler.sources.locate import locate_source
from reconciler.sources.output_check import WrittenFile

if TYPE_CHECKING:
    from reconciler.planning.plan_file import PlanFile

PENDING, REFUSED = 2, 3

_STATES = 25_000
"""States that the model checker walks beside a dry run, of all clusters together: about two seconds."""

_LEAST = 500


def run_dry_run(order: RunOptions, terminal: Terminal) -> int:
    """Plan and show it; gives the exit status.

    The store is not opened where there is none. With `out` the plan is written there too, refused or not.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used.
    """
    notes, reader = FileDigests(), make_reader(order)
    found = read_and_plan(reader, order, terminal, notes=notes)
    view = make_plan_view(found)
    print_plan(_with_check(view, found, reader) if order.check else view, order.format, terminal)
    if order.out is not None:
        from reconciler.cli.plan_files import write_plan_file  # noqa: PLC0415  (only where it is asked for)

        write_plan_file(order.out, found, order, notes, reader.products)
        terminal.remark(
            f"The plan is in {order.out}; `reconcile apply {order.out}` applies exactly this plan.\n"
        )
    return get_plan_exit_status(found, detailed=order.detailed_exitcode)


def read_and_plan(
    reader: Reader,
    order: RunOptions,
    terminal: Terminal,
    *,
    notes: FileDigests | None = None,
    file: PlanFile | None = None,
) -> PlanResult:
    """Read everything and plan, with no way to write; the store is not opened where there is none.

    Args:
        reader: of the order.
        order: what to plan.
        terminal: where progress is shown.
        notes: is told which files were read.
        file: a plan that was made earlier, in the place of a new one.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used.
    """

    async def seen() -> PlanResult:
        fleet = await (read_planned_fleet(file, order, reader) if file else reader.read_fleet(notes=notes))
        with open_history(order, terminal) as store:
            return await plan_with_progress(replace(reader, store=store), fleet, order, terminal, file=file)

    return aio.run_until_signal(seen())


def get_plan_exit_status(seen: PlanResult, *, detailed: bool) -> int:
    """What a plan alone ends with: 3 refused, 1 something could not be read, 2 pending where asked for, 0.

    What merely waits, for a window or for somebody's word, is no refusal of a plan that nobody applies. A
    cluster that vanished does not wait: somebody has to say what is to become of it.
    """
    if seen.refused or seen.vanished:
        return REFUSED
    if has_errors(seen.plan):
        return 1
    return PENDING if detailed and not seen.plan.empty else 0


def make_reader(order: RunOptions) -> Reader:
    """What reads the source that an order names, and the nodes.

    Raises:
        ReconcilerError: the order names no source, or an option does not fit it.
    """
    source = locate_source(
        order.source,
        ref=order.ref,
        path=order.path,
        sha256=order.sha256,
        cache=order.copies,
        trust=order.trust,
        environment=order.host.environment,
        state=order.state.path if order.state else None,
        is_rollback=order.trigger == "rollback",
        writes=[WrittenFile("the plan file", order.out.absolute(), is_final=True)] if order.out else [],
    )
    return Reader(source, host=order.host, base=order.base, is_named=order.trigger == "rollback")


async def plan_with_progress(
    reader: Reader, fleet: Fleet, order: RunOptions, terminal: Terminal, *, file: PlanFile | None = None
) -> PlanResult:
    """A survey of a fleet, with what is under way shown on the terminal.

    Raises:
        ReconcilerError: the files are wrong, or the order names nothing in them.
    """
    with show_progress(terminal) as listener:
        return await reader.plan(fleet, only=order.only, file=file, listener=listener)


async def read_planned_fleet(file: PlanFile, order: RunOptions, reader: Reader) -> Fleet:
    """The fleet that a plan file was made from.

    Raises:
        WorldChanged: the source does not give its revision any more, or with other files or signer.
        SourceUnreachable: it does not answer.
    """
    from reconciler.cli.planned_source import PlannedSource  # noqa: PLC0415  (only where there is a plan file)

    return await replace(reader, source=PlannedSource(order, file)).read_planned_fleet(file)


def make_plan_view(seen: PlanResult) -> PlanView:
    """What a rendering is made from."""
    return PlanView(seen.plan, seen.violations, seen.overridden, seen.fleet.warnings)


def _with_check(view: PlanView, seen: PlanResult, reader: Reader) -> PlanView:
    changed = sum(1 for case in seen.cases if case.plan.steps)
    most = max(_LEAST, _STATES // max(1, changed))
    return replace(view, checked=reader.check(seen, faults=view.faults, most=most, weighs=True))


def has_errors(plan: Plan) -> bool:
    """Whether something of the fleet could not be planned."""
    return any(finding.severity is Severity.ERROR for finding in plan.findings())


def print_plan(view: PlanView, form: PlanFormat, terminal: Terminal) -> None:
    """Write a plan in the form asked for."""
    match form:
        case PlanFormat.TEXT:
            from reconciler.cli.render import text  # noqa: PLC0415  (only the rendering that is used)

            terminal.say(text.render_plan_text(view, layout=terminal.layout))
        case PlanFormat.JSON:
            from reconciler.cli.render import json  # noqa: PLC0415

            terminal.say(json.render_plan_json(view))
        case PlanFormat.MARKDOWN:
            from reconciler.cli.render import markdown  # noqa: PLC0415

            terminal.say(markdown.render_plan_markdown(view))
