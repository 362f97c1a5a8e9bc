"""The example of an inventory: its nodes, and a stand-in of EC2 that lists them, both on loopback."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from contextlib import AsyncExitStack

from reconciler.cli.demo_fixtures import find_examples
from reconciler.cli.main import main
from reconciler.core.cloud_expressions import parse_expression
from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.inventory import Inventory, InventoryQuery
from reconciler.ports.source import Snapshot
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation
from support.cloud_servers import REGION, Ec2Server, Vm
from support.inventories import listed
from support.memory_files import json_files

TAG = "m2-edge"


def number(index: int) -> str:
    """The id of an instance."""
    return f"i-{index:017x}"


class CloudSite:
    """A management host with the example, its cloud, and its nodes, which have an older setting."""

    def __init__(self, folder, count=4):
        self.port = find_free_addresses(1)[0].port
        self.folder, self.fleet = folder, folder / "fleet"
        shutil.copytree(find_examples() / "inventory", self.fleet)
        self.replace("setting.json", "10040", str(self.port))
        self.replace("setting.json", "10.20.0.7", "127.0.0.1")
        self.host = folder / "host.yaml"
        self.cloud = Ec2Server([self.vm(index) for index in range(1, count + 1)], page=3)
        self.cloud.vms.append(Vm(number(255), "127.0.0.99", {"m2-origin": "yes"}))
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.stack = AsyncExitStack()

    def vm(self, index, address=None):
        return Vm(number(index), address or f"127.0.0.{10 + index}", {TAG: "seoul"})

    def replace(self, name, old, new):
        path = self.fleet / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def __enter__(self):
        self.thread.start()
        self.run(self._start())
        keys = self.folder / "credentials"
        keys.write_text(
            f"[default]\naws_access_key_id={self.cloud.keys.id}\naws_secret_access_key={self.cloud.keys.secret}\n"
        )
        keys.chmod(0o600)
        text = (self.fleet / "host.yaml").read_text()
        for old, new in {
            "region: eu-central-1": f"region: {REGION}",
            "/etc/reconciler/aws/credentials": str(keys),
            "networks: [10.20.0.0/16]": f"networks: [127.0.0.0/24]\n      endpoint: {self.cloud.url}",
        }.items():
            assert old in text
            text = text.replace(old, new)
        self.host.write_text(text)
        self.host.chmod(0o600)
        return self

    def __exit__(self, *_):
        self.run(self.stack.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    async def _start(self):
        await self.stack.enter_async_context(self.cloud.running())
        addresses = {vm.id.replace("-", "_"): vm.address for vm in self.cloud.vms if TAG in vm.tags}
        item = {"inventory": f"#aws:vm:tag={TAG}#:{self.port}"}
        cluster = {"name": "edge", "kind": "m2", "setting": "s.json", "nodes": [item]}
        query = InventoryQuery.of(parse_expression(f"aws:vm:tag={TAG}"))
        older = json.loads((self.fleet / "setting.json").read_text()) | {"meta": {"version": "0"}}
        snapshot = Snapshot(
            Revision("old", "0" * 40, "0"),
            json_files({"fleet.json": {"clusters": [cluster]}, "s.json": older}),
            inventory=Inventory({query: listed(**addresses)}),
        )
        self.nodes = Simulation(load_fleet(snapshot, DRIVERS), DRIVERS, converged=True)
        await self.stack.enter_async_context(self.nodes)

    def run(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(30)

    def command(self, *words, host=True, state="state"):
        """The exit status of a command about the fleet; of a dry run without `words`."""
        options = ["--host-config", str(self.host)] if host else []
        return main([*words, *options, "--state", str(self.folder / state), str(self.fleet)])
