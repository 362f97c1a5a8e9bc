"""`reconcile simulate`: serve simulated nodes of a fleet, or write a generated fleet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.options import FIRESTORE_EMULATOR, HostOptions, add_command, format_columns, make_app
from reconciler.core.bus_channels import BusKind
from reconciler.core.endpoint import InvalidAddress, SocketAddress, is_loopback_host, parse_endpoint
from reconciler.descriptions.values import format_count
from reconciler.drivers.registry import BUILT_IN, DEFAULT_KIND, DRIVERS
from reconciler.errors import UsageError
from reconciler.simulation.faults import MEANING, Fault, parse_fault
from reconciler.simulation.products import FIRST, generate_fleet
from reconciler.text.one_line import make_one_line

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet
    from reconciler.host.host import Host
    from reconciler.ports.node_store import NodeTokens
    from reconciler.simulation.node_host import Share, Simulation
    from reconciler.store.factory import StorePlace

app = make_app()

EPILOG = f"""\b
Faults (NAME is a node or a cluster; @reads or @changes: only for such requests; @calls: for what the node
sends by itself; *COUNT: only so many times):
{format_columns({str(kind): meaning for kind, meaning in MEANING.items()})}

\b
Faults at run time, with --control 127.0.0.1:8650:
  curl 127.0.0.1:8650/nodes
  curl 127.0.0.1:8650/faults -d '{{"node": "edge-01", "fault": "slow", "argument": 2, "count": 3}}'
  curl 127.0.0.1:8650/faults -X DELETE
  curl 127.0.0.1:8650/calls"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOptions:
    """Options of a run of the reconciler against nodes, while faults happen."""

    faults: Annotated[
        Path | None,
        typer.Option(
            metavar="SCENARIO",
            help="Run the reconciler against the nodes with the faults of this scenario, and judge it.",
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="With --faults: seed of the random choices.")
    ] = None
    runs: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --faults: number of fault schedules to draw.")
    ] = 1

    def run(self, folder: Path) -> int:
        """Run it, with the fleet in a folder or the one of the scenario; gives the exit status."""
        from reconciler.cli.fault_trials import run_fault_trials
        from reconciler.cli.terminal import Terminal

        assert self.faults is not None
        fleet = None if folder == Path() else folder
        return run_fault_trials(self.faults, fleet, seed=self.seed, runs=self.runs, terminal=Terminal.here())


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedFleetOptions:
    """Options of a generated fleet."""

    write: Annotated[
        bool, typer.Option("--write", help="Write a generated fleet into FOLDER instead of serving one.")
    ] = False
    kind: Annotated[
        str, typer.Option(metavar="KIND", help=f"With --write: product, {' or '.join(sorted(BUILT_IN))}.")
    ] = DEFAULT_KIND
    nodes: Annotated[int, typer.Option(metavar="N", min=1, help="With --write: number of nodes.")] = 3
    first: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="With --write: address of the first node. From 127.0.0.1, each next node has the next port; "
            "from any other 127.x.y.z, the next address.",
        ),
    ] = str(FIRST)
    poll: Annotated[
        str,
        typer.Option(
            metavar="URL", help="With --write: nodes without addresses, which poll the watch at this URL."
        ),
    ] = ""

    def write_fleet(self, folder: Path) -> None:
        """Write the fleet into a folder, and say how to serve it; overwrite nothing."""
        from reconciler.cli.file_writer import write_texts

        first = _parse_address("--first", self.first)
        files = generate_fleet(self.kind, self.nodes, DRIVERS, first, server=self.poll)
        if existing := next((name for name in files if (folder / name).exists()), None):
            raise UsageError(f"{folder / existing} already exists", remedy="choose a folder without a fleet")
        write_texts(folder, files)
        count = format_count(self.nodes, "node")
        typer.echo(f"wrote {count} to {folder}; serve them with: reconcile simulate {folder}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """Options of how nodes are at the start, and what they do."""

    converged: Annotated[
        bool, typer.Option("--converged", help="Start with nodes that already have their desired state.")
    ] = False
    fresh: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE",
            help="With --converged: a node that starts empty; may be given more than once.",
        ),
    ] = None
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=KIND[:ARGUMENT][@ON][*COUNT]",
            help="A fault from the start; may be given more than once.",
        ),
    ] = None
    choice: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND.OPTION=VALUE",
            help="Behaviour of nodes that product documents leave open; may be given more than once.",
        ),
    ] = None

    @property
    def is_given(self) -> bool:
        """Whether one of them is given."""
        return bool(self.converged or self.fresh or self.fault or self.choice)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOptions:
    """Options of which nodes run in this process, from where they call, and what of them is on disk."""

    part: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="Simulate the I-th of N parts of the nodes: several processes for a large fleet.",
        ),
    ] = "1/1"
    sources: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=10_000,
            help="Number of loopback addresses from which nodes without an address call: one has too few "
            "ports for ten thousand nodes.",
        ),
    ] = 1
    install: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Packages to install by hand at the start: NODE.tgz of `reconcile enroll`."
        ),
    ] = None
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Append a line of JSON for each report that the central server acknowledged."
        ),
    ] = None
    machines: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Put the files of the nodes into DIR, and write DIR/host.yaml: a host configuration for "
            "these files, and for the commands that the fleet file names.",
        ),
    ] = None
    state: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="With --converged: state folder or database of the watch that the nodes poll; it has their "
            "tokens.",
        ),
    ] = None

    @property
    def share(self) -> Share:
        """The part of the nodes that this process simulates.

        Raises:
            UsageError: it is no part.
        """
        from reconciler.simulation.node_host import Share

        part, slash, parts = self.part.partition("/")
        if not slash or not part.isdecimal() or not parts.isdecimal() or not 1 <= int(part) <= int(parts):
            raise UsageError(
                f"--part must be I/N, got {self.part!r}", remedy="for example 1/4, 2/4, 3/4 and 4/4"
            )
        return Share(int(part) - 1, int(parts))


@add_command(app, epilog=EPILOG)
def run_simulate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with the fleet file.")] = Path(),
    *,
    start: NodeOptions,
    trial: TrialOptions,
    control: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Accept faults at run time on this address, over HTTP.")
    ] = "",
    ready_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write this file when all nodes answer; removed at the end."),
    ] = None,
    generated: GeneratedFleetOptions,
    place: PlaceOptions,
    host_options: HostOptions,
) -> int:
    """Serve all nodes of the fleet file in FOLDER on this machine, at the addresses in the file.

    The nodes use their products' wire formats, follow their products' rules and forget everything when they
    stop. Only addresses of this machine (127.0.0.0/8, ::1, localhost) are served. Nodes poll, report and send
    heartbeats as their settings ask for it, only to such addresses. A node that polls and has no address
    starts in factory state: it needs an installed package, or --converged with --state.

    With --machines, nodes have files and commands, too: try them with reconcile --host-config DIR/host.yaml.

    With --faults, runs the reconciler against the nodes while the faults of the scenario happen. The exit
    status is 0 if all invariants held, else 1. FOLDER then replaces the fleet that the scenario names.
    """
    if trial.faults is None and (trial.seed is not None or trial.runs != 1):
        raise UsageError(
            "--seed and --runs work only with --faults", remedy="add --faults SCENARIO, or leave them out"
        )
    if trial.faults is not None:
        given = (start.is_given, control, ready_file, place.machines, generated.write)
        if any(given):
            raise UsageError(
                "with --faults, the scenario file decides about nodes and faults",
                remedy="give no other option than --seed and --runs, or change the scenario file",
            )
        return trial.run(folder)
    if generated.write:
        generated.write_fleet(folder)
        return 0
    if place.machines and place.part != "1/1":
        raise UsageError(
            "--machines works only for a fleet in one process", remedy="leave --part or --machines out"
        )
    from reconciler.host import aio
    from reconciler.simulation.products import parse_choices

    served = _serve(
        folder,
        host_options.read_host(str(folder)),
        place,
        faults=[parse_fault(text) for text in start.fault or ()],
        control=_parse_address("--control", control) if control else None,
        ready_file=ready_file,
        share=place.share,
        converged=start.converged,
        fresh=tuple(start.fresh or ()),
        choices=parse_choices(start.choice or (), DRIVERS),
    )
    aio.run_until_signal(served)
    return 0


async def _serve(
    folder: Path,
    host: Host,
    place: PlaceOptions,
    *,
    faults: Sequence[tuple[str, Fault]],
    control: SocketAddress | None,
    ready_file: Path | None,
    **settings: Any,
) -> None:
    """Serve until the first SIGINT or SIGTERM; `settings` are those of `Simulation`."""
    from reconciler.cli.state_folder import find_state
    from reconciler.cli.terminal import catch_stop_signal
    from reconciler.desired.fleet import load_fleet
    from reconciler.host.extras import import_extra
    from reconciler.secrets.local_resolver import LocalResolver
    from reconciler.simulation.call_sender import CallSender
    from reconciler.simulation.fault_control import FaultControl
    from reconciler.simulation.machine_folder import lay_out_machines
    from reconciler.simulation.node_host import Simulation
    from reconciler.sources.folder import FolderSource

    fleet = load_fleet(await FolderSource(folder).snapshot(), DRIVERS, LocalResolver(host))
    for one in fleet.cluster_inputs:
        if one.unread is not None:
            raise UsageError(
                f"the nodes of {one.entry.name} come from an inventory, so that there is nothing to simulate",
                remedy="list its nodes at addresses of this machine in a copy of the fleet file",
            )
    if _uses_kafka(fleet):  # before the start: else nodes would be silent, and nobody would know why
        import_extra("confluent_kafka", "kafka", "Simulated nodes that use Kafka")
    tokens = await _read_tokens(find_state(host, place.state).store, folder, fleet) if place.state else {}
    starts = int(datetime.now(UTC).timestamp())
    simulation = Simulation(fleet, DRIVERS, tokens=tokens, starts=starts, **settings)
    async with AsyncExitStack() as stack:
        # Before the nodes: a signal while they start must stop them in order, or their ports stay taken.
        stop = stack.enter_context(catch_stop_signal(lambda: None))
        await stack.enter_async_context(simulation)
        emulator = _read_emulator(host.environment)
        sender = CallSender(simulation, emulator=emulator, sources=place.sources, record=place.record)
        await stack.enter_async_context(sender)
        if control:
            await stack.enter_async_context(FaultControl(simulation, control, sender))
        if place.machines:
            lay_out_machines(simulation, place.machines)
        if place.install:
            await _install_packages(simulation, place.install)
        # Before the announcement: a program that waits for it must meet the faults with its first request.
        for name, fault in faults:
            await simulation.add(name, fault)
        nodes = format_count(len(simulation.names), "node")
        clusters = format_count(len(fleet.cluster_inputs), "cluster")
        stack.enter_context(_announce_ready(f"ready: {nodes} of {clusters}; stop with Ctrl-C", ready_file))
        await stop.wait()
    typer.echo("stopped")


def _read_emulator(environment: Mapping[str, str]) -> SocketAddress | None:
    """The emulator of Firestore that simulated nodes call; None without one."""
    text = environment.get(FIRESTORE_EMULATOR, "")
    if not text:
        return None
    try:
        place = parse_endpoint(text)
    except InvalidAddress:
        place = None
    if place is None or not place.port or not is_loopback_host(place.host):
        raise UsageError(
            f"{FIRESTORE_EMULATOR} is {make_one_line(text, 100)!r}, which is no address of this machine",
            remedy="write an address such as 127.0.0.1:8080",
        )
    return SocketAddress(place.host, place.port)


def _uses_kafka(fleet: Fleet) -> bool:
    """Whether a setting of the fleet names a topic."""
    return any(
        named.channel.kind is BusKind.KAFKA
        for one in fleet.cluster_inputs
        for named in DRIVERS[one.entry.kind].list_bus_channels(one)
    )


async def _read_tokens(state: StorePlace, folder: Path, fleet: Fleet) -> dict[str, Mapping[str, NodeTokens]]:
    """Cluster -> the tokens of its nodes, from the state of the watch that they poll."""
    from reconciler.desired.fleet import add_desired_state
    from reconciler.store.factory import open_reader

    with open_reader(state) as reader:
        known = await reader.fleets()
        source = _normalise_folder(folder)
        fitting = [one.number for one in known if source in one.sources] or [one.number for one in known]
        if len(fitting) != 1:
            raise UsageError(
                f"the state {state} has {format_count(len(known), 'fleet')}, and none of this folder",
                remedy="start the watch with this folder first, or name its state folder",
            )
        nodes = reader.select_fleet(fitting[0])
        found: dict[str, Mapping[str, NodeTokens]] = {}
        for one in add_desired_state(fleet, DRIVERS).desired:
            entry = one.cluster_input.entry
            calling = DRIVERS[entry.kind].list_reporting_nodes(one.state)
            found[entry.name] = await nodes.tokens(entry.name, calling) if calling else {}
        return found


def _normalise_folder(folder: Path) -> str:
    from reconciler.core.fleet_matching import normalise_source

    return normalise_source(str(folder.resolve()))


async def _install_packages(simulation: Simulation, folder: Path) -> None:
    for node in simulation.names:
        package = folder / f"{node}.tgz"
        if package.exists():
            await simulation.install(node, package.read_bytes())


@contextmanager
def _announce_ready(message: str, file: Path | None) -> Iterator[None]:
    """Say on the terminal that all nodes answer, and by a file that is removed at the end."""
    if file:
        try:
            file.write_text(message + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--ready-file: cannot write {file}: {error.strerror or error}") from error
    typer.echo(message)
    try:
        yield
    finally:
        if file:
            file.unlink(missing_ok=True)


def _parse_address(option: str, text: str) -> SocketAddress:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise UsageError(f"{option} must be HOST:PORT, got {text!r}", remedy="for example 127.0.0.1:8650")
    return SocketAddress(host.strip("[]"), int(port))
