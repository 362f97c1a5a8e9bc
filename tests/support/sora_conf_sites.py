"""A simulated Sora cluster whose nodes have a sora.conf on their machines."""

import hashlib
from dataclasses import replace

from reconciler.desired.fleet import add_desired_state, load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora.product import SoraDriver
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.errors import NodeRefused
from reconciler.file_delivery.simulated_machines import SimulatedCommands, SimulatedFiles
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.simulated_machine import SimulatedFile, SimulatedMachine
from reconciler.ports.transport import Transports
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from support.memory_files import snapshot_of
from support.sora_clusters import WorldWire, short

FLEET = """\
clusters:
- name: live
  kind: sora
  drain: 0
  timeouts: {settle: 0.2, read: 1, in_flight: 0.2}
  conf: {source: sora.conf, file: sora-conf}
  restart: {command: restart-sora, started: {command: sora-started}}
  nodes:
"""
NODES = "".join(
    f"  - {{name: {one}@{one}.example.com, api: 'http://{one}.example.com:3000/'}}\n" for one in "abc"
)
BEFORE = "# by hand\ncluster = true\ncluster_relay = true\nother = 1\n"


def make_fleet(letters, conf, **keys):
    nodes = "".join(
        f"  - {{name: {one}@{one}.example.com, api: 'http://{one}.example.com:3000/'}}\n" for one in letters
    )
    text = FLEET + nodes
    for key, value in keys.items():
        text = text.replace("  drain: 0\n", f"  drain: 0\n  {key}: {value}\n")
    snapshot = snapshot_of({"fleet.yaml": text, "sora.conf": conf})
    commit = hashlib.sha1(f"{text}{conf}".encode(), usedforsecurity=False).hexdigest()
    snapshot = replace(snapshot, revision=replace(snapshot.revision, id=commit))
    return load_fleet(snapshot, {**DRIVERS, "sora": SoraDriver()})


class Site:
    """A simulated cluster, each of whose nodes runs on a machine with a sora.conf."""

    def __init__(self, store, letters="abc", content=BEFORE, bad="broken"):
        self.store, self.drivers = store, {**DRIVERS, "sora": SoraDriver()}
        self.bad = bad
        entry = make_fleet(letters, "cluster_relay = true\n").cluster_inputs[0].entry
        self.world = SoraWorld.from_entry(entry, converged=True)
        self.machines = {name: self._make_machine(name, content) for name in self.world.names}
        self.transports = Transports(
            WorldWire(self.world), SimulatedCommands(self.machines), files=SimulatedFiles(self.machines)
        )
        self.restarts = []

    def _make_machine(self, name, content):
        def restart(machine, values):
            self.restarts.append(short(name))
            self.world.kill(name)
            if self.bad.encode() in machine.files["sora-conf"].content:
                machine.starts += 1
                return "the unit failed"
            machine.start()
            self.world.start(name)
            return "restarted"

        def started(machine, values):
            return f"start {machine.starts}"

        made = SimulatedMachine(
            {"sora-conf": SimulatedFile(content.encode())}, {"restart-sora": restart, "sora-started": started}
        )
        made.start()
        return made

    def content(self, letter):
        return self.machines[f"{letter}@{letter}.example.com"].files["sora-conf"].content.decode()

    async def plan(self, wanted):
        return await run_plan_pass(
            add_desired_state(wanted, self.drivers),
            drivers=self.drivers,
            transports=self.transports,
            recalled=await self.store.read_memory(),
        )

    async def run(self, wanted):
        return await self.apply(await self.plan(wanted))

    async def apply(self, plan_result):
        return await run_apply_pass(
            plan_result,
            drivers=self.drivers,
            transports=self.transports,
            journal=self.store,
            run_context=RunContext(),
        )


def list_steps(plan):
    return [f"{step.action} {short(step.node)}" for step in plan.steps]


def get_states(report):
    return [(f"{one.step.action} {short(one.step.node)}", one.state.value) for one in report.outcomes]


def refuse(machine, values):
    raise NodeRefused("n", "the command failed", status=1, code="COMMAND")
