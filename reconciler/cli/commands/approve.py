"""`reconcile approve`: a person's consent to exactly one plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    By,
    CommonOptions,
    OutputFormat,
    ServerOptions,
    State,
    add_command,
    make_app,
)
from reconciler.errors import UsageError
from reconciler.text.one_line import SHORT_ID

if TYPE_CHECKING:
    from reconciler.ports.store import OpenOrders

app = make_app()


@add_command(app)
def run_approve(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="Plan id from the refusal, or its first characters.")
    ] = "",
    *,
    by: By = "",
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="What was checked, and why the plan may be applied.")
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="Only list waiting and approved plans.")] = False,
    format: Annotated[
        OutputFormat, typer.Option("--format", help="Output format of the list.")
    ] = OutputFormat.TEXT,
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """Approve a plan that waits for approval. The next run that makes the same plan applies it, once."""
    from reconciler.api.acts import ApproveAct
    from reconciler.cli.order_place import give_order, make_act

    if bool(id) is list_:
        raise UsageError("give either a plan id or --list", remedy="see `reconcile approve --help`")
    terminal = common.open_terminal()
    with common.open_orders(state, server) as place:
        if list_:
            used, found = place.description, place.read_orders()
            terminal.say(_format_list(found, format) + (used if format is OutputFormat.TEXT else ""))
            return 0
        give_order(make_act(ApproveAct, plan=id, reason=reason, by=by), place, terminal)
    return 0


def _format_list(found: OpenOrders, form: OutputFormat) -> str:
    from reconciler.cli.render.json import format_json
    from reconciler.core.timestamps import format_minute
    from reconciler.text.one_line import clean_line

    if form is OutputFormat.JSON:
        waiting = [
            {
                "cluster": one.cluster,
                "id": one.digest,
                "revision": one.short,
                "words": one.description,
                "since": one.since.isoformat(),
            }
            for one in found.requests
        ]
        approved_ones = [
            {"id": one.digest, "by": one.by, "reason": one.reason, "since": one.since.isoformat()}
            for one in found.approvals
        ]
        return format_json({"waiting": waiting, "approved": approved_ones})
    approved = {one.digest for one in found.approvals}
    lines = [
        f"{request.digest[:SHORT_ID]}  waits since {format_minute(request.since)} UTC  "
        f"{clean_line(request.cluster)}, revision {clean_line(request.short)}: "
        f"{clean_line(request.description)}"
        for request in found.requests
        if request.digest not in approved
    ]
    lines += [
        f"{one.digest[:SHORT_ID]}  approved {format_minute(one.since)} UTC by "
        f"{clean_line(one.by) or 'unknown'}" + (f": {clean_line(one.reason)}" if one.reason else "")
        for one in found.approvals
    ]
    return "".join(f"{line}\n" for line in lines) or "No plan waits for approval.\n"
