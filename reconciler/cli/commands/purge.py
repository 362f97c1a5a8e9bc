"""`reconcile purge`: remove content from the caches of nodes, now or at their next poll."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.options import (
    By,
    CommonOptions,
    Full,
    PlanFormat,
    ReportFormat,
    ServerOptions,
    SignerOptions,
    State,
    WatchedSource,
    Why,
    Within,
    add_command,
    make_app,
)
from reconciler.errors import UsageError
from reconciler.text.one_line import format_size, quote_path

app = make_app()

_LARGEST_FILE = 16 * 1024 * 1024


@add_command(app)
def run_purge(
    urls: Annotated[
        list[str] | None,
        typer.Argument(metavar="URL", help="HOST/PATH, with or without http://; `*` stands for any text."),
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with one URL a line; `-` for standard input."),
    ] = None,
    cluster: Annotated[
        str, typer.Option(metavar="CLUSTER", help="Only this cluster; default: all that can be purged.")
    ] = "",
    direct: Annotated[
        bool, typer.Option("--direct", help="Call nodes that poll, too, instead of waiting for their poll.")
    ] = False,
    source: WatchedSource = "",
    path: Within = "",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; a purge of high risk is asked for all the same.")
    ] = False,
    format: ReportFormat = PlanFormat.TEXT,
    full: Full = False,
    state: State = None,
    server: ServerOptions,
    signer_options: SignerOptions,
    by: By = "",
    reason: Why = "",
    common: CommonOptions,
) -> int:
    """Purge content from the caches of nodes, at least once on each node, and follow it to its end.

    A purge is recorded before anything is sent. Nodes are called, or get it at their next poll from the
    running watch. A purge that covers a whole host is of high risk: it is confirmed, and spread in waves.
    """
    from reconciler.cli.operation_run import OperationsByServer, choose_place, run_operation
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.state_access import open_writable_state
    from reconciler.cli.state_folder import find_state
    from reconciler.planning.plan_operation import OperationRequest

    targets = [*(urls or ()), *(_read_targets(file) if file else ())]
    if not targets:
        raise UsageError("a purge needs a target", remedy="give URLs, or --file FILE with one a line")
    request = OperationRequest("purge", tuple(targets), cluster=cluster, direct=direct)
    terminal = common.open_terminal(for_people=format is PlanFormat.TEXT, full=full)
    if (client := server.find_client(common, state=state, source=source, path=path)) is not None:
        terminal.remark(str(client))
        return run_operation(OperationsByServer(client, by, reason), request, terminal, yes=yes, form=format)
    host = common.read_host(source or ".")
    folder = find_state(host, state)
    options = RunOptions.for_writing(host, folder, signer_options, by=by, why=reason)
    options = replace(options, source=source, path=path)
    with open_writable_state(folder) as access, choose_place(options, access) as place:
        terminal.remark(str(access))
        return run_operation(place, request, terminal, yes=yes, form=format)


def _read_targets(file: Path) -> list[str]:
    """The lines of a file with targets; empty lines and lines with `#` at their beginning do not count.

    Raises:
        UsageError: it cannot be read, is no text, or is too large.
    """
    try:
        # Standard input stays open: the terminal is asked for it later.
        with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as opened:
            # Bounded: a wrong file, or a pipe without end, must not fill the memory.
            data = opened.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read {quote_path(str(file))}: {error.strerror}", remedy="check --file"
        ) from error
    if len(data) > _LARGEST_FILE:
        raise UsageError(
            f"{quote_path(str(file))} is larger than {format_size(_LARGEST_FILE)}",
            remedy="use patterns with *, or purge in parts",
        )
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise UsageError(
            f"{quote_path(str(file))} is not UTF-8 text", remedy="give a file with one URL a line"
        ) from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
