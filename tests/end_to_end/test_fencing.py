"""A run that was stopped in the middle and wakes up after a later one writes nothing any more."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from support.m2_settings import managed_setting, upload
from support.waiting import block_until

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses
from reconciler.store.factory import open_store

FLEET = """clusters:
  - name: edge
    kind: m2
    setting: s.json
    concurrency: 1
    timeouts: {{settle: 5}}
    nodes:
      - {{name: n0, address: '{0}'}}
      - {{name: n1, address: '{1}'}}
"""


class Site:
    """A folder of desired state, its nodes, and the state that two processes share."""

    def __init__(self, folder, nodes):
        self.fleet, self.state, self.nodes = folder / "fleet", folder / "state", nodes
        self.fleet.mkdir()
        self.places = [str(place) for place in find_free_addresses(2)]
        (self.fleet / "fleet.yaml").write_text(FLEET.format(*self.places))
        (self.fleet / "s.json").write_text(managed_setting(version="1"))
        self.simulation = nodes.serve(self.fleet, converged=True)

    @property
    def arguments(self):
        return [str(self.fleet), "--yes", "--state", str(self.state)]

    def start(self):
        command = [sys.executable, "-m", "reconciler.cli.main", *self.arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command, text=True, **pipes)

    def changes(self):
        return [call.node for call in self.simulation.calls(changes=True)]

    def give(self, node, version):
        """Somebody delivers a setting to a node."""
        place = self.places[int(node[1])]
        upload(place, managed_setting(version=version))


@pytest.fixture
def site(tmp_path):
    with DemoNodes() as nodes:
        yield Site(tmp_path, nodes)


def test_a_process_that_stood_still_finds_itself_fenced_before_its_next_write(site, capsys):
    (site.fleet / "s.json").write_text(managed_setting(version="2"))
    site.nodes.run_on_loop(site.simulation.fault("n0", "slow", 4, on="changes", count=1))
    with site.start() as old:
        try:
            block_until(lambda: site.changes() == ["n0"])
            old.send_signal(signal.SIGSTOP)
            assert site.changes() == ["n0"]

            assert main(site.arguments) == 1
            assert "is being changed by process" in capsys.readouterr().err
            for lock in (site.state / "locks").iterdir():
                lock.unlink()
            assert main(site.arguments) == 0
            assert site.changes() == ["n0", "n1"]

            site.give("n1", "1")  # as the old plan expects to find it
            before = site.changes()
            old.send_signal(signal.SIGCONT)
            said, _ = old.communicate(timeout=30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(old.pid, signal.SIGCONT)
                old.kill()
    assert old.returncode == 1
    assert "a later run took over" in said
    assert "[fenced]" in said
    assert site.changes() == before
    assert re.search(r'"version": ?"1"', _shown(site.places[1]))


def _shown(place):
    with urllib.request.urlopen(f"http://{place}/setting/setting.json", timeout=10) as answer:
        return answer.read().decode()


async def test_epochs_only_ever_rise(tmp_path):
    seen = []
    for cluster in ("a", "b", "a"):
        with open_store(tmp_path) as store:
            async with store.lock(cluster):
                seen.append(store._epochs[0, cluster])
            assert store._epochs == {}
    assert seen == [1, 2, 3]
