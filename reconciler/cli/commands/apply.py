"""`reconcile apply`: do exactly what stands in a plan file, as far as the world is still as it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    STATUSES,
    AllowedSigners,
    By,
    Format,
    HostConfigFile,
    Keep,
    NoColor,
    RequireSigned,
    RevokedSigners,
    State,
    Why,
    Within,
    columns,
    new_app,
)
from reconciler.cli.state_folder import usable_state
from reconciler.errors import WorldChanged
from reconciler.host import aio

if TYPE_CHECKING:
    from reconciler.cli.order import Order
    from reconciler.cli.terminal import Terminal
    from reconciler.core.outcome import Report
    from reconciler.planning.plan_file import PlanFile
    from reconciler.planning.plan_pass import Survey

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
            metavar="SOURCE",
            help="This host's source of the desired state. Default: RECONCILE_SOURCE, else the source of the "
            "one fleet that the state remembers; never what stands in FILE.",
        ),
    ] = "",
    *,
    ref: Annotated[
        str,
        typer.Option(
            metavar="REF", help="Branch or tag that has to have the revision. Default: as for SOURCE."
        ),
    ] = "",
    path: Within = "",
    format: Annotated[  # noqa: A002  (the option's name)
        Format, typer.Option("--format", help="How to write the plan and the report.")
    ] = Format.TEXT,
    state: State = None,
    keep: Keep = None,
    require_signed: RequireSigned = None,
    allowed_signers: AllowedSigners = None,
    revoked_signers: RevokedSigners = None,
    by: By = "",
    reason: Why = "",
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Apply exactly the plan in FILE; nobody is asked, for the file is what was looked at.

    Reads the plan's revision again, from this host's own source, and all nodes. A step whose node has
    changed since is not done, nor what comes after it; what is planned now for such nodes is shown. Guards
    judge anew.
    """
    from reconciler.cli.host import environment_of, read_host  # noqa: PLC0415  (--help stays quick)
    from reconciler.cli.host_source import HostSource, source_of_host  # noqa: PLC0415
    from reconciler.cli.order import HostOptions, Order, build_order  # noqa: PLC0415
    from reconciler.cli.plan_files import read  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415

    found = read(file)
    folder = usable_state(read_host(context, host_config, source), state).path
    place = source_of_host(
        HostSource(source, ref, path), environment_of(context), folder, planned=found.origin.source
    )
    order = build_order(
        context,
        HostOptions(
            host_config=host_config,
            state=state,
            keep=keep,
            require_signed=require_signed,
            allowed_signers=allowed_signers,
            revoked_signers=revoked_signers,
        ),
        Order(
            source=place.source,
            ref=place.ref,
            path=place.path,
            only=found.origin.only,
            format=format,
            trigger="plan file",
            by=by,
            why=reason,
        ),
        writes=True,
    )
    return _applied(found, order, Terminal.here(no_color=no_color, for_people=format is Format.TEXT))


def _applied(file: PlanFile, order: Order, terminal: Terminal) -> int:
    from reconciler.api.reconciler import Reconciler  # noqa: PLC0415
    from reconciler.cli.commands.converge import (  # noqa: PLC0415
        applied_status,
        apply_and_look,
        nothing_to_apply,
        resumed,
        show_run,
    )
    from reconciler.cli.commands.plan import read_planned, reader_of, view_of  # noqa: PLC0415
    from reconciler.cli.render.text import render_plan  # noqa: PLC0415
    from reconciler.cli.render.view import View  # noqa: PLC0415
    from reconciler.store.factory import open_store  # noqa: PLC0415

    folder, reader = order.journal, reader_of(order)
    with open_store(folder, keep=order.keep) as store:
        reconciler = Reconciler(reader, store, actor=order.actor)

        async def surveyed() -> Survey:
            fleet = await read_planned(file, order, reconciler.reader)
            return await resumed(reconciler, fleet, order, terminal, file=file)

        seen = aio.run(surveyed())
        if seen.refused or seen.released().plan.empty:
            return nothing_to_apply(reconciler, order, terminal, seen)
        if order.format is Format.TEXT:
            terminal.remark(render_plan(view_of(seen), layout=terminal.layout) + "\n")
        report, remaining = aio.run(apply_and_look(reconciler, order, terminal, seen))
        status = report.exit_status or applied_status(report, remaining)
        shown_rest = remaining if _acted(report) else None
        show_run(seen, report, shown_rest, order.format, terminal, status=status)
        if seen.anew is not None and not seen.anew.empty:
            shown = render_plan(View(seen.anew), layout=terminal.layout)
            terminal.remark(f"\nPlanned anew for what had changed; nothing of it was done:\n\n{shown}")
        return status


def _acted(report: Report) -> bool:
    return report.exit_status != WorldChanged.exit_status
