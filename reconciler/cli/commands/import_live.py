"""`reconcile import`: write the desired state that running nodes show, after showing the difference."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from reconciler.cli.options import CommonOptions, expand_groups, make_app, set_signature
from reconciler.descriptions.values import format_count
from reconciler.drivers.registry import BUILT_IN, DRIVERS
from reconciler.errors import UsageError
from reconciler.exit_status import ExitStatus

if TYPE_CHECKING:
    from reconciler.adopt.importer import ImportResult
    from reconciler.host.host import Host
    from reconciler.ports.source import Snapshot

_MOST_NAMED = 10


def run_import(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the files; created if missing.")
    ] = Path(),
    *,
    only: Annotated[str, typer.Option(metavar="CLUSTER", help="Work on one cluster only.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be written.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    via: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Reach the nodes of new clusters through this entry of `ssh` of the host configuration.",
        ),
    ] = "",
    common: CommonOptions,
    new: Sequence[tuple[str, str]] = (),
) -> int:
    """Write the desired state from what running nodes show.

    Reads the clusters that FOLDER's files already name, and compares. A value that differs is changed in the
    file that it comes from if all nodes that use it agree, else in the overlay of the one node. Comments
    and the order of keys are kept. A new cluster gets a base with the values that its nodes share, and
    overlays for the rest. Secrets are written as references. Nodes are only read. Nothing is written unless
    a plan from the new files would be empty.
    """
    from reconciler.host import aio

    terminal = common.open_terminal()
    host = common.read_host(str(folder))
    found = aio.run_until_signal(_import(folder, new, only, host, via))
    if not found.after:
        terminal.say("Nothing to write: the files match the nodes.\n")
        return 0
    terminal.say("".join(_describe_result(found)))
    if dry_run:
        return 0
    remedy = "add --yes to write without asking, or --dry-run to only show it"
    question = f"Write {format_count(len(found.after), 'file')}?"
    if not yes and not terminal.get_consent(question, verb="write", remedy=remedy):
        terminal.remark("Nothing was written.\n")
        return ExitStatus.ERROR
    from reconciler.cli.file_writer import write_files

    write_files(folder, found.before, found.after)
    terminal.remark(f"The files are in {folder}.\n")
    return 0


async def _import(
    folder: Path, new: Sequence[tuple[str, str]], only: str, host: Host, via: str
) -> ImportResult:
    from reconciler.adopt.importer import import_live_state
    from reconciler.drivers.registry import select_drivers
    from reconciler.planning.read_only import restrict_to_reading
    from reconciler.secrets.local_resolver import LocalResolver
    from reconciler.text.one_line import join_some, quote_text
    from reconciler.transports.bundle import open_transports

    snapshot = await _read_snapshot(folder)
    if snapshot is None and not new:
        raise UsageError(
            f"there is no desired state in {folder} yet",
            remedy=f"name the nodes to read, for example --{next(iter(select_drivers(host.config)))} "
            "edge=192.0.2.11,192.0.2.12",
        )
    drivers, known = select_drivers(host.config), host.entries(applying=True)
    if via and known and via not in known.fixed:
        has = f"it has {join_some(sorted(known.fixed), _MOST_NAMED)}" if known.fixed else "it has none"
        raise UsageError(
            f"this host has no way {quote_text(via)} to other machines; {has}",
            remedy="name an entry of `ssh` of the host configuration whose `host` is one fixed machine",
        )
    async with open_transports(host) as transports:
        ways = replace(transports, http=transports.http.through(via)) if via else transports
        entries: list[Mapping[str, Any]] = []
        for kind, text in new:
            name, _, addresses = text.partition("=")
            several = [address.strip() for address in addresses.split(",") if address.strip()]
            if not name or not several:
                raise UsageError(f"--{kind} must be NAME=ADDRESS,…, got {text!r}")
            driver = drivers[kind]
            reading = restrict_to_reading(ways, driver.reads)
            entry = await driver.read_cluster_entry(name, several, reading)
            entries.append({**entry, "via": via} if via else entry)
        return await import_live_state(
            snapshot,
            entries,
            drivers=drivers,
            transports=transports,
            resolver=LocalResolver(host),
            only=only,
            host_entries=known,
            prefix=host.config.secrets.variables,
        )


async def _read_snapshot(folder: Path) -> Snapshot | None:
    """The files of a folder; None if it has no fleet file."""
    from reconciler.desired.fleet_file import find_fleet_file
    from reconciler.drivers.registry import DRIVERS
    from reconciler.errors import InputError
    from reconciler.sources.folder import FolderSource

    if not folder.is_dir():  # noqa: ASYNC240  (one look at a local folder)
        return None
    snapshot = await FolderSource(folder).snapshot()
    try:
        find_fleet_file(tuple(snapshot.files.names()), DRIVERS)
    except InputError as error:
        if any(problem.code != "no-fleet-file" for problem in error.problems):
            raise
        return None
    return snapshot


def _describe_result(found: ImportResult) -> Iterator[str]:
    """The lines to print: each file as a difference, with secrets masked, even those in plain text."""
    from reconciler.text.one_line import clean_line, escape_unseen

    for name, text in sorted(found.after.items()):
        lines = list(_diff_file(name, found.before.get(name), text))
        if name not in found.before:
            yield f"{clean_line(name)}: new, {format_count(len(lines), 'line')}\n"
        for line in lines:  # tabs stay, or indented lines would look changed
            yield "\t".join(escape_unseen(part) for part in line.split("\t")) + "\n"
    if found.secrets:
        names = ", ".join(sorted(found.secrets))
        yield f"\nSecrets are written as references. Set these variables wherever reconcile runs: {names}\n"
    yield from (f"{clean_line(note)}.\n" for note in found.notes)


def _diff_file(name: str, before: bytes | None, text: str) -> Iterator[str]:
    """The lines of a unified diff; for a new file all its lines."""
    import difflib

    from reconciler.secrets.redaction import mask_text

    after = _split_lines(mask_text(name, text.removeprefix("\ufeff")))
    if before is None:
        return (f"+{line}" for line in after)
    old = _split_lines(mask_text(name, before.decode("utf-8-sig")))
    return difflib.unified_diff(old, after, name, name, lineterm="", n=2)


def _split_lines(text: str) -> list[str]:
    # str.splitlines also splits at characters that JSON and YAML texts may contain, such as U+2028.
    return re.split(r"\r\n|\n|\r", text.removesuffix("\n").removesuffix("\r"))


class _ImportCommand(TyperCommand):
    """The command, which adds options for products of installed packages when they are used."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with an option for every product that the arguments name."""
        # Only unknown options are looked up, because a scan of installed packages takes 0.1 s.
        known = {name for param in self.params for name in param.opts}
        named = dict.fromkeys(arg.partition("=")[0] for arg in args if arg.startswith("--") and arg != "--")
        more = [name.removeprefix("--") for name in named if name not in known]
        if kinds := [kind for kind in more if kind in DRIVERS]:
            whole = typer.main.get_command(_make_import_app(kinds))
            self.params, self.callback = whole.params, whole.callback
        return super().parse_args(ctx, args)


def _make_import_app(more: Iterable[str] = ()) -> typer.Typer:
    """The app of the command, with one option for each product that can be imported.

    Args:
        more: kinds beside the built-in ones.
    """
    kinds = [kind for kind in (*BUILT_IN, *more) if DRIVERS[kind].capabilities.imports]
    names = {f"new_{number}": kind for number, kind in enumerate(kinds)}

    def run(**given: Any) -> int:
        new = [(kind, text) for name, kind in names.items() for text in given.pop(name) or ()]
        return int(expanded(**given, new=new))

    expanded = expand_groups(run_import)
    folder, *rest = (one for one in signature(expanded).parameters.values() if one.name != "new")
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_make_option(kind))
        for name, kind in names.items()
    ]
    set_signature(run, [folder, *options, *rest])
    run.__doc__ = run_import.__doc__
    made = make_app()
    made.command("import", cls=_ImportCommand)(run)
    return made


def _make_option(kind: str) -> Any:
    driver = DRIVERS[kind]
    usual = f"A new {driver.title} cluster and its nodes' addresses; may be given more than once."
    own = driver.import_option
    return Annotated[list[str] | None, typer.Option(f"--{kind}", metavar=own.metavar, help=own.help or usual)]


app = _make_import_app()
