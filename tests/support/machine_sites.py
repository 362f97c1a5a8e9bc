"""A fleet served by `reconcile simulate --machines`, and `reconcile` on it."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from reconciler.simulation.addresses import find_free_addresses
from support.commands import run_process
from support.waiting import block_until

RECONCILE = str(Path(sys.executable).parent / "reconcile")

FLEET = """\
clusters:
  - name: live
    kind: sora
    initialise: true
    drain: 0
    conf: {{source: sora.conf, file: sora-conf}}
    restart: {{command: restart-sora, started: {{command: sora-started}}}}
    version: 2024.2.0
    stop: {{command: stop-sora}}
    upgrade: {{command: upgrade-sora}}
    start: {{command: start-sora}}
    timeouts: {{settle: 5, in_flight: 1}}
    nodes:
{nodes}"""


class MachineSite:
    """A fleet, and the simulation that serves it."""

    def __init__(self, folder):
        self.folder, self.machines = folder, folder / "machines"
        self.fleet = folder / "fleet"
        self.fleet.mkdir()
        names = (f"node-0{number}@sora-0{number}.example.com" for number in (1, 2, 3))
        self.addresses = dict(zip(names, find_free_addresses(3), strict=True))
        rows = (f'      - {{name: {name}, api: "http://{at}/"}}\n' for name, at in self.addresses.items())
        (self.fleet / "fleet.yaml").write_text(FLEET.format(nodes="".join(rows)))
        self.commit("cluster_relay = true\n")

    def commit(self, conf):
        (self.fleet / "sora.conf").write_text(conf)

    @contextmanager
    def simulated(self, *options):
        ready = self.folder / "ready"
        arguments = ["simulate", "--machines", self.machines, "--ready-file", ready, *options, self.fleet]
        with subprocess.Popen([RECONCILE, *map(str, arguments)], stdout=subprocess.DEVNULL) as process:
            try:
                block_until(ready.exists, seconds=30)
                yield self
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=30) == 0

    def run(self, *arguments):
        host = ("--host-config", self.machines / "host.yaml")
        return run_process(RECONCILE, *arguments, *host, self.fleet, cwd=self.folder)

    def confs(self):
        return [(self.machines / name / "sora-conf").read_text() for name in self.addresses]
