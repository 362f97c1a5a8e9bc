"""Fixtures of the demonstration: a git repository, simulated nodes in a thread, and a feedback sink."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Collection, Coroutine
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from reconciler.errors import StateError
from reconciler.text.one_line import SHORT_ID

if TYPE_CHECKING:
    from reconciler.host.host import Host

T = TypeVar("T")

_AUTHOR = (("user.name", "Demo"), ("user.email", "demo@example.com"))
_PORT = re.compile(r"(?:(?<=127\.0\.0\.1:)|(?<=port: ))1\d{4}\b")
"""A port of a node in the fleet file of an example."""


def find_examples() -> Path:
    """The folder of examples: inside an installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    candidates = (package / "_examples", package.parent / "examples")
    found = next((folder for folder in candidates if folder.is_dir()), None)
    if found is None:
        raise StateError("the examples are not installed", remedy="reinstall reconciler, or clone it")
    return found


class DemoRepository:
    """A git repository of desired state, made from an example.

    Args:
        folder: where to create it.
        example: the folder with its first files; every port of a node in the fleet file is replaced by one
            that is free on this machine, there and in the other files.
    """

    def __init__(self, folder: Path, example: Path) -> None:
        from reconciler.simulation.addresses import find_free_addresses  # noqa: PLC0415  (heavy)
        from reconciler.sources.git import command  # noqa: PLC0415

        shutil.copytree(example, folder)
        self.folder = folder
        settings = command.GitSettings.local(os.environ, command.GitDirectory(str(folder / ".git")))
        variables, verbs = {"GIT_WORK_TREE": str(folder)}, frozenset({"add", "commit"})
        settings = settings.extend(*_AUTHOR, variables=variables, folder=str(folder), verbs=verbs)
        self._git = command.Git(settings=settings)
        self._git.run("init", "--quiet", "--template=")  # without the hooks of this user
        self._spare = iter(find_free_addresses(32))
        fleet = (folder / "fleet.yaml").read_text(encoding="utf-8")
        ports = {port: self.spare().rpartition(":")[2] for port in _PORT.findall(fleet)}
        named = re.compile(rf"\b({'|'.join(ports)})\b")
        for suffix in ("yaml", "json"):
            for path in folder.rglob(f"*.{suffix}"):
                name = str(path.relative_to(folder))
                self.edit(name, lambda text: named.sub(lambda found: ports[found[0]], text))

    def spare(self) -> str:
        """Another `host:port` that is free."""
        return str(next(self._spare))

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Change the text of one file."""
        path = self.folder / name
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    def commit(self, title: str) -> str:
        """Commit all changes; gives the short id."""
        self._git.run("add", "--all")
        self._git.run("commit", "--quiet", "--message", title)
        return self.head

    @property
    def head(self) -> str:
        """The short id of the newest commit."""
        return self._git.run("rev-parse", "HEAD").decode()[:SHORT_ID]


class DemoNodes:
    """Simulated nodes of a fleet, served by a thread of their own within the block.

    Args:
        host: has the values of secrets; None for the environment of the process.
    """

    def __init__(self, host: Host | None = None) -> None:
        from reconciler.host.environment import Environment  # noqa: PLC0415  (--help stays quick)
        from reconciler.host.host import Host  # noqa: PLC0415

        self._host = host or Host(environment=Environment(os.environ))
        # A loop of their own in a thread of their own: each command runs and ends its own loop in this one.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._running: list[Any] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        for one in reversed(self._running):
            self.run_on_loop(one.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def serve(
        self,
        folder: Path,
        *,
        converged: bool = False,
        fresh: Collection[str] = (),
        calls: bool = False,
        machines: Path | None = None,
    ) -> Any:
        """Serve all nodes of the fleet file in a folder; gives the simulation.

        Args:
            folder: where the fleet file is.
            converged: whether the nodes start with their desired state.
            fresh: with `converged`, nodes that start empty.
            calls: whether the nodes also poll and report by themselves.
            machines: where to put the files of the nodes, and a host configuration for their commands.
        """
        from reconciler.desired.fleet import load_fleet  # noqa: PLC0415  (heavy)
        from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
        from reconciler.secrets.local_resolver import LocalResolver  # noqa: PLC0415
        from reconciler.simulation.call_sender import CallSender  # noqa: PLC0415
        from reconciler.simulation.machine_folder import lay_out_machines  # noqa: PLC0415
        from reconciler.simulation.node_host import Simulation  # noqa: PLC0415
        from reconciler.sources.locate import locate_source  # noqa: PLC0415

        source = locate_source(str(folder), cache=folder / ".git")
        fleet = load_fleet(self.run_on_loop(source.snapshot()), DRIVERS, LocalResolver(self._host))
        simulation = Simulation(fleet, DRIVERS, converged=converged, fresh=fresh)
        self.run_on_loop(simulation.__aenter__())
        self._running.append(simulation)
        if machines:
            lay_out_machines(simulation, machines)
        if calls:
            sender = CallSender(simulation)
            self.run_on_loop(sender.__aenter__())
            self._running.append(sender)
        return simulation

    def kill(self, simulation: Any, node: str) -> None:
        """Stop a node for the rest of the demonstration."""
        self.run_on_loop(simulation.fault(node, "killed"))

    def run_on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop of the nodes' thread; gives its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)


class DemoSink:
    """A local HTTP server that keeps every feedback message that it receives."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        kept = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                kept.append(json.loads(self.rfile.read(length)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                """Log nothing: the demonstration shows the messages itself."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The URL for POSTs of messages."""
        return f"http://127.0.0.1:{self._server.server_port}/feedback"
