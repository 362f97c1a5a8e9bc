"""A change of Redis's password by a plan file, over real sockets: what the file holds, and what it does."""

import json

import pytest
from support.commands import run_program
from support.git_repositories import alone

from reconciler.cli.demo_fixtures import DemoNodes, DemoRepository, find_examples

OLD, NEW = "the-former-password", "the-coming-password"


class Site:
    """A repository of the example for trials, with a password; its nodes, and a way to run the program."""

    def __init__(self, folder, nodes, capsys):
        self.repository = DemoRepository(folder / "repo", find_examples() / "faults/collab")
        self.repository.edit(
            "config.json", lambda text: text.replace("redis://", "redis://:${env:RECONCILE_SECRET_OLD}@")
        )
        self.repository.edit(
            "redis.json", lambda text: text.replace("{", '{"requirepass": "${env:RECONCILE_SECRET_OLD}", ')
        )
        self.repository.edit(
            "fleet.yaml",
            lambda text: text.replace(
                "    kind: collab\n",
                '    kind: collab\n    windows: [{cron: "0 0 * * *", duration: 1d}]\n'
                "    timeouts: {settle: 5, read: 2}\n",
            ),
        )
        self.repository.commit("Collaboration Servers")
        self.folder, self.capsys = folder, capsys
        machines = folder / "machines"
        self.simulation = nodes.serve(self.repository.folder, converged=True, machines=machines)
        self.host_file = machines / "host.yaml"
        self.plan = folder / "plan.json"

    def run(self, *arguments, status=0):
        more = ("--state", self.folder / "state", "--host-config", self.host_file)
        return run_program(self.capsys, *arguments, *more, status=status)

    def change_password(self):
        for name in ("config.json", "redis.json"):
            self.repository.edit(
                name, lambda text: text.replace("${env:RECONCILE_SECRET_OLD}", "${env:RECONCILE_SECRET_NEW}")
            )
        self.repository.commit("Another password for Redis")

    @property
    def changes(self):
        return [call for call in self.simulation.calls(changes=True) if call.node == "redis"]


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    alone(monkeypatch, tmp_path)
    monkeypatch.setenv("RECONCILE_SECRET_OLD", OLD)
    monkeypatch.setenv("RECONCILE_SECRET_NEW", NEW)
    with DemoNodes() as nodes:
        yield Site(tmp_path, nodes, capsys)


def test_the_password_is_changed_by_a_plan_file_that_does_not_hold_it(site):
    site.run(site.repository.folder)
    site.change_password()
    site.run(site.repository.folder, "--dry-run", "--out", site.plan)
    text = site.plan.read_text()
    assert NEW not in text
    assert OLD not in text
    actions = [step["action"] for step in json.loads(text)["plan"]["clusters"][0]["steps"]]
    assert actions[0] == "add-redis-password"
    assert actions[-1] == "drop-redis-password"
    assert site.changes == []

    told = site.run("apply", site.plan, site.repository.folder)
    assert "verified: no changes remain." in told
    assert len(site.changes) == 2
    assert "No changes: 5 nodes" in site.run(site.repository.folder, "--dry-run")
    shown = site.run("history", "--format", "json")
    assert NEW not in shown
    assert OLD not in shown
