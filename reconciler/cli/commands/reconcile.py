"""The default command: plan, and after a confirmation apply; with `--dry-run` only plan."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.command_table import COMMANDS
from reconciler.cli.options import (
    ENVIRONMENT,
    PRECEDENCE,
    STATUSES,
    AllOrNothing,
    BaseRef,
    By,
    CommonOptions,
    Full,
    Keep,
    NoState,
    Only,
    PlanFormat,
    ReportFormat,
    ServerOptions,
    SignerOptions,
    Skip,
    Source,
    SourceOptions,
    State,
    TolerateUnread,
    Why,
    Yes,
    add_command,
    format_columns,
    make_app,
    read_kept_runs,
    read_merge_target,
    read_selection,
)
from reconciler.errors import UsageError

app = make_app()

EPILOG = f"""\b
Commands (`reconcile COMMAND --help` shows more; for a folder of the same name write ./COMMAND):
{format_columns({name: command.summary for name, command in COMMANDS.items()})}

\b
Exit status:
{format_columns({str(number): text for number, text in STATUSES.items()})}

{PRECEDENCE}

\b
Environment:
{format_columns(ENVIRONMENT)}"""


@add_command(app, epilog=EPILOG)
def run_reconcile(
    source: Source = ".",
    *,
    source_options: SourceOptions,
    base: BaseRef = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan; change no node.")] = False,
    yes: Yes = False,
    format: ReportFormat = PlanFormat.TEXT,
    full: Full = False,
    only: Only = None,
    skip: Skip = None,
    all_or_nothing: AllOrNothing = False,
    state: State = None,
    no_state: NoState = False,
    keep: Keep = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="With --dry-run: exit with 2 if changes are pending.")
    ] = False,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check",
            help="With --dry-run --format markdown: add the result of the model checker. Default: on.",
            show_default=False,
        ),
    ] = None,
    tolerate_unread: TolerateUnread = "",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --dry-run: write the plan file, for `reconcile apply`."),
    ] = None,
    server: ServerOptions,
    signer_options: SignerOptions,
    by: By = "",
    reason: Why = "",
    common: CommonOptions,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> int:
    """Bring a fleet's nodes into their desired state.

    Plans the steps from what the nodes show to what SOURCE says, shows the plan, asks for confirmation,
    applies it step by step, and reads the nodes again. If a node cannot be read, the others are still
    planned and changed.
    """
    if version:
        from reconciler import __version__

        typer.echo(f"reconcile {__version__}")
        return 0
    if detailed_exitcode and not dry_run:
        raise UsageError(
            "--detailed-exitcode works only with --dry-run", remedy="add --dry-run, or leave it out"
        )

    if out is not None and not dry_run:
        raise UsageError("--out works only with --dry-run", remedy="add --dry-run, or leave it out")

    if check and not (dry_run and format is PlanFormat.MARKDOWN):
        raise UsageError(
            "--check works only with --dry-run --format markdown", remedy="use `reconcile check` instead"
        )

    if full and dry_run and format is PlanFormat.MARKDOWN:
        raise UsageError(
            "--full does not work with --format markdown: forges limit the length of a comment",
            remedy="use --format text or --format json",
        )

    from reconciler.cli.dry_run import run_dry_run
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.state_folder import find_readable_state, require_state
    from reconciler.planning.unread_limit import UnreadLimit

    selection, limit = read_selection(only, skip), UnreadLimit.read(tolerate_unread)
    if dry_run:
        given = {**asdict(source_options), "base": base, "state": state, "no_state": no_state, "out": out}
        client = server.find_client(common, source=source if source != "." else "", check=check, **given)
        if client is not None:
            from reconciler.cli.server_plan import show_plan_of_server

            terminal = common.open_terminal(for_people=format is PlanFormat.TEXT, full=full)
            return show_plan_of_server(
                client, selection, terminal, form=format, detailed=detailed_exitcode, limit=limit
            )
    elif server.server:
        raise UsageError(
            "--server works only with --dry-run: the watch applies what its source says by itself",
            remedy="add --dry-run; `reconcile look-again --server URL` lets it apply at once",
        )
    host, is_reading = common.read_host(source), dry_run or no_state
    options = RunOptions(
        source=source,
        ref=source_options.ref,
        path=source_options.path,
        sha256=source_options.sha256,
        only=selection,
        all_or_nothing=all_or_nothing,
        yes=yes,
        format=format,
        detailed_exitcode=detailed_exitcode,
        check=format is PlanFormat.MARKDOWN and check is not False,
        out=out,
        by=by,
        why=reason,
        host=host,
        # A dry run may read through the watch; whoever applies must be able to open the folder.
        state=find_readable_state(host, state, without=no_state)
        if is_reading
        else require_state(host, state),
        keep=read_kept_runs(host, keep),
        base=read_merge_target(host, base),
        trust=signer_options.read_trust(host),
        unread_limit=limit,
    )
    terminal = common.open_terminal(for_people=format is PlanFormat.TEXT, full=full)
    if dry_run:
        return run_dry_run(options, terminal)
    from reconciler.cli.apply_run import plan_and_apply

    return plan_and_apply(options, terminal)
