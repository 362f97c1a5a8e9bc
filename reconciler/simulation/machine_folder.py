"""Puts the files of simulated nodes into a folder, and writes a host configuration for them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.errors import UsageError
from reconciler.ports.simulated_machine import SimulatedFile, SimulatedMachine
from reconciler.simulation import machine_call
from reconciler.simulation.machine_call import CHECK, READ, RUN
from reconciler.simulation.node_host import Simulation

HOST_FILE: Final = "host.yaml"
"""Name of the host configuration in the folder."""

_HEAD: Final = "# Written by `reconcile simulate --machines`, for nodes that forget everything when it stops."
_SAFE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.@_\-]{0,252}")
_MODE: Final = 0o600


class DiskFile(SimulatedFile):
    """A file of a simulated node whose content is that of a real file.

    Args:
        path: of the real file.
        content: that it gets.
    """

    def __init__(self, path: Path, content: bytes | None) -> None:
        self._path = path
        super().__init__(content)

    @property
    def content(self) -> bytes | None:
        """The content of the real file; None if there is none."""
        try:
            return self._path.read_bytes()
        except OSError:
            return None

    @content.setter
    def content(self, content: bytes | None) -> None:
        if content is None:
            self._path.unlink(missing_ok=True)
        else:
            self._path.touch(_MODE)
            self._path.write_bytes(content)


def lay_out_machines(simulation: Simulation, folder: Path) -> None:
    """Put all files of the nodes into a folder, and write the host configuration beside them.

    Args:
        simulation: of the nodes; they answer already.
        folder: which is made; it may be one of an earlier simulation.

    Raises:
        UsageError: it has something else in it, or cannot be written; or the nodes have neither files nor
            commands.
    """
    folder = folder.absolute()
    host_file = folder / HOST_FILE
    if not simulation.machines_url:
        raise UsageError(
            "--machines: the fleet file names no file and no command for its nodes",
            remedy="leave the option out",
        )
    try:
        is_ours = host_file.is_file() and host_file.read_text("utf-8").startswith(_HEAD)
        if folder.exists() and any(folder.iterdir()) and not is_ours:
            raise UsageError(f"--machines: {folder} is not empty", remedy="name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        for cluster in simulation.clusters:
            for node, machine in simulation.list_machines(cluster).items():
                _put_files(folder, node, machine)
        host_file.write_text("\n".join(_write_host(simulation, folder)) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--machines: cannot write {folder}: {error.strerror or error}") from error


def _put_files(folder: Path, node: str, machine: SimulatedMachine) -> None:
    if not _SAFE.fullmatch(node):
        raise UsageError(f"--machines: {node!r} cannot be the name of a folder", remedy="rename the node")
    own = folder / node
    own.mkdir(exist_ok=True)
    for entry, file in machine.files.items():
        for beside in own.glob(f".{entry}.reconciler-*"):
            beside.unlink()
        machine.files[entry] = DiskFile(own / entry, file.content)


def _write_host(simulation: Simulation, folder: Path) -> Iterator[str]:
    """The lines of the host configuration."""
    program = [sys.executable, "-m", machine_call.__name__, simulation.machines_url]
    machines = [one for name in simulation.clusters for one in simulation.list_machines(name).values()]
    yield _HEAD
    yield f"state: {json.dumps(str(folder / '.state'))}"
    if entries := sorted({entry for machine in machines for entry in machine.files}):
        yield "files:"
        for entry in entries:
            check = json.dumps([*program, CHECK, entry, "{file}"])
            yield f"  {entry}: {{path: {json.dumps(f'{folder}/{{node}}/{entry}')}, check: {check}}}"
    if simulation.commands:
        yield "commands:"
        for name, known in sorted(simulation.commands.items()):
            values = [f"{key}={{{key}}}" for key in known.placeholders]
            run = json.dumps([*program, READ if known.reads else RUN, name, "{node}", *values])
            yield f"  {name}: {{run: {run}{', reads: true' if known.reads else ''}}}"
