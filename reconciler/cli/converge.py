"""The flow behind the default command: survey, show, ask, apply, look again, report."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.cli.interruption import stopping
from reconciler.cli.options import Format
from reconciler.cli.progress import watching
from reconciler.cli.render import json as as_json
from reconciler.cli.render import markdown, text, words
from reconciler.cli.render.clean import plural
from reconciler.cli.render.view import View
from reconciler.cli.terminal import Terminal
from reconciler.core.outcome import Report
from reconciler.core.plan import Plan
from reconciler.core.problem import Severity
from reconciler.desired.fleet import Fleet, load
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.wire import HttpWire
from reconciler.engine.apply import apply
from reconciler.engine.resume import resume
from reconciler.engine.survey import Survey, survey
from reconciler.errors import GuardRefusal, UsageError
from reconciler.sources.locate import locate
from reconciler.store.records import Memory
from reconciler.store.sqlite import FILE, Store

PENDING, REFUSED, IN_PART = 2, 3, 5

_STOPPING = (
    "Stopping: what is under way is finished and read back first, the rest is left. Again to leave at once.\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the command line asks for."""

    source: str = "."
    ref: str = ""
    path: str = ""
    sha256: str = ""
    only: str = ""
    dry_run: bool = False
    yes: bool = False
    format: Format = Format.TEXT
    state: Path
    detailed_exitcode: bool = False


def converge(order: Order, terminal: Terminal) -> int:
    """Carry out an order; gives the exit status.

    Raises:
        ReconcilerError: the source, the files or the state cannot be used, or nobody can be asked.
    """
    return _dry_run(order, terminal) if order.dry_run else _run(order, terminal)


def planned_status(seen: Survey, *, detailed: bool) -> int:
    """What a plan alone ends with: 3 refused, 1 something could not be read, 2 pending where asked for, 0."""
    if seen.violations:
        return REFUSED
    if _has_errors(seen.plan):
        return 1
    return PENDING if detailed and not seen.plan.empty else 0


def applied_status(report: Report, remaining: Plan) -> int:
    """What an apply ends with: the report's own status, and 5 where a second look still finds something."""
    status = report.exit_status
    if status == 0 and (not remaining.empty or _has_errors(remaining)):
        return IN_PART
    return status


def _dry_run(order: Order, terminal: Terminal) -> int:
    """Only plan: the store is not opened where there is none, and nothing here reaches `apply`."""

    async def look() -> Survey:
        return await _survey(await _fleet(order), order, terminal, await _recalled(order.state))

    seen = asyncio.run(look())
    _show_plan(_view(seen), order.format, terminal)
    return planned_status(seen, detailed=order.detailed_exitcode)


def _run(order: Order, terminal: Terminal) -> int:
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(order.state))
        seen = asyncio.run(_resumed_survey(order, terminal, store))
        if seen.violations or seen.plan.empty:
            return _nothing_to_apply(order, terminal, seen, store)
        if order.format is Format.TEXT or not order.yes:
            terminal.remark(text.render_plan(_view(seen), layout=terminal.layout) + "\n")
        if not order.yes and not _agreed(seen.plan, terminal):
            terminal.remark("Nothing was done.\n")
            return 1
        report, remaining = asyncio.run(_apply_and_look(order, terminal, seen, store))
        _show_run(seen, report, remaining, order.format, terminal)
        return applied_status(report, remaining)


def _nothing_to_apply(order: Order, terminal: Terminal, seen: Survey, store: Store) -> int:
    """A refusal goes into the history; where all is as desired, messages left over are delivered."""
    report = Report("", seen.plan)
    with suppress(GuardRefusal):  # the plan below shows the verdicts
        report = asyncio.run(_apply(terminal, seen, store))
    if order.format is Format.JSON:
        terminal.say(as_json.render_run(_view(seen), report, None))
    else:
        _show_plan(replace(_view(seen), findings=report.findings), order.format, terminal)
    return planned_status(seen, detailed=False)


def _agreed(plan: Plan, terminal: Terminal) -> bool:
    if not terminal.answers:
        raise UsageError(
            "there is nobody to ask whether to apply this: standard input is no terminal",
            remedy="add --yes to apply without asking, or --dry-run to plan only",
        )
    return terminal.confirm(f"Apply {words.pending(plan)}?")


async def _recalled(folder: Path) -> Memory:
    if not (folder / FILE).exists():
        return Memory()
    with Store.open(folder) as store:
        return await store.recall()


async def _resumed_survey(order: Order, terminal: Terminal, store: Store) -> Survey:
    fleet = await _fleet(order)
    async with HttpWire() as wire:
        settled = await resume(store, DRIVERS, wire, feedback=fleet.feedback)
    if settled:
        number = plural(len(settled), "step")
        terminal.remark(f"An earlier run had not ended; {number} settled by reading the nodes:\n")
        for outcome in settled:
            terminal.remark(text.outcome_line(outcome, layout=terminal.layout) + "\n")
        terminal.remark("\n")
    return await _survey(fleet, order, terminal, await store.recall())


async def _fleet(order: Order) -> Fleet:
    cache = order.state / "sources"
    source = locate(order.source, ref=order.ref, path=order.path, sha256=order.sha256, cache=cache)
    return load(await source.snapshot(), DRIVERS)


async def _survey(fleet: Fleet, order: Order, terminal: Terminal, memory: Memory) -> Survey:
    async with HttpWire() as wire:
        with watching(terminal) as listener:
            return await survey(
                fleet, drivers=DRIVERS, wire=wire, recalled=memory, only=order.only, listener=listener
            )


async def _apply(terminal: Terminal, seen: Survey, store: Store) -> Report:
    steps = len(list(seen.plan.steps()))
    async with HttpWire() as wire:
        with watching(terminal, steps) as listener, stopping(lambda: terminal.remark(_STOPPING)) as stop:
            return await apply(seen, drivers=DRIVERS, wire=wire, journal=store, listener=listener, stop=stop)


async def _apply_and_look(
    order: Order, terminal: Terminal, seen: Survey, store: Store
) -> tuple[Report, Plan]:
    """Apply, then survey the same desired state again."""
    report = await _apply(terminal, seen, store)
    again = await _survey(seen.fleet, order, terminal, await store.recall())
    return report, again.plan


def _show_plan(view: View, form: Format, terminal: Terminal) -> None:
    match form:
        case Format.TEXT:
            terminal.say(text.render_plan(view, layout=terminal.layout))
        case Format.JSON:
            terminal.say(as_json.render_plan(view))
        case Format.MARKDOWN:
            terminal.say(markdown.render_plan(view))


def _show_run(seen: Survey, report: Report, remaining: Plan, form: Format, terminal: Terminal) -> None:
    view = _view(seen)
    match form:
        case Format.TEXT:
            terminal.say("\n" + text.render_report(report, remaining, layout=terminal.layout))
        case Format.JSON:
            terminal.say(as_json.render_run(view, report, remaining))
        case Format.MARKDOWN:
            shown = markdown.render_plan(view, limit=markdown.LIMIT * 3 // 4)
            terminal.say(f"{shown}\n{markdown.render_report(report, remaining, limit=markdown.LIMIT // 4)}")


def _view(seen: Survey) -> View:
    return View(seen.plan, seen.violations, seen.overridden, seen.fleet.warnings)


def _has_errors(plan: Plan) -> bool:
    return any(finding.severity is Severity.ERROR for finding in plan.findings())
