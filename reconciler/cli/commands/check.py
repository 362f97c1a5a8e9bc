"""`reconcile check`: explore every possible execution of a plan and show the shortest that fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.options import (
    BaseRef,
    CommonOptions,
    NoState,
    OutputFormat,
    SignerOptions,
    SourceOptions,
    State,
    add_command,
    make_app,
    read_merge_target,
)
from reconciler.cli.state_folder import find_readable_state
from reconciler.errors import UsageError
from reconciler.exit_status import ExitStatus

app = make_app()


@add_command(app)
def run_check(
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
    source_options: SourceOptions,
    base: BaseRef = "",
    only: Annotated[str, typer.Option(metavar="NAME", help="Work on one cluster only.")] = "",
    faults: Annotated[
        int,
        typer.Option(
            "--faults",
            min=0,
            max=3,
            help="Maximum number of failed nodes, nodes that cannot be reached, and lost calls.",
        ),
    ] = 1,
    most: Annotated[
        int, typer.Option("--states", min=1, help="Maximum number of states to explore in each cluster.")
    ] = 5_000_000,
    format: Annotated[
        OutputFormat, typer.Option("--format", help="Output format of the result.")
    ] = OutputFormat.TEXT,
    state: State = None,
    no_state: NoState = False,
    signer_options: SignerOptions,
    common: CommonOptions,
) -> int:
    """Explore every possible execution of the plan for SOURCE, with faults and a kill of the reconciler.

    Reads the nodes and plans like a dry run; changes no node. If SOURCE is a plan file, explores exactly its
    plan without the steps whose nodes changed since; its revision is read from this host's own source. Ends
    with 3 if a guard refuses the plan, or if an invariant breaks: the shortest counterexample is shown.
    """
    from reconciler.cli.dry_run import make_reader, read_and_plan
    from reconciler.cli.host_source import HostSource, find_host_source
    from reconciler.cli.plan_files import is_plan_file, read_plan_file
    from reconciler.cli.render.check import render_check_json, render_check_text
    from reconciler.cli.render.exit_report import report_plan_exit
    from reconciler.cli.run_options import RunOptions
    from reconciler.core.selection import Selection
    from reconciler.planning.plan_summary import PlanSummary

    terminal = common.open_terminal(for_people=format is OutputFormat.TEXT)
    host = common.read_host(source)
    folder = find_readable_state(host, state, without=no_state)
    file, origin = None, HostSource(source, source_options.ref, source_options.path)
    if is_plan_file(source):
        if source_options.sha256 or only:
            raise UsageError("--sha256 and --only do not work with a plan file", remedy="leave them out")
        file = read_plan_file(Path(source))
        origin = find_host_source(
            replace(origin, source=host_source),
            host.environment,
            folder.store if folder else None,
            planned=file.origin.source,
        )
    elif host_source:
        raise UsageError(
            f"HOST_SOURCE works only with a plan file, and {source} is not one",
            remedy="give one source: `reconcile check SOURCE`",
        )
    # Read again: the source of a plan file is known only now, and the configuration must not be in it.
    host = common.read_host(origin.source)
    options = RunOptions(
        source=origin.source,
        ref=origin.ref,
        path=origin.path,
        sha256=source_options.sha256,
        only=file.origin.selection if file else Selection.of(only),
        host=host,
        state=folder,
        base=read_merge_target(host, base),
        trust=signer_options.read_trust(host),
    )
    reader = make_reader(options)
    result = read_and_plan(reader, options, terminal, file=file)
    found = reader.check(result, faults=faults, most=most)
    if format is OutputFormat.JSON:
        terminal.say(render_check_json(found, faults, result.violations))
    else:
        terminal.say(render_check_text(found, faults, result.violations, layout=terminal.layout))
    if any(one.explored is not None and one.explored.broken for one in found):
        return ExitStatus.REFUSED
    return report_plan_exit(PlanSummary.of(result)).status
