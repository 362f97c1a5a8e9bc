"""`reconcile approve`: somebody's word that a plan may be applied, bound to exactly that plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import By, HostConfigFile, NoColor, Shape, State, new_app
from reconciler.errors import UsageError
from reconciler.text.one_line import SHORT_ID

if TYPE_CHECKING:
    from reconciler.ports.store import Orders

app = new_app()


@app.command()
def approve(
    context: typer.Context,
    id: Annotated[  # noqa: A002  (the argument's name)
        str, typer.Argument(metavar="ID", help="The plan's id, as the refusal names it, or its beginning.")
    ] = "",
    *,
    by: By = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What was looked at, and why it may be.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="Only show what waits and what is approved.")] = False,
    format: Annotated[Shape, typer.Option("--format", help="How to write the list.")] = Shape.TEXT,  # noqa: A002
    state: State = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Approve a plan that waits for it; the next run that makes the same plan applies it, once."""
    from reconciler.cli import orders  # noqa: PLC0415
    from reconciler.cli.host import read_host  # noqa: PLC0415
    from reconciler.cli.order_desk import order_desk  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415
    from reconciler.host.actor import this_actor  # noqa: PLC0415
    from reconciler.text.one_line import clean  # noqa: PLC0415

    if bool(id) is list_:
        raise UsageError("name one plan to approve, or ask for --list", remedy="see reconcile approve --help")
    terminal = Terminal.here(no_color=no_color)
    with order_desk(read_host(context, host_config), state) as desk:
        used, found = str(desk), orders.standing(desk.read())
        if list_:
            terminal.say(_listed(found, format) + (used if format is Shape.TEXT else ""))
            return 0
        digest = orders.chosen(id, found)
        aio.run(desk.orders().approve(digest, this_actor(claim=by), reason.strip()))
    for request in found.requests:
        if request.digest == digest:
            terminal.say(clean(f"{request.cluster}, revision {request.short}: {request.words}") + "\n")
    terminal.say(f"Plan {digest[:SHORT_ID]} is approved for one run.\n{used}")
    return 0


def _listed(found: Orders, shape: Shape) -> str:
    from reconciler.cli import orders  # noqa: PLC0415
    from reconciler.cli.render.json import written  # noqa: PLC0415
    from reconciler.core.timestamps import minute  # noqa: PLC0415
    from reconciler.text.one_line import clean  # noqa: PLC0415

    if shape is Shape.JSON:
        waiting = [orders.request_plain(one) for one in found.requests]
        return written(
            {"waiting": waiting, "approved": [orders.approval_plain(one) for one in found.approvals]}
        )
    approved_ones = {one.digest for one in found.approvals}
    lines = [
        f"{request.digest[:SHORT_ID]}  waits since {minute(request.since)} UTC  "
        f"{clean(request.cluster)}, revision {clean(request.short)}: {clean(request.words)}"
        for request in found.requests
        if request.digest not in approved_ones
    ]
    lines += [
        f"{one.digest[:SHORT_ID]}  approved {minute(one.since)} UTC by {clean(one.by) or 'somebody'}"
        + (f": {clean(one.reason)}" if one.reason else "")
        for one in found.approvals
    ]
    return "".join(f"{line}\n" for line in lines) or "No plan waits for an approval.\n"
