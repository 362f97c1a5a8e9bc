"""`reconcile check`: explore every possible execution of a plan and show the shortest that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.options import (
    AllowedSigners,
    BaseRef,
    HostConfigFile,
    NoColor,
    NoState,
    OutputFormat,
    Ref,
    RequireSigned,
    RevokedSigners,
    Sha256,
    State,
    Within,
    make_app,
)
from reconciler.cli.state_folder import find_readable_state
from reconciler.errors import UsageError

app = make_app()

_BROKEN = 3


@app.command()
def run_check(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Where the desired state is: a folder, or the path or URL of a git repository or tarball; "
            "or a plan file.",
        ),
    ] = ".",
    host_source: Annotated[
        str,
        typer.Argument(
            metavar="HOST_SOURCE",
            help="If SOURCE is a plan file: this host's source of the desired state; the source in the file "
            "is never used. Default: as for `reconcile apply`.",
            show_default=False,
        ),
    ] = "",
    *,
    ref: Ref = "",
    path: Within = "",
    sha256: Sha256 = "",
    base: BaseRef = "",
    only: Annotated[str, typer.Option(metavar="NAME", help="Restrict to one cluster.")] = "",
    faults: Annotated[
        int, typer.Option("--faults", min=0, max=3, help="Maximum number of failures, cuts and lost calls.")
    ] = 1,
    most: Annotated[
        int, typer.Option("--states", min=1, help="Maximum number of states to explore in each cluster.")
    ] = 5_000_000,
    format: Annotated[
        OutputFormat, typer.Option("--format", help="Output format of the result.")
    ] = OutputFormat.TEXT,
    state: State = None,
    no_state: NoState = False,
    require_signed: RequireSigned = None,
    allowed_signers: AllowedSigners = None,
    revoked_signers: RevokedSigners = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Explore every possible execution of the plan for SOURCE, with faults and a kill of the reconciler.

    Reads the nodes and plans like a dry run; changes no node. If SOURCE is a plan file, explores exactly its
    plan without the steps whose nodes changed since; its revision is read from this host's own source. Ends
    with 3 if a guard refuses the plan, or if an invariant breaks: the shortest counterexample is shown.
    """
    from reconciler.cli.commands import plan
    from reconciler.cli.host_loader import read_host
    from reconciler.cli.host_source import HostSource, find_host_source
    from reconciler.cli.plan_files import is_plan_file, read_plan_file
    from reconciler.cli.render.check import render_check_json, render_check_text
    from reconciler.cli.run_options import RunOptions, build_run_options
    from reconciler.cli.terminal import Terminal

    terminal = Terminal.here(no_color=no_color, for_people=format is OutputFormat.TEXT)
    host = read_host(context, host_config, source)
    folder = find_readable_state(host, state, without=no_state)
    file, origin = None, HostSource(source, ref, path)
    if is_plan_file(source):
        if sha256 or only:
            raise UsageError("--sha256 and --only do not work with a plan file", remedy="leave them out")
        file = read_plan_file(Path(source))
        origin = find_host_source(
            HostSource(host_source, ref, path),
            host.environment,
            folder.path if folder else None,
            planned=file.origin.source,
        )
    elif host_source:
        raise UsageError(
            f"HOST_SOURCE works only with a plan file, and {source} is not one",
            remedy="give one source: `reconcile check SOURCE`",
        )
    options = build_run_options(
        context,
        RunOptions(
            source=origin.source,
            ref=origin.ref,
            path=origin.path,
            sha256=sha256,
            only=file.origin.only if file else only,
        ),
        writes=False,
        host_config=host_config,
        state=state,
        no_state=no_state,
        base=base,
        require_signed=require_signed,
        allowed_signers=allowed_signers,
        revoked_signers=revoked_signers,
    )
    reader = plan.make_reader(options)
    result = plan.read_and_plan(reader, options, terminal, file=file)
    found = reader.check(result, faults=faults, most=most)
    terminal.say((render_check_json if format is OutputFormat.JSON else render_check_text)(found, faults))
    if any(one.explored is not None and one.explored.broken for one in found):
        return _BROKEN
    return plan.get_plan_exit_status(result, detailed=False)
