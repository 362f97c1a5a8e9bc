"""Go clusters for tests: their answers, their desired state and what is observed of them."""

import json
from dataclasses import replace

from reconciler.core.file_state import FileState
from reconciler.core.guard import GuardContext
from reconciler.core.memory import ClusterMemory
from reconciler.core.observation import Observed, Present, Unreachable
from reconciler.core.plan import Revision
from reconciler.core.policy import ChangeRules, Policy
from reconciler.core.secret import Secret
from reconciler.documents.document import ParsedDocument, parse_document
from reconciler.drivers.gocluster import desired_state, planner
from reconciler.drivers.gocluster.schema import GoCluster
from reconciler.drivers.gocluster.view import NodeView, PeerRow
from reconciler.ports.cluster_input import ClusterInput

TEMPLATE = """{
  "name": {{node.name}},
  "listen": {{node.addr}},
  "authKey": {{values.secret}},
  "tls": {{tls}},
  "peers": {{peers}},
  "settings": {{settings}}
}
"""
JOINED = "2026-11-21T02:47:54.304128949Z"


def names(count):
    return [f"node{number}" for number in range(1, count + 1)]


def entry(count=3, **more):
    nodes = [
        {"name": name, "addr": f"10.0.0.{number}:9654", "api": f"http://10.0.0.{number}:8080"}
        for number, name in enumerate(names(count), 1)
    ]
    return {
        "name": "game",
        "kind": "gocluster",
        "observe": True,
        "config": {"template": "app.tmpl", "file": "app", "values": "values.json"},
        "restart": {"command": "restart-app", "started": {"command": "app-started"}},
        "nodes": nodes,
        **more,
    }


def model(count=3, **more):
    return GoCluster.model_validate(entry(count, **more))


def cluster_input(own=None, *, template=TEMPLATE, values=None, secret="s3cr3t-of-all"):
    """The input of the driver; the secret is one by reference."""
    own = own or entry()
    fleet = parse_document("fleet.json", json.dumps({"clusters": [own]}).encode())
    known = {"secret": Secret(secret, "${env:RECONCILE_SECRET_GO}"), **(values or {})}
    document = ParsedDocument("values.json", known, "{}")
    return ClusterInput(
        GoCluster.model_validate(own),
        fleet,
        "/clusters/0",
        Revision("memory", "0" * 40, "0000000"),
        {node["name"]: document for node in own["nodes"]},
        {"app.tmpl": template.encode()},
    )


def desired(own=None, **more):
    """The desired state; fails where there is a problem."""
    made = cluster_input(own, **more)
    found, problems = desired_state.make_files(made)
    assert problems == []
    return desired_state.GoDesired(made.entry, found)


def content(wanted, node):
    """The whole file of a node."""
    return wanted.files[node].content.render(None)


def row(name, status="Online", *, address="", joined=JOINED, error="", lag=485910, packets=9):
    number = name.removeprefix("node")
    return PeerRow(name, address or f"10.0.0.{number}:9654", status, error, joined, lag, packets)


def view(own, count=3, *, peers=None, offline=()):
    """What a node shows of the others."""
    listed = [name for name in (peers if peers is not None else names(count)) if name != own]
    return NodeView(tuple(row(name, "Offline" if name in offline else "Online") for name in sorted(listed)))


def views(count=3, *, away=(), **kinds):
    return {name: view(name, count, offline=away, **kinds) for name in names(count) if name not in away}


def envelope(data, *, success=True, error=""):
    text = data if isinstance(data, str) else json.dumps(data)
    return json.dumps({"success": success, "error": error, "data": text}).encode()


def answer(*rows):
    """The body of `GET /api/v1/cluster/NAME`."""
    return envelope(
        {
            "nodes": {
                one.name: {
                    "name": one.name,
                    "addr": one.address,
                    "status": one.status,
                    "error": one.error,
                    "jointime": one.joined,
                    "lag": one.lag,
                    "packets": one.packets,
                }
                for one in rows
            }
        }
    )


STARTS = {name: f"start of {name}" for name in names(13)}


def observe(wanted, shown, *, files=None, starts=STARTS, **more):
    """What a pass reads: views of some nodes, the files that nodes have, when they were started last."""
    file = wanted.entry.config.file
    contents = {node: content(wanted, node) for node in wanted.files} | (files or {})
    members = wanted.members
    nodes = {
        name: Present(shown[name]) if name in shown else Unreachable("connection refused") for name in members
    }
    return Observed(
        nodes,
        files={node: {file: Present(FileState(own))} for node, own in contents.items() if node in members},
        starts={name: text for name, text in starts.items() if name in shown and name in members},
        **more,
    )


def changed(before, after, shown, **more):
    """The nodes run with the files of one desired state, and another one is desired."""
    contents = {node: content(before, node) for node in before.files}
    missing = {node: None for node in after.files if node not in before.files}
    return observe(after, shown, files={**contents, **missing}, **more)


def seen(wanted, *but):
    """The desired state of nodes that were seen before."""
    facts = {node: {"seen": "yes", "addr": addr} for node, addr in wanted.members.items() if node not in but}
    return replace(wanted, recalled=facts)


COMMANDS = {"start": {"command": "start-app"}, "stop": {"command": "stop-app"}}


def guarded(wanted, observed, plan=None, **more):
    """What the guards look at."""
    policy = Policy.model_validate({"max_risky": "100%"})
    own = plan or planner.plan(wanted, observed)
    return GuardContext(own, wanted.entry, wanted, observed, policy=policy, **more)


def restarting(count, away=()):
    """A plan that was made when all nodes ran, and some of them are away by now."""
    before, wanted = desired(entry(count)), seen(desired(entry(count, settings={"ping_interval": "6s"})))
    plan = planner.plan(wanted, changed(before, wanted, views(count)))
    return guarded(wanted, changed(before, wanted, views(count, away=away)), plan)


def unobserved(**more):
    """A change of files, where nobody reads the nodes."""
    before = desired(entry(observe=False))
    wanted = desired(entry(observe=False, settings={"ping_interval": "6s"}, **more))
    nodes, starts = dict.fromkeys(names(3), Present(None)), dict.fromkeys(names(3), "s")
    return guarded(wanted, replace(changed(before, wanted, {}), nodes=nodes, starts=starts))


def parallel():
    """A plan whose restarts do not wait for each other."""
    case = restarting(5)
    own = {step.id for step in case.plan.steps if step.action == "restart"}
    steps = (
        replace(step, after=tuple(one for one in step.after if one not in own)) for step in case.plan.steps
    )
    return replace(case, plan=replace(case.plan, steps=tuple(steps)))


def another_secret(*, windows=()):
    """A change of the secret, approved, of a cluster with or without a change window."""
    before = desired(entry(**COMMANDS))
    wanted = seen(desired(entry(**COMMANDS), secret="another-secret"))
    observed = changed(before, wanted, views(3))
    rules = ChangeRules(windows=windows)
    memory = ClusterMemory(approved=frozenset({"this-plan"}))
    return guarded(wanted, observed, change_rules=rules, digest="this-plan", cluster_memory=memory)
