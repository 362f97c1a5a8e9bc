"""Trials of changes of Go clusters: nodes that join and leave, another secret, another certificate."""

import json
from datetime import date, timedelta

from reconciler.drivers.gocluster.desired_state import with_recalled
from reconciler.drivers.gocluster.product import GoClusterDriver
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.scenario import read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.trial import run_trial
from reconciler.simulation.addresses import find_free_addresses

TEMPLATE = """{
  "name": {{node.name}},
  "listen": {{node.addr}},
  "authKey": {{values.secret}},
  "tls": {{tls}},
  "certificate": {{values.tlsCertificate}},
  "peers": {{PEERS}},
  "settings": {{settings_ns}}
}
"""
RANDOM = "random: {faults: 5, kills: 2}\nreruns: 4\n"


def names(count):
    return [f"node-{number}" for number in range(1, count + 1)]


def tell_addr(name):
    return f"10.30.0.{name[-1]}:9654"


class Remembering(GoClusterDriver):
    """A host that knows nodes which left from earlier runs."""

    def __init__(self, left):
        super().__init__()
        self._left = left

    def with_host_config(self, config):
        return self

    def add_history(self, desired, facts, prior):
        return with_recalled(desired, {**self._left, **facts})


class GoTrials:
    """Fleets before and after a change, and trials of it."""

    def __init__(self, folder):
        self.folder = folder
        places = find_free_addresses(7)
        self.apis = {name: f"http://{place}" for name, place in zip(names(7), places, strict=True)}
        self.before = {"converged": True, "fleet": "old"}
        self.drivers = DRIVERS

    def write(self, folder, members, *, listed=(), overrides="", **more):
        """A fleet; `listed` have a file that names only each other."""
        own = {"secret": "${env:RECONCILE_SECRET_A}", "tlsCertificate": "a.pem", "peers": []}
        own |= {key: value for key, value in more.items() if key in own}
        nodes = []
        for name in members:
            node = {"name": name, "addr": tell_addr(name), "api": self.apis[name]}
            if name in listed:
                peers = [{"name": one, "addr": tell_addr(one)} for one in listed if one != name]
                node["overlays"] = [{"merge": {"peers": peers}}]
            nodes.append(node)
        cluster = {
            "name": "mesh",
            "kind": "gocluster",
            "observe": True,
            "config": {"template": "app.tmpl", "values": "values.json", "file": "app-config"},
            "restart": {"command": "restart-app", "started": {"command": "app-started"}},
            "start": {"command": "start-app"},
            "stop": {"command": "stop-app"},
            "settings": {
                "ping_interval": more.get("ping", "5s"),
                "join_delay": "50ms",
                "connect_interval": "50ms",
                "connect_timeout": "1s",
            },
            "tls": more.get("tls", False),
            "timeouts": {"read": 2, "settle": 3},
            "policy": {"max_risky": "100%"},
            "windows": [{"cron": "* * * * *", "duration": "24h", "timezone": "UTC"}],
            "nodes": nodes,
        }
        place = self.folder / folder
        place.mkdir()
        fleet = {"clusters": [cluster], **({"overrides": overrides} if overrides else {})}
        (place / "fleet.yaml").write_text(json.dumps(fleet))
        (place / "values.json").write_text(json.dumps(own))
        (place / "app.tmpl").write_text(TEMPLATE.replace("PEERS", "values.peers" if listed else "peers"))

    def join(self, count, more):
        self.write("old", names(count + more), listed=names(count))
        self.write("new", names(count + more))
        self.before["fresh"] = names(count + more)[count:]

    def leave(self, count, less):
        self.write("old", names(count))
        self.write("new", names(count - less))
        left = {
            name: {"seen": "yes", "addr": tell_addr(name), "api": self.apis[name]}
            for name in names(count)[count - less :]
        }
        self.drivers = {**DRIVERS, "gocluster": Remembering(left)}

    def change(self, count=4, **more):
        """Another value of all nodes; the approval is given in the fleet file."""
        until = (date.today() + timedelta(days=5)).isoformat()  # noqa: DTZ011  (any day of this week)
        approval = {"guard": "approval-needed", "target": "mesh", "until": until, "reason": "announced"}
        self.write("old", names(count))
        self.write("new", names(count), overrides=[approval], **more)

    def play(self, text=RANDOM, seed=0):
        """The verdict of a trial."""
        path = self.folder / "scenario.yaml"
        path.write_text(f"name: x\nfleet: new\nbefore: {json.dumps(self.before)}\n{text}")
        script = read_scenario(path)
        setup = prepare_trial(script)
        schedule = draw_schedule(script, setup.find_targets(), seed)
        return run_trial(setup, schedule, self.drivers)
