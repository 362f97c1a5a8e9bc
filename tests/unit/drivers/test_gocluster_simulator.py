"""Simulated nodes of a Go cluster answer as the library does: delays, locks, tokens, deaf listeners."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode

from support.gocluster import cluster_input, content, desired, entry, names

from reconciler.drivers.gocluster.simulator.api import answer_api
from reconciler.drivers.gocluster.simulator.world import GoSite, GoWorld
from reconciler.drivers.gocluster.view import parse_view
from reconciler.ports.simulator import NodeRequest

ROOT = "/api/v1/cluster"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def world(count=3, **more):
    wanted, clock = desired(entry(count), **more), Clock()
    files = {name: (wanted.files[name],) for name in names(count)}
    site = GoSite(wanted.members, "app", wanted.entry.settings, files)
    return GoWorld(site, {n: content(wanted, n) for n in names(count)}, names(count), clock=clock), clock


def get(made, node, path="", cookie=""):
    request = NodeRequest("GET", f"{ROOT}{path}", {"cookie": cookie}, b"", "127.0.0.1")
    return answer_api(made, node, request)


def shown(made, node):
    return parse_view(get(made, node, f"/{node}")[2]).connected


def test_a_restarted_node_is_online_after_its_delays():
    made, clock = world()
    assert shown(made, "node1") == {"node2", "node3"}
    made.kill("node3")
    assert shown(made, "node1") == {"node2"}, "a process that ends is noticed at once"
    made.start("node3")
    clock.now += 2.4
    assert shown(made, "node1") == {"node2"}
    clock.now += 0.2
    assert shown(made, "node1") == {"node2", "node3"}


def test_a_template_of_one_line_names_the_node_beside_secret_and_tls():
    template = '{"name": {{node.name}}, "tls": {{tls}}, "key": {{values.secret}}, "peers": {{peers}}}'
    made, _ = world(template=template)
    assert shown(made, "node1") == {"node2", "node3"}, "both are equal at all nodes"


def test_a_node_that_is_cut_off_is_dropped_after_the_read_timeout():
    made, clock = world()
    made.isolate("node3")
    assert "node3" in shown(made, "node1")
    clock.now += 11.1
    assert "node3" not in shown(made, "node1")
    assert made.has_quorum("node1")
    assert not made.has_quorum("node3")


def test_a_reading_freezes_a_later_add_node():
    made, _ = world()
    assert made.add_node("node1")
    get(made, "node1", "/node1")
    assert not made.add_node("node1")
    assert get(made, "node1", "/node1")[0] == 0


def test_a_wrong_secret_closes_a_listener_until_the_restart():
    made, _ = world()
    made.try_secret("node1")
    assert not made.join_stranger("node1", "other", "10.9.9.9:1")
    made.kill("node1")
    made.start("node1")
    assert made.join_stranger("node1", "other", "10.9.9.9:1")


def token(claims, key="simulated", algorithm="HS512"):
    head, body = (
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": algorithm}, claims)
    )
    digest = {"HS512": hashlib.sha512, "HS256": hashlib.sha256}[algorithm]
    mark = hmac.new(key.encode(), f"{head}.{body}".encode(), digest).digest()
    return f"session={head}.{body}.{urlsafe_b64encode(mark).rstrip(b'=').decode()}"


def test_admin_calls_are_answered_and_do_nothing():
    made, _ = world()
    before = made.state
    good = token({"username": "kim", "expire": time.time() + 60})
    path = "/node1/admin/node2/reload"
    assert get(made, "node1", path)[::2] == (200, b"")
    assert get(made, "node1", path, good)[::2] == (200, b'"reload OK"')
    assert get(made, "node1", path, token({"username": "kim", "expire": 1}))[0] == 403
    assert get(made, "node1", path, token({"username": "kim", "expire": 9e9}, "wrong"))[0] == 403
    assert get(made, "node1", path, token({"username": "kim"}))[0] == 0
    assert get(made, "node1", "/node1/admin/node2", good)[0] == 501
    assert get(made, "node1", "/cluster/admin/node2/reload", good)[0] == 501
    assert made.state == before
    assert cluster_input().entry.kind == "gocluster"
