"""`reconcile demo`: a demonstration on this machine, over real HTTP; every step is checked."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer

from reconciler.cli.options import add_command, make_app
from reconciler.cli.output_choices import CHOICES
from reconciler.errors import ReconcilerError

app = make_app()

NODE = '      - {{name: node-{0:02}@sora-{0:02}.example.com, api: "http://{1}/"}}\n'
SPARE = (4, 5, 6)
"""Numbers of the Sora nodes that run from the start and are registered later."""

Everything = Annotated[
    bool, typer.Option("--all", help="Show all products, too: their files, restarts and memberships.")
]

Kept = Annotated[
    bool,
    typer.Option(
        "--keep", help="At the end, keep the nodes and show the fleet in a browser until it is interrupted."
    ),
]


class DemoFailure(ReconcilerError):
    """A check of the demonstration failed."""


@add_command(app)
def run_demo(*, everything: Everything = False, keep: Kept = False) -> int:
    """Show the main functions on simulated nodes: plan, apply, membership, refusal, feedback, polls, history.

    Creates a git repository in a temporary folder and serves its nodes on 127.0.0.1; touches nothing else.
    Checks every step on the nodes themselves; the exit status is 0 only if all checks passed.
    """
    from reconciler.cli.demo_fixtures import DemoNodes, DemoSink

    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="reconcile-demo-") as folder,
        DemoNodes() as nodes,
        DemoSink() as sink,
    ):
        demo = _Demo(Path(folder), nodes, sink, no_color=CHOICES.get().no_color)
        demo.set_up()
        demo.dry_run()
        demo.apply()
        demo.change_settings()
        demo.register_nodes()
        demo.replace_node()
        demo.refuse_plan()
        demo.show_messages_and_history()
        demo.roll_out_by_polls()
        if everything:
            demo.converge_all_products()
        typer.echo(f"\nAll {demo.checked} checks passed in {time.monotonic() - began:.0f} seconds.")
        if keep:
            return demo.show_dashboard()
    typer.echo(
        "Next:\n"
        "  reconcile demo --keep                                   look at the fleet in a browser\n"
        "  reconcile simulate --kind m2 --nodes 50 --write fleet   write a fleet of your own\n"
        "  reconcile simulate fleet                                serve it, in another terminal\n"
        "  reconcile --dry-run fleet                               see what would happen\n"
        "  reconcile fleet                                         apply it"
    )
    return 0


class _Demo:
    """The parts of the demonstration; each runs the program as a user would and checks the result."""

    def __init__(self, folder: Path, nodes: Any, sink: Any, *, no_color: bool) -> None:
        from reconciler.cli.demo_fixtures import DemoRepository, find_examples

        self.checked = 0
        self._part = 0
        self._nodes = nodes
        self._sink = sink
        self._options = ["--state", str(folder / "state"), *(["--no-color"] if no_color else [])]
        self._first_options = tuple(self._options)
        self._folder = folder
        self._repository = DemoRepository(folder / "fleet", find_examples() / "demo")
        self._spare = {number: self._repository.spare() for number in SPARE}

    def set_up(self) -> None:
        """Create a repository, and start nodes that have nothing of it yet."""
        self._title("A repository of desired state, and nine empty nodes")
        feedback = f"feedback: {{url: {self._sink.url}}}\n\nclusters:"
        self._repository.edit("fleet.yaml", lambda text: text.replace("clusters:", feedback, 1))
        self._tell(f"commit {self._repository.commit('The fleet as it should be')}")
        # From a copy with all nodes: machines run before a commit registers them.
        machines = shutil.copytree(self._repository.folder, self._folder / "machines")
        fleet_file = machines / "fleet.yaml"
        fleet_file.write_text(
            self._with_nodes(fleet_file.read_text(encoding="utf-8"), *SPARE), encoding="utf-8"
        )
        self._fleet = self._nodes.serve(machines)
        self._tell(f"{len(self._fleet.nodes)} simulated nodes answer on 127.0.0.1")

    def dry_run(self) -> None:
        """A dry run shows the plan and changes nothing."""
        self._title("A dry run: what would be done")
        self._reconcile("--dry-run", "--detailed-exitcode", status=2)
        self._check(not self._fleet.calls(changes=True), "the dry run changed nothing")

    def apply(self) -> None:
        """The plan is applied and read back, and nothing is left to do."""
        self._title("Apply the plan; confirm each step by reading back")
        self._reconcile("--yes", status=0)
        self._check(self._versions() == {self._repository.head}, "every M2 node loaded the commit's version")
        self._check(len(self._members()) == 3, "the Sora cluster has three members")  # noqa: PLR2004
        self._reconcile("--dry-run", "--detailed-exitcode", status=0)

    def change_settings(self) -> None:
        """A commit of roles, allowList, balance and server features reaches every node."""
        self._title("A commit: a role, an allowList entry, hash balancing, setting feedback")
        self._repository.edit("edge/setting.json", _with_changes)
        self._tell(
            f"commit {self._repository.commit('Let the monitoring host read metrics, balance by hash')}"
        )
        self._reconcile("--yes", status=0)
        loaded = self._loaded("edge-02")["env"]["management"]
        self._check(loaded["cluster"]["balance"]["mode"] == "hash", "edge-02 balances by hash")
        self._check(loaded["roles"][-1]["name"] == "monitor", "edge-02 has the role monitor")
        self._check(self._versions() == {self._repository.head}, "every M2 node shows which commit it runs")

    def register_nodes(self) -> None:
        """Two more Sora nodes join, one membership change at a time."""
        self._title("A commit: two more Sora nodes, so that two may fail")
        self._repository.edit("fleet.yaml", lambda text: self._with_nodes(text, 4, 5))
        self._tell(f"commit {self._repository.commit('Grow the Sora cluster to five')}")
        self._reconcile("--yes", status=0)
        self._check(len(self._members()) == 5, "the Sora cluster has five members")  # noqa: PLR2004

    def replace_node(self) -> None:
        """The replacement of a dead node is registered first; then the dead node is purged."""
        self._title("node-02 fails for good; its replacement is registered, then node-02 is purged")
        dead = "node-02@sora-02.example.com"
        self._nodes.kill(self._fleet, dead)
        # One commit with the result: the planner finds the order, so nobody has to commit the states between.
        self._repository.edit("fleet.yaml", lambda text: self._with_nodes(_without(text, dead), 6))
        self._tell(f"commit {self._repository.commit('Replace node-02 by node-06')}")
        self._reconcile("--yes", status=0)
        members = self._members()
        self._check(dead not in members, "node-02 is gone from the membership")
        self._check(len(members) == 5, "the cluster has five members again")  # noqa: PLR2004

    def refuse_plan(self) -> None:
        """A plan that would lose the quorum is refused as a whole, before the first call."""
        self._title("A careless commit: only one Sora node is left in the file")
        # Counted at the nodes, not in the history: only they know that nothing was sent.
        before = len(self._fleet.calls(changes=True))
        self._repository.edit(
            "fleet.yaml", lambda text: _without(text, *(f"node-{n:02}@" for n in (3, 4, 5, 6)))
        )
        self._tell(f"commit {self._repository.commit('Remove four Sora nodes')}")
        self._reconcile("--yes", status=3)
        self._check(len(self._fleet.calls(changes=True)) == before, "no node was asked to change anything")
        self._check(len(self._members()) == 5, "the cluster still has five members")  # noqa: PLR2004

    def show_messages_and_history(self) -> None:
        """The messages that the feedback sink received, and the history."""
        self._title("What happened: feedback and history")
        messages = self._sink.messages
        self._check(bool(messages), "the feedback sink received messages")
        for message in messages[-3:]:
            result = message["parameters"][0]["result"]
            revision = message["userdata"]["revision"][:12]
            self._tell(
                f"{message['action']['api']} on {message['node']['hostname']}: {result['status']}, {revision}"
            )
        self._run(["history", *self._options], status=0)

    def roll_out_by_polls(self) -> None:
        """A watch whose nodes poll: a canary fails its gate, is taken back, and the fix reaches all."""
        from reconciler.cli.demo_polling import NODES, PolledDemo

        self._title("Nodes that poll a watch; a careless commit stops at its canary, which is taken back")
        polled = PolledDemo(self._folder / "polling", self._nodes)
        canary, *others = NODES
        typer.echo("\n$ reconcile watch polled --host-config host.yaml &")
        with polled.watch():
            self._check(
                polled.wait_until(lambda found: set(found.values()) == {polled.first}),
                "every node was enrolled by one upload and runs the commit",
                polled.describe_end(),
            )
            polled.send_heartbeats("0 0 * * * *")
            careless = polled.repository.commit("Heartbeats once an hour are enough")
            self._tell(f"commit {careless}")
            self._check(
                polled.wait_until(lambda found: found[canary] == careless),
                f"{canary} took it at its next poll",
            )
            self._check(
                polled.wait_until(lambda found: found[canary] == polled.first),
                f"{canary} sent no heartbeat in time, and was offered its earlier setting, which it took",
            )
            versions = polled.versions()
            self._check(
                {versions[node] for node in others} == {polled.first}, "no other node was offered the commit"
            )
            polled.send_heartbeats("*/2 * * * * *")
            fix = polled.repository.commit("Heartbeats every two seconds")
            self._tell(f"commit {fix}")
            self._check(
                polled.wait_until(lambda found: set(found.values()) == {fix}),
                "the fix passed the canary and reached every node",
            )
            polled.wait_until_settled()
            self._options[1] = str(polled.state)
            self._run(["status", *self._options, str(polled.repository.folder)], status=0)
        self._run(["history", *self._options], status=0)

    def converge_all_products(self) -> None:
        """All four products converge from one fleet file, first from nothing and then by one commit."""
        from reconciler.cli.demo_products import ProductsDemo

        self._title("M2, Sora, Collaboration Servers with Redis and nginx, and a Go cluster: one fleet")
        products = ProductsDemo(self._folder / "products", self._nodes)
        self._options[1] = str(products.state)
        self._options += ["--host-config", str(products.host_file)]
        self._repository = products.repository
        self._tell(f"commit {products.first}")
        self._reconcile("--yes", status=0)
        self._reconcile("--dry-run", "--detailed-exitcode", status=0)
        self._tell(f"commit {products.commit_changes()}")
        self._reconcile("--yes", status=0)
        self._check(not products.list_missing_changes(), "the files of the nodes have the change")
        self._reconcile("--dry-run", "--detailed-exitcode", status=0)
        self._run(["status", *self._options, str(products.repository.folder)], status=0)

    def show_dashboard(self) -> int:
        """A watch over the fleet with its pages, until it is interrupted; gives its exit status."""
        from reconciler.cli.main import main
        from reconciler.simulation.addresses import find_free_addresses

        (address,) = find_free_addresses(1)
        link = shlex.join(["reconcile", "dashboard", *self._first_options[:2]])
        typer.echo(f"\nThe dashboard: http://{address}/ (Ctrl-C ends it)\nTo log in and act: {link}\n")
        return main(["watch", "--listen", str(address), *self._first_options, str(self._repository.folder)])

    def _with_nodes(self, text: str, *numbers: int) -> str:
        """A fleet file's text with more Sora nodes at its end, where those of the Sora cluster are."""
        return text.rstrip("\n") + "\n" + "".join(NODE.format(one, self._spare[one]) for one in numbers)

    def _reconcile(self, *options: str, status: int) -> None:
        self._run([*options, *self._options, str(self._repository.folder)], status=status)

    def _run(self, arguments: list[str], *, status: int) -> None:
        from reconciler.cli.main import main

        shown = [word for word in arguments if word not in self._options]
        shown = [Path(word).name if word.startswith("/") else word for word in shown]
        typer.echo(f"\n$ reconcile {' '.join(shown)}")
        actual = main(arguments)
        sys.stderr.flush()  # in a pipe, its messages would appear after the check that follows
        self._check(actual == status, f"exit status {status}", f"the exit status is {actual}")

    def _title(self, text: str) -> None:
        self._part += 1
        typer.echo(f"\n── {self._part}. {text}")

    def _tell(self, text: str) -> None:
        typer.echo(f"   {text}")

    def _check(self, held: bool, claim: str, instead: str = "") -> None:  # noqa: FBT001  (read as a sentence)
        if not held:
            raise DemoFailure(
                f"the demonstration failed; expected: {claim}{f'; {instead}' if instead else ''}"
            )
        self.checked += 1
        typer.echo(f"   ✓ {claim}")

    def _loaded(self, node: str) -> Any:
        """The setting that an M2 node shows, read without any code of the driver."""
        with urllib.request.urlopen(f"http://{self._fleet.nodes[node]}/setting/setting.json") as answer:
            return json.load(answer)

    def _versions(self) -> set[str]:
        return {self._loaded(f"edge-{number:02}")["meta"]["version"] for number in (1, 2, 3)}

    def _members(self) -> set[str]:
        """The Sora membership that node-01 shows, read without any code of the driver."""
        request = urllib.request.Request(
            f"http://{self._fleet.nodes['node-01@sora-01.example.com']}/",
            method="POST",
            headers={"x-sora-target": "Sora_20211215.ListClusterNodes"},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return {row["node_name"] for row in json.load(answer)}


def _with_changes(text: str) -> str:
    setting = json.loads(text)
    management = setting["env"]["management"]
    management["roles"].append({"name": "monitor", "permissions": {"enableMetric": True}})
    management["api"]["allowList"].append({"role": "monitor", "addr": "10.0.9.0/24"})
    management["cluster"]["balance"]["mode"] = "hash"
    management["server"]["features"]["purge"]["workerCount"] = 4
    return json.dumps(setting, indent=2) + "\n"


def _without(text: str, *names: str) -> str:
    """A text without the lines that contain one of the names."""
    return "".join(line for line in text.splitlines(keepends=True) if not any(name in line for name in names))
