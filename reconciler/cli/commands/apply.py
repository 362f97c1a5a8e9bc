"""`reconcile apply`: apply exactly the plan in a plan file, except where nodes changed since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    STATUSES,
    By,
    CommonOptions,
    Keep,
    PlanFormat,
    ReportFormat,
    SignerOptions,
    State,
    Why,
    Within,
    add_command,
    format_columns,
    make_app,
    read_kept_runs,
)
from reconciler.cli.state_folder import require_state
from reconciler.errors import WorldChanged
from reconciler.host import aio

if TYPE_CHECKING:
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.terminal import Terminal
    from reconciler.planning.plan_file import PlanFile
    from reconciler.planning.plan_pass import PlanResult

app = make_app()

EPILOG = f"""\b
Exit status:
{format_columns({str(number): STATUSES[number] for number in (0, 1, 3, 4, 5)})}"""


@add_command(app, epilog=EPILOG)
def run_apply(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Plan file, written by `reconcile --dry-run --out`.")
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="This host's source of the desired state; the source in FILE is never used. Default: "
            "RECONCILE_SOURCE, else the source of the only fleet in the state folder.",
        ),
    ] = "",
    *,
    ref: Annotated[
        str,
        typer.Option(
            metavar="REF", help="Branch or tag that must contain the revision. Default: as for SOURCE."
        ),
    ] = "",
    path: Within = "",
    format: ReportFormat = PlanFormat.TEXT,
    state: State = None,
    keep: Keep = None,
    signer_options: SignerOptions,
    by: By = "",
    reason: Why = "",
    common: CommonOptions,
) -> int:
    """Apply exactly the plan in FILE, without asking for confirmation.

    Reads the plan's revision again, from this host's own source, and reads all nodes. Leaves out each step
    whose node has changed since, and the steps that depend on it, and shows the new plan for these nodes.
    The guards check the plan again.
    """
    from reconciler.cli.host_source import HostSource, find_host_source
    from reconciler.cli.plan_files import read_plan_file
    from reconciler.cli.run_options import RunOptions

    plan_file = read_plan_file(file)
    host = common.read_host(source)
    folder = require_state(host, state)
    origin = find_host_source(
        HostSource(source, ref, path), host.environment, folder.path, planned=plan_file.origin.source
    )
    # Read again: the source is known only now, and the configuration must not be in it.
    host = common.read_host(origin.source)
    options = RunOptions(
        source=origin.source,
        ref=origin.ref,
        path=origin.path,
        only=plan_file.origin.only,
        format=format,
        trigger="plan file",
        by=by,
        why=reason,
        host=host,
        state=folder,
        keep=read_kept_runs(host, keep),
        trust=signer_options.read_trust(host),
    )
    return _apply(plan_file, options, common.open_terminal(for_people=format is PlanFormat.TEXT))


def _apply(file: PlanFile, options: RunOptions, terminal: Terminal) -> int:
    from reconciler.api.reconciler import Reconciler
    from reconciler.cli.commands.converge import (
        apply_and_plan_again,
        get_apply_exit_status,
        print_run,
        recover_and_plan,
        report_nothing_to_apply,
    )
    from reconciler.cli.commands.plan import make_plan_view, make_reader, read_planned_fleet
    from reconciler.cli.render.plan_view import PlanView
    from reconciler.cli.render.text import render_plan_text
    from reconciler.store.factory import open_store

    folder, reader = options.required_state.path, make_reader(options)
    with open_store(folder, keep=options.keep) as store:
        reconciler = Reconciler(reader, store, actor=options.actor)

        async def read() -> PlanResult:
            fleet = await read_planned_fleet(file, options, reconciler.reader)
            return await recover_and_plan(reconciler, fleet, options, terminal, file=file)

        result = aio.run_until_signal(read())
        if result.refused or result.released().plan.empty:
            return report_nothing_to_apply(reconciler, options, terminal, result)
        if options.format is PlanFormat.TEXT:
            terminal.remark(render_plan_text(make_plan_view(result), layout=terminal.layout) + "\n")
        report, remaining = aio.run_until_signal(apply_and_plan_again(reconciler, options, terminal, result))
        status = report.exit_status or get_apply_exit_status(report, remaining)
        acted = report.exit_status != WorldChanged.exit_status
        print_run(result, report, remaining if acted else None, options.format, terminal, status=status)
        if result.anew is not None and not result.anew.empty:
            shown = render_plan_text(PlanView(result.anew), layout=terminal.layout)
            terminal.remark(f"\nNew plan for the nodes that changed; nothing of it was done:\n\n{shown}")
        return status
