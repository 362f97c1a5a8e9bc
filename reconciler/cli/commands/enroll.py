"""`reconcile enroll`: write the file by which a node begins to poll, or give it a new token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    By,
    CommonOptions,
    SignerOptions,
    State,
    WatchedSource,
    Why,
    Within,
    add_command,
    make_app,
)
from reconciler.errors import StateError, UsageError

if TYPE_CHECKING:
    from reconciler.api.enrolment import CallingNode, Enroller
    from reconciler.api.reader import Reader
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.state_access import StateAccess
    from reconciler.cli.state_folder import StateFolder
    from reconciler.desired.fleet import Fleet
    from reconciler.ports.driver import InstallationFile

app = make_app()


@add_command(app)
def run_enroll(
    node: Annotated[
        str,
        typer.Argument(metavar="NODE", help="Node or CLUSTER/NODE; without it, list nodes never heard."),
    ] = "",
    *,
    rotate: Annotated[
        bool,
        typer.Option("--rotate", help="Give the node a new token; the next run puts it into its setting."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="New file for the setting or package of the node, which only this user can read. Default: "
            "NODE.json or NODE.tgz in this folder.",
            show_default=False,
        ),
    ] = None,
    source: WatchedSource = "",
    path: Within = "",
    state: State = None,
    signer_options: SignerOptions,
    by: By = "",
    reason: Why = "",
    common: CommonOptions,
) -> int:
    """Enrol a node that polls and that this host cannot call: write the file that is installed on it by hand.

    The file has the node's own URL and all its secrets in clear. With --rotate alone, nothing is written: the
    node gets its new token with its next setting, and the old one counts until the new one is used.
    """
    from reconciler.api.enrolment import Enroller, list_nodes_never_heard
    from reconciler.api.reader import Reader
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.state_access import open_writable_state
    from reconciler.cli.state_folder import find_state
    from reconciler.host import aio
    from reconciler.store.factory import open_store

    if not node and (rotate or output):
        raise UsageError("--rotate and --output are for one node", remedy="name the node")
    if output is not None and str(output) == "-":
        raise UsageError(
            "the file has secrets: it is not written to a terminal or a pipe", remedy="name a file"
        )
    host = common.read_host(source or ".")
    folder, terminal = find_state(host, state), common.open_terminal()
    options = RunOptions.for_writing(host, folder, signer_options, by=by, why=reason)
    with open_writable_state(folder) as access:
        terminal.remark(str(access))
        if not access.is_open and node:
            raise _refuse_closed(folder, node)
        options = replace(options, source=source or ".", path=path)
        if not source and (watch := access.watch) is not None:
            # Of the same revision and folder as the watch: another one may not have the node.
            options = replace(options, source=watch.source, ref=watch.ref, path=path or watch.within)
        located = options.locate(trust=options.trust, state=folder.path)
        reader = Reader(located, host=host)
        fleet = aio.run_until_signal(reader.read_fleet())
        if not node:
            silent = list_nodes_never_heard(aio.run_until_signal(_list_nodes(reader, fleet, access)))
            terminal.say(_format_silent(silent))
            return 0
        with open_store(folder.store, keep=options.keep) as store:
            enroller = Enroller(reader, store)
            if rotate:
                terminal.say(_rotate(enroller, fleet, node, options))
            if not rotate or output is not None:
                terminal.say(_make_file(enroller, fleet, node, output, options))
    return 0


def _rotate(enroller: Enroller, fleet: Fleet, node: str, options: RunOptions) -> str:
    """Give a node a new token; gives what to say about it."""
    from reconciler.host import aio
    from reconciler.text.one_line import clean_line

    cluster, name = aio.run_until_signal(enroller.rotate(fleet, node, options.actor))
    return (
        f"{clean_line(cluster)}/{clean_line(name)} has a new token. The next run puts it into the node's "
        "setting; the old one counts until the new one is used.\n"
    )


def _make_file(enroller: Enroller, fleet: Fleet, node: str, output: Path | None, options: RunOptions) -> str:
    """Write the file that is installed on a node; gives what to say about it."""
    from reconciler.host import aio
    from reconciler.text.one_line import clean_line

    found = aio.run_until_signal(enroller.make_file(fleet, node))
    file = output or Path(node.replace("/", "-") + found.suffix)
    _write(file, found, options)
    return (
        f"{file} has the setting of {clean_line(node)}, with its secrets in clear.\n"
        f"  → {found.instructions}; then delete the file\n"
    )


async def _list_nodes(reader: Reader, fleet: Fleet, access: StateAccess) -> tuple[CallingNode, ...]:
    """All nodes that poll or report, by the store as it is now, or by a copy that the watch sends."""
    from reconciler.api.enrolment import list_calling_nodes

    reader = replace(reader, store=access.read())
    _, store = await reader.bind(fleet)
    assert store is not None
    return await list_calling_nodes(fleet, reader, store)


def _refuse_closed(folder: StateFolder, node: str) -> StateError:
    """Why this user cannot enrol a node; the file has secrets that a watch hands out to nobody."""
    try:
        owner = folder.path.owner()
    except (OSError, KeyError):  # a folder above it is closed, or its user has no name
        owner = "root"
    return StateError(
        f"tokens are made with the key in the state folder {folder}, which this user cannot open",
        remedy=f"`sudo -u {owner} reconcile enroll {node} --state {folder.path} --output FILE`, with a file "
        f"that {owner} may write",
    )


def _write(file: Path, found: InstallationFile, options: RunOptions) -> None:
    """Write the file, which must not exist and must not be in the source.

    Raises:
        UsageError: it is in the source, or there is such a file.
        StateError: it cannot be written.
    """
    from reconciler.cli.file_writer import write_new_file
    from reconciler.sources.output_check import WrittenFile, refuse_written_inside

    local = Path(options.source).expanduser()
    if local.is_dir():
        # It would be committed with the next change, with all secrets in clear.
        refuse_written_inside(local, WrittenFile("the file with the node's secrets", file.absolute()))
    write_new_file(file, found.content)


def _format_silent(nodes: tuple[CallingNode, ...]) -> str:
    from reconciler.text.one_line import clean_line

    if not nodes:
        return "Every node that polls or reports has called.\n"
    lines = [f"  {clean_line(one.cluster)}/{clean_line(one.node)}" for one in nodes]
    if any(one.polls for one in nodes):
        lines.append("  → `reconcile enroll NODE` writes the file that is installed on a node")
    if not all(one.polls for one in nodes):
        lines.append("  → nodes that are called get their URLs with a run: check that they reach the watch")
    return "\n".join(["Never heard:", *lines]) + "\n"
