"""The reading half of the default command: load, observe, plan, guard, show; it reaches no way to write."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.api.reader import Reader
from reconciler.cli.options import Format
from reconciler.cli.order import Order
from reconciler.cli.past import past_of
from reconciler.cli.progress import watching
from reconciler.cli.render.view import View
from reconciler.cli.terminal import Terminal
from reconciler.core.plan import Plan
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Severity
from reconciler.host import aio
from reconciler.planning.plan_file import Notes
from reconciler.planning.plan_pass import Survey
from reconciler.sources.locate import locate
from reconciler.sources.state_inside import Written

if TYPE_CHECKING:
    from reconciler.planning.plan_file import PlanFile

PENDING, REFUSED = 2, 3

_STATES = 25_000
"""States that the model checker walks beside a dry run, of all clusters together: about two seconds."""

_LEAST = 500


def dry_run(order: Order, terminal: Terminal) -> int:
    """Plan and show it; gives the exit status.

    The store is not opened where there is none. With `out` the plan is written there too, refused or not.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used.
    """
    notes, reader = Notes(), reader_of(order)
    found = planned(reader, order, terminal, notes=notes)
    view = view_of(found)
    show_plan(_with_check(view, found, reader) if order.check else view, order.format, terminal)
    if order.out is not None:
        from reconciler.cli.plan_files import keep  # noqa: PLC0415  (only where it is asked for)

        keep(order.out, found, order, notes, reader.products)
        terminal.remark(f"The plan is in {order.out}; `reconcile apply {order.out}` applies exactly it.\n")
    return planned_status(found, detailed=order.detailed_exitcode)


def planned(
    reader: Reader,
    order: Order,
    terminal: Terminal,
    *,
    notes: Notes | None = None,
    file: PlanFile | None = None,
) -> Survey:
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

    async def seen() -> Survey:
        fleet = await (read_planned(file, order, reader) if file else reader.read_fleet(notes=notes))
        with past_of(order, terminal) as store:
            return await look(replace(reader, store=store), fleet, order, terminal, file=file)

    return aio.run(seen())


def planned_status(seen: Survey, *, detailed: bool) -> int:
    """What a plan alone ends with: 3 refused, 1 something could not be read, 2 pending where asked for, 0.

    What merely waits, for a window or for somebody's word, is no refusal of a plan that nobody applies. A
    cluster that vanished does not wait: somebody has to say what is to become of it.
    """
    if seen.refused or seen.vanished:
        return REFUSED
    if has_errors(seen.plan):
        return 1
    return PENDING if detailed and not seen.plan.empty else 0


def reader_of(order: Order) -> Reader:
    """What reads the source that an order names, and the nodes.

    Raises:
        ReconcilerError: the order names no source, or an option does not fit it.
    """
    source = locate(
        order.source,
        ref=order.ref,
        path=order.path,
        sha256=order.sha256,
        cache=order.copies,
        trust=order.trust,
        environment=order.host.environment,
        state=order.state.path if order.state else None,
        goes_back=order.trigger == "rollback",
        writes=[Written("the plan file", order.out.absolute(), is_final=True)] if order.out else [],
    )
    return Reader(source, host=order.host, base=order.base, is_named=order.trigger == "rollback")


async def look(
    reader: Reader, fleet: Fleet, order: Order, terminal: Terminal, *, file: PlanFile | None = None
) -> Survey:
    """A survey of a fleet, with what is under way shown on the terminal.

    Raises:
        ReconcilerError: the files are wrong, or the order names nothing in them.
    """
    with watching(terminal) as listener:
        return await reader.plan(fleet, only=order.only, file=file, listener=listener)


async def read_planned(file: PlanFile, order: Order, reader: Reader) -> Fleet:
    """The fleet that a plan file was made from.

    Raises:
        WorldChanged: the source does not give its revision any more, or with other files or signer.
        SourceUnreachable: it does not answer.
    """
    from reconciler.cli.planned_source import PlannedSource  # noqa: PLC0415  (only where there is a plan file)

    return await replace(reader, source=PlannedSource(order, file)).read_planned_fleet(file)


def view_of(seen: Survey) -> View:
    """What a rendering is made from."""
    return View(seen.plan, seen.violations, seen.overridden, seen.fleet.warnings)


def _with_check(view: View, seen: Survey, reader: Reader) -> View:
    changed = sum(1 for case in seen.cases if case.plan.steps)
    most = max(_LEAST, _STATES // max(1, changed))
    return replace(view, checked=reader.check(seen, faults=view.faults, most=most, weighs=True))


def has_errors(plan: Plan) -> bool:
    """Whether something of the fleet could not be planned."""
    return any(finding.severity is Severity.ERROR for finding in plan.findings())


def show_plan(view: View, form: Format, terminal: Terminal) -> None:
    """Write a plan in the form asked for."""
    match form:
        case Format.TEXT:
            from reconciler.cli.render import text  # noqa: PLC0415  (only the rendering that is used)

            terminal.say(text.render_plan(view, layout=terminal.layout))
        case Format.JSON:
            from reconciler.cli.render import json  # noqa: PLC0415

            terminal.say(json.render_plan(view))
        case Format.MARKDOWN:
            from reconciler.cli.render import markdown  # noqa: PLC0415

            terminal.say(markdown.render_plan(view))
