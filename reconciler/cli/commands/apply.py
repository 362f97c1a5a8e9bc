"""`reconcile apply`: apply exactly the plan in a plan file, except where nodes changed since."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.options import (
    STATUSES,
    AllOrNothing,
    By,
    CommonOptions,
    Full,
    Keep,
    PlanFormat,
    ReportFormat,
    SignerOptions,
    State,
    TolerateUnread,
    Why,
    Within,
    add_command,
    format_columns,
    make_app,
)
from reconciler.cli.state_folder import require_state

app = make_app()

_STATUSES = {**STATUSES, 1: STATUSES[1].removesuffix(", or a plan that was not confirmed")}
EPILOG = f"""\b
Exit status:
{format_columns({str(number): _STATUSES[number] for number in (0, 1, 3, 4, 5)})}"""


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
    full: Full = False,
    state: State = None,
    keep: Keep = None,
    all_or_nothing: AllOrNothing = False,
    tolerate_unread: TolerateUnread = "",
    signer_options: SignerOptions,
    by: By = "",
    reason: Why = "",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Without effect: this command never asks.")
    ] = False,
    common: CommonOptions,
) -> int:
    """Apply exactly the plan in FILE, without asking for confirmation.

    Reads the plan's revision again, from this host's own source, and reads all nodes. Leaves out each step
    whose node has changed since, and the steps that depend on it, and shows the new plan for these nodes.
    The guards check the plan again.
    """
    del yes
    from reconciler.cli.apply_run import plan_and_apply
    from reconciler.cli.host_source import HostSource, find_host_source
    from reconciler.cli.plan_files import read_plan_file
    from reconciler.cli.run_options import RunOptions
    from reconciler.planning.unread_limit import UnreadLimit

    plan_file = read_plan_file(file)
    host = common.read_host(source)
    folder = require_state(host, state)
    origin = find_host_source(
        HostSource(source, ref, path), host.environment, folder.store, planned=plan_file.origin.source
    )
    # Read again: the source is known only now, and the configuration must not be in it.
    host = common.read_host(origin.source)
    options = replace(
        RunOptions.for_writing(host, folder, signer_options, by=by, why=reason, keep=keep),
        source=origin.source,
        ref=origin.ref,
        path=origin.path,
        only=plan_file.origin.selection,
        all_or_nothing=all_or_nothing,
        format=format,
        yes=True,
        trigger="plan file",
        unread_limit=UnreadLimit.read(tolerate_unread),
    )
    terminal = common.open_terminal(for_people=format is PlanFormat.TEXT, full=full)
    return plan_and_apply(options, terminal, plan_file)
