"""The example of a Collaboration Server cluster, planned for machines as a person has installed them."""

import pytest
from support.collab_runs import Site, WorldHttp
from support.collab_worlds import AT_ONCE
from unit.cli.test_explanation_pages import Folder

from reconciler.cli.demo_fixtures import find_examples
from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.collab.simulator.simulator import make_world
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.source import Snapshot

SECRETS = {"RECONCILE_SECRET_REDIS": "redis-secret", "RECONCILE_SECRET_DATABASE": "database-secret"}


class Resolver:
    """The two secrets of the example."""

    def resolve(self, scheme, name):
        return SECRETS[name]


@pytest.fixture
def site(monkeypatch):
    snapshot = Snapshot(Revision("example", "0" * 40, "0000000"), Folder(find_examples() / "collab"))
    fleet = load_fleet(snapshot, DRIVERS, Resolver())
    (cluster_input,) = fleet.cluster_inputs
    made = Site(make_world(cluster_input, (), AT_ONCE), cluster_input)
    monkeypatch.setitem(WorldHttp.aliases, "collab.example.com", "balancer-1")
    return made


def test_the_example_is_planned_as_expected(site, golden):
    plan = site.plan()
    lines = [
        f"{step.id}\n    {step.reason}\n    {step.risk} risk: {step.risk_reason}\n    needs: {step.needs}\n"
        + "".join(f"    {one.pointer}: {one.old} -> {one.new}\n" for one in step.changes)
        for step in plan.steps
    ]
    lines += [f"{one.severity} {one.code}: {one.message}\n" for one in plan.findings]
    text = "\n".join(lines)
    assert "redis-secret" not in text
    assert "database-secret" not in text
    golden("examples/collab.txt", text)
