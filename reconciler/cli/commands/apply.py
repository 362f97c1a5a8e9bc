"""`reconcile apply`: do exactly what stands in a plan file, as far as the world is still as it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    STATUSES,
    AllowedSigners,
    Format,
    HostConfigFile,
    Keep,
    NoColor,
    RequireSigned,
    RevokedSigners,
    State,
    columns,
    kept_runs,
    new_app,
    state_folder,
    trust_of,
)
from reconciler.errors import SourceError, SourceUnreachable, Untrusted, UsageError, WorldChanged
from reconciler.host import aio

if TYPE_CHECKING:
    from reconciler.cli.order import Order
    from reconciler.cli.terminal import Terminal
    from reconciler.core.outcome import Report
    from reconciler.core.plan import Revision
    from reconciler.desired.fleet import Fleet
    from reconciler.planning.plan_file import PlanFile
    from reconciler.planning.plan_pass import Survey
    from reconciler.ports.source import Source

app = new_app()

EPILOG = f"""\b
Exit status:
{columns({str(number): STATUSES[number] for number in (0, 1, 3, 4, 5)})}"""


@app.command(epilog=EPILOG)
def apply(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `reconcile --dry-run --out` wrote.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Where to read the revision, if not where the plan was made from."
        ),
    ] = "",
    *,
    format: Annotated[  # noqa: A002  (the option's name)
        Format, typer.Option("--format", help="How to write the plan and the report.")
    ] = Format.TEXT,
    state: State = None,
    keep: Keep = None,
    require_signed: RequireSigned = None,
    allowed_signers: AllowedSigners = None,
    revoked_signers: RevokedSigners = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Apply exactly the plan in FILE; nobody is asked, for the file is what was looked at.

    Reads the same revision again and all nodes. A step whose node has changed since is not done, nor what
    comes after it; what is planned now for such nodes is shown. Guards judge anew.
    """
    from reconciler.cli.host import read_host  # noqa: PLC0415  (--help stays quick)
    from reconciler.cli.order import Order  # noqa: PLC0415
    from reconciler.cli.plan_files import read  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.planning.plan_file import fit_program  # noqa: PLC0415

    found = read(file)
    fit_program(found)
    origin = found.origin
    if not (source or origin.whole):
        raise UsageError(
            f"the address {origin.source} had a part that is kept out of plan files",
            remedy=f"name all of it: `reconcile apply {file} SOURCE`",
        )
    host = read_host(context, host_config, source or origin.source)
    order = Order(
        source=source or origin.source,
        ref=origin.ref,
        path=origin.path,
        only=origin.only,
        format=format,
        host=host,
        state=state_folder(host, state),
        keep=kept_runs(host, keep),
        trigger="plan file",
        trust=trust_of(host, require_signed, allowed_signers, revoked_signers),
    )
    return _applied(found, order, Terminal.here(no_color=no_color, for_people=format is Format.TEXT))


def _applied(file: PlanFile, order: Order, terminal: Terminal) -> int:
    from reconciler.cli.commands.converge import (  # noqa: PLC0415
        applied_status,
        apply_and_look,
        nothing_to_apply,
        resumed,
        show_run,
    )
    from reconciler.cli.commands.plan import view_of  # noqa: PLC0415
    from reconciler.cli.render.text import render_plan  # noqa: PLC0415
    from reconciler.cli.render.view import View  # noqa: PLC0415
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.planning.plan_file import prepared, within  # noqa: PLC0415
    from reconciler.store.factory import open_store  # noqa: PLC0415

    with open_store(order.state, keep=order.keep) as store:

        async def surveyed() -> Survey:
            return await resumed(await fleet_at(file, order), order, terminal, store)

        ready = prepared(file, aio.run(surveyed()), DRIVERS)
        seen = ready.survey
        if seen.refused or seen.released().plan.empty:
            return nothing_to_apply(order, terminal, seen, store)
        if order.format is Format.TEXT:
            terminal.remark(render_plan(view_of(seen), layout=terminal.layout) + "\n")
        report, later = aio.run(apply_and_look(order, terminal, seen, store))
        remaining = within(later, seen.plan)
        status = report.exit_status or applied_status(report, remaining)
        shown_rest = remaining if _acted(report) else None
        show_run(seen, report, shown_rest, order.format, terminal, status=status)
        if not ready.anew.empty:
            shown = render_plan(View(ready.anew), layout=terminal.layout)
            terminal.remark(f"\nPlanned anew for what had changed; nothing of it was done:\n\n{shown}")
        return status


def _acted(report: Report) -> bool:
    return report.exit_status != WorldChanged.exit_status


async def _not_withdrawn(planned: Revision, order: Order, source: Source) -> None:
    """Nothing, where the branch that the plan was made from still has its commit.

    Raises:
        WorldChanged: the branch was rewritten without it, or is gone.
        SourceUnreachable: the source does not answer.
    """
    from reconciler.core.revision import base  # noqa: PLC0415
    from reconciler.planning.plan_file import OUTDATED  # noqa: PLC0415
    from reconciler.sources.locate import COMMIT, locate  # noqa: PLC0415

    if not (source.has_history and COMMIT.fullmatch(planned.id)):
        return
    try:
        branch = locate(
            order.source,
            ref=order.ref,
            path=order.path,
            cache=order.state / "sources",
            environment=order.host.environment,
        )
        tip = (await branch.snapshot()).revision.id
    except SourceUnreachable:
        raise
    except SourceError as error:
        raise WorldChanged(f"{error.message} [{OUTDATED}]", remedy=error.remedy) from error
    before = await source.ancestors(base(tip)) if base(tip) != planned.id else None
    if before is not None and planned.id not in before:
        raise WorldChanged(
            f"{order.source} no longer has revision {planned.short}, from which the plan was made: "
            f"{order.ref or 'its branch'} was rewritten [{OUTDATED}]",
            remedy="find out why it was withdrawn, then make a plan anew",
        )


async def fleet_at(file: PlanFile, order: Order) -> Fleet:
    """The fleet at the plan's revision.

    Raises:
        WorldChanged: the source does not give that revision any more, or with other files or signer.
        SourceUnreachable: it does not answer.
    """
    from dataclasses import replace  # noqa: PLC0415

    from reconciler.desired.fleet import load  # noqa: PLC0415
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.planning.plan_file import OUTDATED, Notes, fit_files, fit_revision  # noqa: PLC0415
    from reconciler.secrets.local_resolver import LocalVault  # noqa: PLC0415
    from reconciler.sources.locate import pinned  # noqa: PLC0415

    planned, cache = file.loaded().revision, order.state / "sources"
    try:
        source = pinned(
            order.source,
            planned.id,
            ref=order.ref,
            path=order.path,
            cache=cache,
            trust=order.trust,
            environment=order.host.environment,
        )
        snapshot = await source.snapshot()
    except (SourceUnreachable, Untrusted):
        raise
    except SourceError as error:
        raise WorldChanged(f"{error.message} [{OUTDATED}]", remedy=error.remedy) from error
    await _not_withdrawn(planned, order, source)
    notes = Notes()
    whole = replace(snapshot, revision=fit_revision(file, snapshot.revision))
    fleet = load(notes.over(whole), DRIVERS, LocalVault(order.host))
    fit_files(file, notes.digests)
    return fleet
