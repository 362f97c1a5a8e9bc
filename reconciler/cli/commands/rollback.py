"""`reconcile rollback`: plan and apply an earlier revision, like any change."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    By,
    CommonOptions,
    Full,
    Keep,
    Only,
    PlanFormat,
    ReportFormat,
    ServerOptions,
    SignerOptions,
    Skip,
    State,
    TolerateUnread,
    Why,
    Within,
    Yes,
    add_command,
    make_app,
    read_selection,
)
from reconciler.cli.state_folder import find_state
from reconciler.errors import InputError, StateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from reconciler.cli.run_options import RunOptions
    from reconciler.ports.store import RunSummary

app = make_app()

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_RUNS = 1000
"""Newest runs in which the previous commit is looked for."""
_DONE = frozenset({"done", "found", "undone"})


@add_command(app)
def run_rollback(
    revision: Annotated[
        str,
        typer.Argument(
            metavar="REVISION",
            help="Commit, tag or tarball revision; without it, the previously applied commit.",
        ),
    ] = "",
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Git repository (folder or URL), or a tarball of that revision."
        ),
    ] = ".",
    *,
    previous: Annotated[
        bool,
        typer.Option(
            "--previous",
            help="Roll back to the previously applied commit; the only argument is then SOURCE.",
        ),
    ] = False,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="PACKAGE",
            help="Give one cluster the settings of a package, such as a backup in S3 or a .tgz of a node; "
            "the only argument is then SOURCE.",
        ),
    ] = "",
    path: Within = "",
    yes: Yes = False,
    format: ReportFormat = PlanFormat.TEXT,
    full: Full = False,
    only: Only = None,
    skip: Skip = None,
    while_suspended: Annotated[  # noqa: ARG001  (scripts of earlier versions give it)
        bool,
        typer.Option(
            "--while-suspended",
            help="Without effect: a suspension never holds a rollback, and stays in force.",
            hidden=True,
        ),
    ] = False,
    state: State = None,
    server: ServerOptions,
    keep: Keep = None,
    tolerate_unread: TolerateUnread = "",
    signer_options: SignerOptions,
    by: By = "",
    reason: Why = "",
    common: CommonOptions,
) -> int:
    """Apply an earlier revision, with plan, guards, confirmation and journal like any change.

    Each cluster that it changes is pinned: every run and every watch keeps it at this revision until a newer
    commit changes what the cluster gets, or `reconcile unpin CLUSTER`, or another rollback. Suspensions hold
    no rollback.

    With --to, one cluster gets the settings and files of a package, and keeps everything else that SOURCE
    says: nodes, limits, waves. It is then held until a commit changes it.
    """
    from reconciler.cli.apply_run import plan_and_apply
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.state_access import open_writable_state
    from reconciler.planning.unread_limit import UnreadLimit

    revision, source = _read_places(revision, source, previous=previous, to=to)
    terminal = common.open_terminal(for_people=format is PlanFormat.TEXT, full=full)
    local = {"source": source if source != "." else "", "path": path, "state": state, "to": to}
    if (client := server.find_client(common, previous=previous, **local)) is not None:
        from reconciler.cli.rollback_by_watch import roll_back_by_server

        asked = RunOptions(
            ref=revision, only=read_selection(only, skip), yes=yes, format=format, by=by, why=reason
        )
        return roll_back_by_server(asked, client, terminal)
    host = common.read_host(source)
    folder = find_state(host, state)
    options = replace(
        RunOptions.for_writing(host, folder, signer_options, by=by, why=reason, keep=keep),
        source=source,
        path=path,
        only=read_selection(only, skip),
        yes=yes,
        format=format,
        trigger="rollback",
        unread_limit=UnreadLimit.read(tolerate_unread),
        restored=to,
    )
    with open_writable_state(folder) as access:
        terminal.remark(str(access))
        if not access.is_open:
            from reconciler.cli.rollback_by_watch import roll_back_by_watch

            if to:
                raise UsageError(
                    f"this user cannot open the state {access.folder}, and the watch that can knows no --to",
                    remedy="run the command as the user of the watch, or as root",
                )

            return roll_back_by_watch(replace(options, ref=revision), access, terminal)
        if to:
            return plan_and_apply(options, terminal)
        # By this host's history, not by git: the parent of a commit may never have been applied here.
        options = replace(options, ref=revision or find_previous_commit(*_read_past(options)))
        return plan_and_apply(options, terminal)


def _read_places(revision: str, source: str, *, previous: bool, to: str) -> tuple[str, str]:
    """The revision and the source that the arguments mean: with an option in its place, there is no revision.

    Raises:
        UsageError: they contradict each other.
    """
    if to and (previous or (revision and source != ".")):
        raise UsageError(
            "--to takes neither a revision nor --previous",
            remedy="give SOURCE only: `reconcile rollback --to PACKAGE SOURCE`",
        )
    if previous and revision and source != ".":
        raise UsageError("--previous takes no revision", remedy="give SOURCE only, or remove --previous")
    if previous or to:
        return "", revision or source
    if revision and source == "." and Path(revision).is_dir():
        raise UsageError(
            f"the first argument is the revision, and {revision!r} is a folder",
            remedy=f"for the previously applied commit: `reconcile rollback --previous {revision}`",
        )
    return revision, source


def find_previous_commit(runs: Sequence[RunSummary], left: AbstractSet[str] = frozenset()) -> str:
    """The commit that was applied in full before the one that was applied last.

    Args:
        runs: of one fleet, newest first.
        left: ids of revisions that its clusters were rolled back from.

    Raises:
        UsageError: the history has no such commit.
    """
    # Runs that changed nothing do not count: a refused commit is not where the fleet is.
    changing = [run for run in runs if _DONE & run.counts.keys()]
    current = changing[0].revision if changing else ""
    for run in changing:
        is_other = run.revision not in {current, *left}
        if run.exit_status == 0 and is_other and _COMMIT.fullmatch(run.revision):
            return run.revision
    raise UsageError(
        "the history has no commit that was applied before the current one",
        remedy="give the commit: `reconcile rollback COMMIT`; `reconcile history` lists applied commits",
    )


def _read_past(options: RunOptions) -> tuple[tuple[RunSummary, ...], frozenset[str]]:
    """The newest runs of the source's fleet, and the revisions that it was rolled back from.

    Raises:
        FleetRefused: it is not clear which fleet of this host the source is.
    """
    from reconciler.api.reader import Reader
    from reconciler.core.fleet_matching import normalise_source
    from reconciler.host import aio
    from reconciler.store.factory import has_store, open_reader

    folder = options.required_state.store

    async def read() -> tuple[tuple[RunSummary, ...], frozenset[str]]:
        source = options.locate()
        with open_reader(folder) as store:
            reader = Reader(source, store, host=options.host)
            try:
                _, own = await reader.bind(await reader.read_fleet())
            except InputError:  # the newest commit may be broken, which is why somebody rolls back
                at = normalise_source((await source.snapshot()).revision.source)
                own = next(
                    (store.select_fleet(one.number) for one in await store.fleets() if at in one.sources),
                    None,
                )
            if own is None:
                return (), frozenset()
            left = frozenset(one.revision for pin in (await own.orders()).pins for one in pin.left)
            return tuple(await own.runs(_MOST_RUNS)), left

    if not has_store(folder):
        raise StateError(
            f"{options.required_state.place} has no history", remedy="give the commit to roll back to"
        )
    return aio.run_until_signal(read())
