"""`reconcile check`: explore every possible execution of a plan and show the shortest that fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    AllowedSigners,
    BaseRef,
    HostConfigFile,
    NoColor,
    NoState,
    Ref,
    RequireSigned,
    RevokedSigners,
    Sha256,
    Shape,
    State,
    Within,
    base_of,
    new_app,
    trust_of,
)
from reconciler.cli.state_folder import state_to_read
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.order import Order
    from reconciler.planning.plan_file import PlanFile

app = new_app()

_BROKEN = 3


@app.command()
def check(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Folder, git URL or path, or tarball as a path or URL; or what `--dry-run --out` wrote.",
        ),
    ] = ".",
    *,
    ref: Ref = "",
    path: Within = "",
    sha256: Sha256 = "",
    base: BaseRef = "",
    only: Annotated[str, typer.Option(metavar="NAME", help="Only this cluster.")] = "",
    faults: Annotated[
        int, typer.Option("--faults", min=0, max=3, help="How many failures, cuts and lost calls at most.")
    ] = 1,
    most: Annotated[
        int, typer.Option("--states", min=1, help="At how many states of one cluster to stop.")
    ] = 5_000_000,
    format: Annotated[  # noqa: A002  (the option's name)
        Shape, typer.Option("--format", help="How to write the result.")
    ] = Shape.TEXT,
    state: State = None,
    no_state: NoState = False,
    require_signed: RequireSigned = None,
    allowed_signers: AllowedSigners = None,
    revoked_signers: RevokedSigners = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Walk every course that the plan for SOURCE can take, with faults and a kill of the reconciler.

    Reads the nodes and plans as a dry run does; no node is changed. Where SOURCE is a plan file, exactly
    its plan is explored, less what has changed since. Ends with 3 where an invariant breaks, with the
    shortest story that leads there, or where a guard refuses the plan.
    """
    from reconciler.cli.commands import plan  # noqa: PLC0415  (--help stays quick)
    from reconciler.cli.host import read_host  # noqa: PLC0415
    from reconciler.cli.order import Order  # noqa: PLC0415
    from reconciler.cli.plan_files import is_plan  # noqa: PLC0415
    from reconciler.cli.render.check import render_json, render_text  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415

    terminal = Terminal.here(no_color=no_color, for_people=format is Shape.TEXT)
    host = read_host(context, host_config, source)
    order = Order(
        source=source,
        ref=ref,
        path=path,
        sha256=sha256,
        only=only,
        host=host,
        state=state_to_read(host, state, without=no_state),
        base=base_of(host, base),
        trust=trust_of(host, require_signed, allowed_signers, revoked_signers),
    )
    file, order = _planned(order) if is_plan(source) else (None, order)
    reader = plan.reader_of(order)
    seen = plan.planned(reader, order, terminal, file=file)
    found = reader.check(seen, faults=faults, most=most)
    terminal.say((render_json if format is Shape.JSON else render_text)(found, faults))
    if any(one.explored is not None and one.explored.broken for one in found):
        return _BROKEN
    return plan.planned_status(seen, detailed=False)


def _planned(order: Order) -> tuple[PlanFile, Order]:
    """The plan in a file, and the order that it was made for.

    Raises:
        UsageError: the file is no whole plan, or the order asks for more than stands in it.
        WorldChanged: the plan does not fit this program.
    """
    from reconciler.cli.plan_files import read  # noqa: PLC0415

    if order.ref or order.path or order.sha256 or order.only:
        raise UsageError(
            "a plan file says itself what it was made from",
            remedy="leave out --ref, --path, --sha256 and --only",
        )
    file = read(Path(order.source))
    origin = file.origin
    if not origin.whole:
        raise UsageError(
            f"the address {origin.source} had a part that is kept out of plan files",
            remedy="check the source itself: `reconcile check SOURCE`",
        )
    return file, replace(order, source=origin.source, ref=origin.ref, path=origin.path, only=origin.only)
