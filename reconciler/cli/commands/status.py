"""`reconcile status`: what each node shows, the content of which revision, and since when; it only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    AllowedSigners,
    Format,
    HostConfigFile,
    NoColor,
    NoState,
    Only,
    Ref,
    RequireSigned,
    RevokedSigners,
    Sha256,
    Shape,
    Source,
    State,
    Within,
    new_app,
)

if TYPE_CHECKING:
    from reconciler.cli.order import Order
    from reconciler.cli.terminal import Terminal
    from reconciler.planning.status import FleetStatus

app = new_app()

PENDING = 2


@app.command()
def status(
    context: typer.Context,
    source: Source = ".",
    *,
    ref: Ref = "",
    path: Within = "",
    sha256: Sha256 = "",
    only: Only = "",
    format: Annotated[Shape, typer.Option("--format", help="How to write it.")] = Shape.TEXT,  # noqa: A002
    state: State = None,
    no_state: NoState = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 where a node is not as desired.")
    ] = False,
    require_signed: RequireSigned = None,
    allowed_signers: AllowedSigners = None,
    revoked_signers: RevokedSigners = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Show how each node stands against SOURCE, by its own answer.

    Beside it: the revision that each node was last seen to run and since when, what holds up changes, and
    the last run.
    """
    from reconciler.cli.order import HostOptions, Order, build_order  # noqa: PLC0415
    from reconciler.cli.render.status import render_status, status_plain  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415

    terminal = Terminal.here(no_color=no_color, for_people=format is Shape.TEXT)
    order = build_order(
        context,
        HostOptions(
            host_config=host_config,
            state=state,
            no_state=no_state,
            require_signed=require_signed,
            allowed_signers=allowed_signers,
            revoked_signers=revoked_signers,
        ),
        Order(source=source, ref=ref, path=path, sha256=sha256, only=only, format=Format(format.value)),
        writes=False,
    )
    found = aio.run(_status(order, terminal))
    terminal.say(
        status_plain(found) if format is Shape.JSON else render_status(found, layout=terminal.layout)
    )
    return PENDING if detailed_exitcode and not found.converged else 0


async def _status(order: Order, terminal: Terminal) -> FleetStatus:
    from dataclasses import replace  # noqa: PLC0415

    from reconciler.cli.commands.plan import reader_of  # noqa: PLC0415
    from reconciler.cli.past import past_of  # noqa: PLC0415
    from reconciler.cli.progress import watching  # noqa: PLC0415

    is_text = order.format is Format.TEXT
    with past_of(order, terminal, names_it=is_text) as store, watching(terminal) as listener:
        reader = replace(reader_of(order), store=store)
        return await reader.status(only=order.only, listener=listener)
