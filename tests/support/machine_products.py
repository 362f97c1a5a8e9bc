"""A repository with a Collaboration Server cluster and a Go cluster, whose files are on this machine."""

import json
import shutil
from pathlib import Path

import yaml

from reconciler.simulation.addresses import find_free_addresses
from support.commands import run_program
from support.git_repositories import Repository

EXAMPLE = Path(__file__).parents[2] / "examples" / "products"

LOGGING = "collab/config.json"
LEVEL = "scores/values.yaml"


class ProductsSite:
    """The clusters `collab` and `scores` of the example with all products; both are as desired at first.

    Attributes:
        source: path of the repository.
        machines: node -> folder with its files.
    """

    def __init__(self, folder, nodes, capsys):
        self.folder, self.capsys = folder, capsys
        shutil.copytree(EXAMPLE, folder / "repo")
        fleet = yaml.safe_load((folder / "repo" / "fleet.yaml").read_text())
        self.fleet = {
            **fleet,
            "clusters": [one for one in fleet["clusters"] if one["name"] in {"collab", "scores"}],
        }
        for one in self.fleet["clusters"]:
            if one["name"] == "scores":  # each reading leaves a lock, which its notes say
                one["timeouts"] = {"settle": 5}
        self._move()
        self.write()
        self.repository = Repository.make(folder / "repo", {})
        self.source, self.machines = str(folder / "repo"), folder / "machines"
        self.hosts = nodes
        self.simulation = nodes.serve(folder / "repo", converged=True, machines=self.machines)
        self.apply()

    def _move(self):
        """Free ports for all nodes."""
        collab, scores = self.fleet["clusters"]
        servers, parts = collab["nodes"], (collab["redis"], collab["loadBalancer"])
        free = [one.port for one in find_free_addresses(len(servers) + len(parts) + len(scores["nodes"]))]
        for node in servers:
            node["port"] = free.pop()
            node["overlays"] = [{"merge": {"port": node["port"]}}]
        redis, balancer = parts
        redis["port"] = free.pop()
        balancer["url"] = f"http://127.0.0.1:{free.pop()}"
        for node in scores["nodes"]:
            node["api"] = f"http://127.0.0.1:{free.pop()}"
        folder = self.folder / "repo" / "collab"
        config = json.loads((folder / "config.json").read_text())
        config["authorizationServerUrl"] = f"{balancer['url']}/api"
        config["redisServerUrl"] = f"redis://127.0.0.1:{redis['port']}"
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        keys = yaml.safe_load((folder / "redis.yaml").read_text())
        (folder / "redis.yaml").write_text(yaml.safe_dump({**keys, "port": redis["port"]}))

    def write(self, **more):
        """Write the fleet file, with other keys at its top."""
        (self.folder / "repo" / "fleet.yaml").write_text(yaml.safe_dump({**self.fleet, **more}))

    def run(self, *arguments, status=0):
        host = ("--state", self.folder / "state", "--host-config", self.machines / "host.yaml")
        told = run_program(self.capsys, *arguments, *host, status=status)
        return " ".join(told.split())

    def apply(self, *more, status=0):
        return self.run(self.source, "--yes", *more, status=status)

    def plan(self, *more, status=0):
        return self.run(self.source, "--dry-run", *more, status=status)

    def commit(self, *, logging=None, level=None, **more):
        """Commit other values; `more`: keys at the top of the fleet file."""
        repository = self.folder / "repo"
        if logging is not None:
            config = json.loads((repository / LOGGING).read_text())
            (repository / LOGGING).write_text(json.dumps({**config, "logging": logging}, indent=2))
        if level is not None:
            (repository / LEVEL).write_text(f"level: {level}\n")
        self.write(**more)
        return self.repository.commit({})

    def edit(self, node, entry, old, new):
        """Somebody edits a file on a machine."""
        path = self.machines / node / entry
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def stop(self, node):
        self.hosts.kill(self.simulation, node)

    def read(self, node, entry):
        return (self.machines / node / entry).read_text()

    def nodes(self):
        """Node -> its state, and its drift, as the status says."""
        clusters = json.loads(self.run("status", self.source, "--format", "json"))["clusters"]
        return {node["node"]: (node["state"], node["drift"]) for one in clusters for node in one["nodes"]}
