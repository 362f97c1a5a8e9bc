"""Servers get another port or begin to speak TLS: the load balancer always has one that it reaches."""

import pytest
from support.collab_moves import CHANGES, CONFIG, Watch, check_guards, converge, list_reached, moved, settled
from support.collab_runs import make_entry, make_input

from reconciler.drivers.collab.cluster_state import list_serving


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_servers_move_while_the_load_balancer_always_reaches_one(count, change):
    site = settled(count)
    site.cluster_input = moved(count, **change)
    site.watch = Watch(site, least=1 if change.get("tls") else max(1, count - count // 2))
    plan = converge(site)
    assert not [one for one in plan.findings if one.code != "config-key-similar"]
    assert list_reached(site) == list(range(count))
    port = change.get("port", 3000)
    assert site.world.state.addresses == tuple(f"192.0.2.{number}:{port}" for number in range(1, count + 1))
    scheme = "https" if change.get("tls") else "http"
    assert f"proxy_pass {scheme}://collabServer/socket.io/" in site.world.content("lb").decode()
    # Back, also by a file that says nothing of TLS any more.
    site.cluster_input = moved(count)
    converge(site)
    assert list_reached(site) == list(range(count))


def test_servers_with_and_without_tls_of_which_no_committed_file_says_anything():
    """As somebody has set them up by hand: the load balancer keeps those that it reaches."""
    site = settled(2)
    site.cluster_input = moved(2, tls=True)
    site.run()
    site.facts.clear()
    site.cluster_input = moved(2)
    site.watch = Watch(site)
    plan = converge(site)
    [found] = [one for one in plan.findings if one.code == "add-waits"]
    assert "speaks TLS, other than the servers that it uses; write `enableTls`" in found.message


def test_a_server_whose_turn_comes_later_is_not_as_desired():
    site = settled(3)
    site.cluster_input = moved(3, port=3001)
    plan = site.plan()
    later = [one.target for one in plan.findings if one.code == "server-moves-later"]
    assert (later, plan.unchanged) == (["collab/c2", "collab/c3"], 1)


def test_a_server_that_is_alone_moves_in_its_place():
    site = settled(1)
    site.cluster_input = moved(1, port=3001)
    assert [step.action for step in site.plan().steps] == [
        *("stage-file", "switch-file", "restart-server"),
        *("stage-file", "switch-file", "reload-balancer"),
    ]
    site.converge()
    assert list_reached(site) == [0]


def test_nobody_moves_while_no_other_server_serves():
    site = settled(2)
    site.world.kill("c2")
    site.cluster_input = moved(2, port=3001)
    plan = site.plan()
    assert {step.node for step in plan.steps} == {"lb"}  # it forgets the address of the one that is down
    assert {one.code for one in plan.findings} >= {"server-restart-waits"}


def test_nobody_moves_behind_a_load_balancer_whose_file_is_not_managed():
    balancer = {"name": "lb", "url": "http://127.0.0.1:8080"}
    site = settled(2, loadBalancer=balancer)
    site.cluster_input = moved(2, port=3001, loadBalancer=balancer)
    plan = site.plan()
    assert plan.steps == ()
    [first, _] = [one for one in plan.findings if one.code == "server-restart-waits"]
    assert "the file of the load balancer is not managed" in first.message


def test_servers_without_a_load_balancer_move_one_by_one():
    site = settled(3, loadBalancer=None)
    site.cluster_input = moved(3, port=3001, loadBalancer=None)
    check_guards(site)
    seen = []
    site.watch = lambda step: seen.append(len(list_serving(site.world.state)))
    assert converge(site).steps == ()
    assert min(seen) >= 2


def test_a_port_that_another_server_has_is_never_taken_for_the_former_one():
    """Two servers on one machine: what answers at the address of the other one says nothing of this one."""
    site = settled(2)
    site.facts.setdefault("c1", {})["status"] = "http://192.0.2.1:3001/status"
    site.world.kill("c1")
    value = make_entry(("c1", "c2"))
    value["nodes"][1] |= {"host": "192.0.2.1", "port": 3001}
    site.world.state = site.world.state._replace(addresses=("192.0.2.1:3000", "192.0.2.1:3001"))
    site.cluster_input = make_input(value, each={"c1": CONFIG, "c2": CONFIG | {"port": 3001}})
    assert site.observe().nodes["c1"].__class__.__name__ == "Unreachable"


def test_a_restart_that_comes_back_at_its_former_port_is_no_success():
    site = settled(2)
    site.cluster_input = moved(2, port=3001)
    # Its process does not read the file that is delivered.
    site.world.restart = lambda node: site.world.kill(node) or site.world.state
    former = site.world.content("c1")

    def restart(node):
        entry = site.world.names.entries[node]
        file = site.world.machines[node].files[entry]
        kept, file.content = file.content, former
        site.world.kill(node)
        site.world.start(node)
        file.content = kept
        return "restarted"

    site.world.machines["c1"].commands["restart"] = lambda _, values: restart("c1")
    found = site.run()
    assert "still answers at http://192.0.2.1:3000/status" in found["collab/c1/restart-server"]
    assert "collab/c2/restart-server" not in found
