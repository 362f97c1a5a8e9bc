"""`reconcile import`: writes the desired state that live nodes show, after showing what it would write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from reconciler.cli.options import HostConfigFile, NoColor, make_app
from reconciler.drivers.registry import BUILT_IN, DRIVERS
from reconciler.errors import UsageError
from reconciler.host import aio

if TYPE_CHECKING:
    from reconciler.adopt.importer import ImportResult
    from reconciler.cli.terminal import Terminal
    from reconciler.host.host import Host
    from reconciler.ports.source import Snapshot


def run_import(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the files; created if missing.")
    ] = Path(),
    *,
    only: Annotated[str, typer.Option(metavar="CLUSTER", help="Restrict to one cluster.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be written.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
    new: Sequence[tuple[str, str]] = (),
) -> int:
    """Write the desired state from what running nodes show.

    Reads the clusters that FOLDER's files already name, and compares. A value that differs is changed in the
    file that it comes from if all nodes that use it agree, else in the overlay of the one node. Comments
    and the order of keys are kept. A new cluster gets a base with the values that its nodes share, and
    overlays for the rest. Secrets are written as references. Nodes are only read. Nothing is written unless
    a plan from the new files would be empty.
    """
    from reconciler.cli.host_loader import read_host  # noqa: PLC0415  (--help stays quick)
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415

    terminal = Terminal.here(no_color=no_color)
    host = read_host(context, host_config, str(folder))
    found = aio.run_until_signal(_adopted(folder, new, only, host, there=folder.is_dir()))
    if not found.after:
        terminal.say("Nothing to write: the files match the nodes.\n")
        return 0
    terminal.say("".join(_told(found)))
    if dry_run:
        return 0
    if not yes and not _agreed(terminal, len(found.after)):
        terminal.remark("Nothing was written.\n")
        return 1
    from reconciler.cli.file_writer import write_files  # noqa: PLC0415

    write_files(folder, found.before, found.after)
    terminal.remark(f"The files are in {folder}.\n")
    return 0


async def _adopted(
    folder: Path, new: Sequence[tuple[str, str]], only: str, host: Host, *, there: bool
) -> ImportResult:
    from reconciler.adopt.importer import import_live_state  # noqa: PLC0415
    from reconciler.drivers.registry import select_drivers  # noqa: PLC0415
    from reconciler.planning.read_only import restrict_to_reading  # noqa: PLC0415
    from reconciler.secrets.local_resolver import LocalResolver  # noqa: PLC0415
    from reconciler.transports.bundle import open_transports  # noqa: PLC0415

    snapshot = await _snapshot(folder) if there else None
    if snapshot is None and not new:
        raise UsageError(
            f"there is no desired state in {folder} yet",
            remedy=f"name the nodes to read, for example --{next(iter(select_drivers(host.config)))} "
            "edge=192.0.2.11,192.0.2.12",
        )
    drivers = select_drivers(host.config)
    async with open_transports(host) as transports:
        entries: list[Mapping[str, Any]] = []
        for kind, text in new:
            name, _, addresses = text.partition("=")
            if not name or not _several(addresses):
                raise UsageError(f"--{kind} must be NAME=ADDRESS,…, got {text!r}")
            driver = drivers[kind]
            reading = restrict_to_reading(transports, driver.reads)
            entries.append(await driver.entry_of(name, _several(addresses), reading))
        return await import_live_state(
            snapshot,
            entries,
            drivers=drivers,
            transports=transports,
            resolver=LocalResolver(host),
            only=only,
            prefix=host.config.secrets.variables,
        )


def _several(addresses: str) -> list[str]:
    """What commas part; blanks around them are nothing."""
    return [address.strip() for address in addresses.split(",") if address.strip()]


async def _snapshot(folder: Path) -> Snapshot | None:
    """The files of a folder; none where there is no desired state among them."""
    from reconciler.desired.fleet_file import find_fleet_file  # noqa: PLC0415
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.errors import InputError  # noqa: PLC0415
    from reconciler.sources.folder import FolderSource  # noqa: PLC0415

    snapshot = await FolderSource(folder).snapshot()
    try:
        find_fleet_file(tuple(snapshot.files.names()), DRIVERS)
    except InputError as error:
        if any(problem.code != "no-fleet-file" for problem in error.problems):
            raise
        return None
    return snapshot


def _told(found: ImportResult) -> Iterator[str]:
    """What is to be written, as a difference; secrets are masked, even those that a file has in clear."""
    from reconciler.cli.render.values import format_count  # noqa: PLC0415
    from reconciler.text.one_line import clean_line  # noqa: PLC0415

    for name, text in sorted(found.after.items()):
        lines = list(_changed(name, found.before.get(name), text))
        if name not in found.before:
            yield f"{clean_line(name)}: new, {format_count(len(lines), 'line')}\n"
        yield from (f"{_line(line)}\n" for line in lines)
    if found.secrets:
        names = ", ".join(sorted(found.secrets))
        yield f"\nSecrets are written as references. Set these wherever reconcile runs: {names}\n"
    yield from (f"{clean_line(note)}.\n" for note in found.notes)


def _changed(name: str, before: bytes | None, text: str) -> Iterator[str]:
    """The lines of a difference; of a new file all of its lines."""
    import difflib  # noqa: PLC0415

    from reconciler.secrets.redaction import mask_text  # noqa: PLC0415

    after = _lines(mask_text(name, text.removeprefix("\ufeff")))
    if before is None:
        return (f"+{line}" for line in after)
    old = _lines(mask_text(name, before.decode("utf-8-sig")))
    return difflib.unified_diff(old, after, name, name, lineterm="", n=2)


def _lines(text: str) -> list[str]:
    """The lines of a file, which nothing but CR and LF ends."""
    return re.split(r"\r\n|\n|\r", text.removesuffix("\n").removesuffix("\r"))


def _line(text: str) -> str:
    """A line of a difference with all its blanks; what is not seen becomes its escape."""
    from reconciler.text.one_line import escape_unseen  # noqa: PLC0415

    return "\t".join(escape_unseen(part) for part in text.split("\t"))


def _agreed(terminal: Terminal, files: int) -> bool:
    from reconciler.cli.render.values import format_count  # noqa: PLC0415

    if not terminal.can_prompt:
        raise UsageError(
            "cannot ask whether to write this: standard input is not a terminal",
            remedy="add --yes to write without asking, or --dry-run to only show it",
        )
    return terminal.confirm(f"Write {format_count(files, 'file')}?")


class _Import(TyperCommand):
    """The command, with the options of products that packages bring: asked for where one is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse with an option for every product that is named."""
        known = {name for param in self.params for name in param.opts}
        named = dict.fromkeys(arg.partition("=")[0] for arg in args if arg.startswith("--") and arg != "--")
        more = [name.removeprefix("--") for name in named if name not in known]
        if kinds := [kind for kind in more if kind in DRIVERS]:
            whole = typer.main.get_command(_app(kinds))
            self.params, self.callback = whole.params, whole.callback
        return super().parse_args(ctx, args)


def _app(more: Iterable[str] = ()) -> typer.Typer:
    """The app of the command, with one option for each product that can be imported.

    Args:
        more: kinds beside those of the table.
    """
    kinds = [kind for kind in (*BUILT_IN, *more) if DRIVERS[kind].capabilities.imports]
    names = {f"new_{number}": kind for number, kind in enumerate(kinds)}

    def run(**given: Any) -> int:
        new = [(kind, text) for name, kind in names.items() for text in given.pop(name) or ()]
        return run_import(**given, new=new)

    hints = get_type_hints(run_import, include_extras=True)
    own = [one.replace(annotation=hints[one.name]) for one in signature(run_import).parameters.values()]
    context, folder, *rest = (one for one in own if one.name != "new")
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_option(kind))
        for name, kind in names.items()
    ]
    parameters = [context, folder, *options, *rest]
    run.__doc__ = run_import.__doc__
    vars(run)["__signature__"] = Signature(parameters)  # what typer reads
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    made = make_app()
    made.command("import", cls=_Import)(run)
    return made


def _option(kind: str) -> Any:
    driver = DRIVERS[kind]
    usual = f"A new {driver.title} cluster and its nodes' addresses; may be given more than once."
    own = driver.import_option
    return Annotated[list[str] | None, typer.Option(f"--{kind}", metavar=own.metavar, help=own.help or usual)]


app = _app()
