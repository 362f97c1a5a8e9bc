"""`reconcile sudoers`: the lines of sudoers that the entries of this host with sudo need."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import CommonOptions, add_command, make_app
from reconciler.errors import UsageError

app = make_app()


@add_command(app)
def run_sudoers(
    *,
    ssh: Annotated[
        str | None,
        typer.Option("--ssh", metavar="NAME", help="Only for the machines of this entry of `ssh`."),
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Only for this machine.")] = False,
    node: Annotated[
        str, typer.Option("--node", metavar="NODE", help="Write the name of this node for `{node}`.")
    ] = "",
    common: CommonOptions,
) -> int:
    """Print the lines for /etc/sudoers.d that files and commands with `sudo: true` need.

    Each line allows one program with exactly the arguments that are used. For what the fleet file fills in, a
    line has a regular expression, which sudo 1.9.10 and later read. Nothing is written.
    """
    from reconciler.text.one_line import join_some, quote_text
    from reconciler.transports.sudoers import render_host_sudoers

    config = common.read_host().config
    if ssh is not None and (local or ssh not in config.ssh):
        raise UsageError(
            "--ssh and --local exclude each other" if local else f"this host has no way {quote_text(ssh)}",
            remedy=f"the entries of `ssh` are {join_some(sorted(config.ssh), 10) or 'none'}",
        )
    common.open_terminal().say(render_host_sudoers(config, way="" if local else ssh, node=node))
    return 0
