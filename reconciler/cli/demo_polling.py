"""The part of the demonstration with nodes that poll: a watch, a rollout, and a canary that is taken back."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from reconciler.cli.demo_fixtures import DemoNodes, DemoRepository
    from reconciler.host.subprocesses import Process

NODES: Final = ("edge-01", "edge-02", "edge-03")

PATIENCE: Final = 60
"""Seconds that anything may take."""


class PolledDemo:
    """Three nodes that poll a watch of their own.

    Args:
        folder: for everything that it writes.
        nodes: serves the simulated nodes.
    """

    def __init__(self, folder: Path, nodes: DemoNodes) -> None:
        from reconciler.cli.demo_fixtures import DemoRepository, find_examples  # noqa: PLC0415  (heavy)

        folder.mkdir()
        self.state = folder / "state"
        self._folder = folder
        self.repository: DemoRepository = DemoRepository(folder / "polled", find_examples() / "polled")
        # A demonstration does not last for several polls of a quarter of a minute.
        self.repository.edit("fleet.yaml", lambda text: text.replace("15s", "1s").replace("60s", "4s"))
        self.send_heartbeats("* * * * * *")
        self.first = self.repository.commit("Three nodes that poll")
        self._fleet = nodes.serve(self.repository.folder, calls=True)
        (folder / "host.yaml").write_text(json.dumps({"nodes": {"listen": self._find_server()}}))
        self._log = folder / "watch.log"
        self._process: Process | None = None

    def _find_server(self) -> str:
        text = (self.repository.folder / "fleet.yaml").read_text(encoding="utf-8")
        return text.split('server: "http://')[1].split('"')[0]

    def send_heartbeats(self, schedule: str) -> None:
        """Edit the setting: when nodes send heartbeats."""

        def change(text: str) -> str:
            setting = json.loads(text)
            feedback = {"type": "apiPolling", "info": {"schedule": schedule}}
            features = {"heartbeat": {"enable": True, "feedback": feedback}}
            setting["env"]["management"]["server"] = {"enable": True, "features": features}
            return json.dumps(setting, indent=2) + "\n"

        self.repository.edit("edge/setting.json", change)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """A watch in a process of its own, within the block."""
        from reconciler.host.control_socket import VARIABLE  # noqa: PLC0415  (heavy)
        from reconciler.host.subprocesses import QUIET, kill_group, start_program  # noqa: PLC0415

        command = [
            *(sys.executable, "-m", f"{__package__}.main", "watch", str(self.repository.folder)),
            *("--state", str(self.state), "--host-config", str(self._folder / "host.yaml")),
            # Another watch of this machine may have the port of its pages.
            *("--poll", "0.5s", "--interval", "1s", "--listen", "off"),
        ]
        runtime = self._folder / "runtime"
        runtime.mkdir()
        # A socket folder of its own, so that no command of this host takes it for the host's watch.
        environment = {**os.environ, VARIABLE: str(runtime)}
        with self._log.open("wb") as log:
            process = self._process = start_program(
                command, environment=environment, stdin=QUIET, stdout=QUIET, stderr=log.fileno()
            )
        try:
            yield
            process.terminate()
            process.wait(PATIENCE)
        finally:
            kill_group(process)

    def describe_end(self) -> str:
        """Why the watch has ended; empty while it runs."""
        if self._process is None or self._process.poll() is None:
            return ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() or ["nothing in its log"]
        return f"the watch has ended: {lines[-1]}"

    def versions(self) -> dict[str, Any]:
        """Node -> the version of the setting that it runs."""
        world = self._fleet.world("edge")
        return {node: world.state(node).running["meta"]["version"] for node in NODES}

    def wait_until_settled(self) -> None:
        """Wait until the watch has seen what became of its latest offers."""
        from reconciler.store.factory import open_reader  # noqa: PLC0415  (heavy)

        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with open_reader(self.state) as reader:
                newest = asyncio.run(reader.runs(1))[0]
            if newest.exit_status == 0:
                return
            time.sleep(0.2)

    def wait_until(self, condition: Callable[[dict[str, Any]], bool]) -> bool:
        """Whether the versions of the nodes fulfil a condition in time."""
        end = time.monotonic() + PATIENCE
        while not condition(self.versions()):
            if time.monotonic() > end or self.describe_end():
                return False
            time.sleep(0.05)
        return True
