"""The reading half of the default command: load, observe, plan, guard, show; it reaches no way to write."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from reconciler.cli.options import Format
from reconciler.cli.order import Order
from reconciler.cli.progress import watching
from reconciler.cli.render.view import View
from reconciler.cli.terminal import Terminal
from reconciler.core.history import Memory
from reconciler.core.plan import Plan
from reconciler.desired.fleet import Fleet, load
from reconciler.diagnostic import Severity
from reconciler.drivers.registry import DRIVERS, drivers_for
from reconciler.host import aio
from reconciler.planning.ancestry import traced
from reconciler.planning.plan_file import Notes
from reconciler.planning.plan_pass import Survey, survey
from reconciler.planning.prior import read_prior
from reconciler.ports.source import Source
from reconciler.secrets.local_resolver import LocalVault
from reconciler.sources.locate import locate
from reconciler.store.factory import open_reader
from reconciler.transports.bundle import open_transports

T = TypeVar("T")

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
    notes = Notes()
    found = planned(order, terminal, notes)
    show_plan(_with_check(view_of(found), found) if order.check else view_of(found), order.format, terminal)
    if order.out is not None:
        from reconciler.cli.plan_files import keep  # noqa: PLC0415  (only where it is asked for)

        keep(order.out, found, order, notes)
        terminal.remark(f"The plan is in {order.out}; `reconcile apply {order.out}` applies exactly it.\n")
    return planned_status(found, detailed=order.detailed_exitcode)


def planned(
    order: Order,
    terminal: Terminal,
    notes: Notes | None = None,
    fleet: Coroutine[Any, Any, Fleet] | None = None,
) -> Survey:
    """Read everything and plan, with no way to write; the store is not opened where there is none.

    Args:
        order: what to plan.
        terminal: where progress is shown.
        notes: is told which files were read.
        fleet: gives the desired state, where that is not simply what the order's source describes now.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used.
    """

    async def seen() -> Survey:
        desired = await (fleet or fleet_of(order, notes))
        return await looked(desired, order, terminal, await _recalled(order.state))

    return aio.run(seen())


def planned_status(seen: Survey, *, detailed: bool) -> int:
    """What a plan alone ends with: 3 refused, 1 something could not be read, 2 pending where asked for, 0.

    What merely waits, for a window or for somebody's word, is no refusal of a plan that nobody applies.
    """
    if seen.refused:
        return REFUSED
    if has_errors(seen.plan):
        return 1
    return PENDING if detailed and not seen.plan.empty else 0


async def fleet_of(order: Order, notes: Notes | None = None) -> Fleet:
    """The fleet that the order's source describes now; `notes` is told which files were read.

    Raises:
        ReconcilerError: the source or its files cannot be used.
    """
    snapshot = await source_of(order).snapshot()
    return load(notes.over(snapshot) if notes else snapshot, DRIVERS, LocalVault(order.host))


def source_of(order: Order) -> Source:
    """The source that an order names.

    Raises:
        ReconcilerError: it names none, or an option does not fit it.
    """
    cache = order.state / "sources"
    return locate(
        order.source,
        ref=order.ref,
        path=order.path,
        sha256=order.sha256,
        cache=cache,
        trust=order.trust,
        environment=order.host.environment,
    )


async def looked(
    fleet: Fleet, order: Order, terminal: Terminal, memory: Memory, *, applying: bool = False
) -> Survey:
    """A survey of a fleet, with what is under way shown on the terminal.

    Args:
        fleet: the desired state.
        order: what the command line asks for.
        terminal: where progress is shown.
        memory: what earlier runs left.
        applying: whether this host is to apply the plan.

    Raises:
        ReconcilerError: the files are wrong, or the order names nothing in them.
    """
    named = order.trigger == "rollback"
    source, drivers = source_of(order), drivers_for(order.host.config, DRIVERS)
    memory = await traced(memory, fleet, source, drivers=drivers, named=named)
    memory = await read_prior(memory, fleet, source, drivers=drivers, base=order.base)
    async with open_transports(order.host) as transports:
        with watching(terminal) as listener:
            return await survey(
                fleet,
                drivers=drivers,
                transports=transports,
                recalled=memory,
                only=order.only,
                listener=listener,
                commands=order.host.commands(applying=applying),
            )


def view_of(seen: Survey) -> View:
    """What a rendering is made from."""
    return View(seen.plan, seen.violations, seen.overridden, seen.fleet.warnings)


def _with_check(view: View, seen: Survey) -> View:
    from reconciler.planning.model_check import check  # noqa: PLC0415  (only where it is asked for)

    changed = sum(1 for case in seen.cases if case.plan.steps)
    most = max(_LEAST, _STATES // max(1, changed))
    return replace(view, checked=check(seen, DRIVERS, faults=view.faults, most=most))


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


async def _recalled(folder: Path) -> Memory:
    with open_reader(folder) as store:
        return await store.recall()
