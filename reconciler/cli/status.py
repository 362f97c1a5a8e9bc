"""`reconcile status`: node by node, what it shows, which revision it runs and since when; it only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    AllowedSigners,
    NoColor,
    RequireSigned,
    RevokedSigners,
    Shape,
    State,
    new_app,
    state_folder,
    trust_of,
)

if TYPE_CHECKING:
    from reconciler.cli.look import Order
    from reconciler.cli.terminal import Terminal
    from reconciler.engine.status import FleetStatus

app = new_app()

PENDING = 2


@app.command()
def status(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Folder, git URL or path, or tarball as a path or URL.")
    ] = ".",
    *,
    ref: Annotated[str, typer.Option(metavar="REF", help="Branch, tag or commit of a git source.")] = "",
    path: Annotated[str, typer.Option(metavar="FOLDER", help="Folder within the source.")] = "",
    sha256: Annotated[str, typer.Option(metavar="HEX", help="What a tarball's SHA-256 has to be.")] = "",
    only: Annotated[str, typer.Option(metavar="NAME", help="Only this cluster, or only this node.")] = "",
    format: Annotated[Shape, typer.Option("--format", help="How to write it.")] = Shape.TEXT,  # noqa: A002
    state: State = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 where a node is not as desired.")
    ] = False,
    require_signed: RequireSigned = None,
    allowed_signers: AllowedSigners = None,
    revoked_signers: RevokedSigners = None,
    no_color: NoColor = False,
) -> int:
    """Show how each node stands against SOURCE, by its own answer.

    Beside it: the revision that each node was last seen to run and since when, what holds up changes, and
    the last run.
    """
    import asyncio  # noqa: PLC0415  (--help stays quick)

    from reconciler.cli.look import Order  # noqa: PLC0415
    from reconciler.cli.render.status import render_status, status_plain  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415

    terminal = Terminal.here(no_color=no_color, for_people=format is Shape.TEXT)
    order = Order(
        source=source,
        ref=ref,
        path=path,
        sha256=sha256,
        only=only,
        state=state_folder(state),
        trust=trust_of(require_signed, allowed_signers, revoked_signers),
    )
    found = asyncio.run(_status(order, terminal))
    terminal.say(
        status_plain(found) if format is Shape.JSON else render_status(found, layout=terminal.layout)
    )
    return PENDING if detailed_exitcode and not found.converged else 0


async def _status(order: Order, terminal: Terminal) -> FleetStatus:
    from reconciler.cli.look import fleet_of, looked  # noqa: PLC0415
    from reconciler.engine.status import status as standing  # noqa: PLC0415
    from reconciler.store.orders import Orders  # noqa: PLC0415
    from reconciler.store.records import Memory  # noqa: PLC0415
    from reconciler.store.sqlite import FILE, Store  # noqa: PLC0415

    if not (order.state / FILE).exists():
        seen = await looked(await fleet_of(order), order, terminal, Memory())
        return standing(seen, {}, Orders(), None)
    with Store.open(order.state) as store:
        seen = await looked(await fleet_of(order), order, terminal, await store.recall())
        newest = await store.runs(1)
        return standing(seen, await store.applied(), await store.orders(), next(iter(newest), None))
