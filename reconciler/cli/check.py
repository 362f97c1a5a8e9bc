"""`reconcile check`: walk every course that a plan can take, and show the shortest one that goes wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import NoColor, Shape, State, new_app, state_folder

app = new_app()

_BROKEN = 3


@app.command()
def check(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Folder, git URL or path, or tarball as a path or URL.")
    ] = ".",
    *,
    ref: Annotated[str, typer.Option(metavar="REF", help="Branch, tag or commit of a git source.")] = "",
    path: Annotated[str, typer.Option(metavar="FOLDER", help="Folder within the source.")] = "",
    sha256: Annotated[str, typer.Option(metavar="HEX", help="What a tarball's SHA-256 has to be.")] = "",
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
    no_color: NoColor = False,
) -> int:
    """Walk every course that the plan for SOURCE can take, with faults and a kill of the reconciler.

    Reads the nodes and plans as a dry run does; no node is changed. Ends with 3 where an invariant
    breaks, with the shortest story that leads there, or where a guard refuses the plan.
    """
    from reconciler.cli import look  # noqa: PLC0415  (--help stays quick)
    from reconciler.cli.render.check import render_json, render_text  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.engine.check import check as checked  # noqa: PLC0415

    terminal = Terminal.here(no_color=no_color, for_people=format is Shape.TEXT)
    order = look.Order(source=source, ref=ref, path=path, sha256=sha256, only=only, state=state_folder(state))
    seen = look.planned(order, terminal)
    found = checked(seen, DRIVERS, faults=faults, most=most)
    terminal.say((render_json if format is Shape.JSON else render_text)(found, faults))
    if any(one.explored is not None and one.explored.broken for one in found):
        return _BROKEN
    return look.planned_status(seen, detailed=False)
