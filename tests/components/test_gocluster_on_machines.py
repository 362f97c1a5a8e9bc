"""A Go cluster of real processes over OpenSSH: mesh over TCP and TLS, quorum, secrets, and kills.

What the program reports is checked by the processes' own log and by another client.
"""

import re

import pytest
from gocluster_site import NAMES, GoSite
from support.waiting import block_until

pytestmark = pytest.mark.component("sshd", "ssh-keygen", "supervisord", "supervisorctl", "openssl")

MEMBERS = NAMES[:3]


@pytest.fixture
def site():
    with GoSite() as found:
        found.commit()
        found.run()
        yield found


def is_whole(site, names):
    return site.views() == {name: set(names) - {name} for name in names}


def require_one_by_one(events):
    """No node stops while another one is down."""
    down = set()
    for one in events:
        if one["event"] == "stopped":
            assert not down, events
            down.add(one["node"])
        else:
            down.discard(one["node"])


def test_new_nodes_are_started_with_their_files_and_form_a_mesh(site):
    assert is_whole(site, MEMBERS)
    assert [one["node"] for one in site.events("started")] == list(MEMBERS)
    site.run(site.repository.folder, "--dry-run", "--detailed-exitcode")
    reads = len(site.events("read"))
    site.run(site.repository.folder, "--dry-run", "--detailed-exitcode")
    assert len(site.events("read")) == reads + len(MEMBERS), "one reading of each node"
    assert site.events("other call") == []


def test_a_changed_value_restarts_one_node_after_the_other(site):
    begin = len(site.events("started", "stopped"))
    site.commit(workers=8)
    site.run()
    events = site.events("started", "stopped")[begin:]
    require_one_by_one(events)
    started = [(one["node"], one["workers"]) for one in events if one["event"] == "started"]
    assert started == [(name, 8) for name in MEMBERS]
    assert site.events("quorum lost", "deaf") == []
    assert is_whole(site, MEMBERS)
    assert "done: 9 changes" in site.run("history")


def test_a_file_that_the_application_refuses_goes_nowhere(site):
    begin = len(site.events("started"))
    site.commit(workers="many")
    assert "workers must be a number" in site.run(status=(1,))
    assert len(site.events("started")) == begin
    assert '"workers": 4' in site.path("node-1").read_text()


def test_a_node_joins_and_leaves_while_every_view_keeps_its_quorum(site):
    begin = len(site.events("started", "stopped"))
    site.commit(NAMES)
    site.run()
    assert is_whole(site, NAMES)
    events = site.events("started", "stopped")[begin:]
    assert (events[0]["event"], events[0]["node"]) == ("started", "node-4")
    require_one_by_one(events)
    site.commit(MEMBERS)
    site.run()
    assert is_whole(site, MEMBERS)
    assert site.events("quorum lost", "deaf") == []
    site.run(site.repository.folder, "--dry-run", "--detailed-exitcode")


def approve(site):
    shown = site.run(status=(3,))
    assert "3 steps need an approval" in " ".join(shown.split())
    (digest,) = set(re.findall(r"approve\s+([0-9a-f]{64})", shown))
    site.run("approve", digest, "--by", "me", "--reason", "announced")


def test_another_secret_is_given_to_all_nodes_at_once(site):
    before = {one["auth"] for one in site.events("started")}
    begin = len(site.events("started", "stopped"))
    site.secrets["RECONCILE_SECRET_GO"] = "second-secret-of-all"
    approve(site)
    site.run()
    events = site.events("started", "stopped")[begin:]
    assert [one["event"] for one in events] == ["stopped"] * 3 + ["started"] * 3
    assert {one["auth"] for one in events if "auth" in one}.isdisjoint(before)
    assert site.events("deaf") == [], "no node was called with another secret"
    assert is_whole(site, MEMBERS)


def test_tls_and_another_certificate_are_given_to_all_nodes_at_once(site):
    for more in ({"tls": True}, {"tls": True, "certificate": "second"}):
        begin = len(site.events("started", "stopped"))
        site.commit(**more)
        approve(site)
        site.run()
        events = site.events("started", "stopped")[begin:]
        assert [one["event"] for one in events] == ["stopped"] * 3 + ["started"] * 3
        assert is_whole(site, MEMBERS)


def test_a_run_that_is_killed_while_all_nodes_are_down_is_finished_by_the_next(site):
    site.secrets["RECONCILE_SECRET_GO"] = "second-secret-of-all"
    approve(site)
    with site.start() as process:
        block_until(lambda: len(site.events("stopped")) >= 2, seconds=60, every=0.01)
        process.kill()
    site.run()
    assert is_whole(site, MEMBERS), "what was approved is ended without another approval"
    assert site.events("deaf") == []
    assert "second-secret" in site.path("node-2").read_text()


def test_a_node_that_crashed_holds_the_change_back_until_it_is_started(site):
    site.supervise("stop", "node-3")
    begin = len(site.events("started"))
    site.commit(workers=8)
    assert "without node-1" in site.run(status=(1, 5))
    assert len(site.events("started")) == begin
    site.supervise("start", "node-3")
    block_until(lambda: is_whole(site, MEMBERS), seconds=30)
    site.run()
    assert is_whole(site, MEMBERS)
    assert {one["workers"] for one in site.events("started")[-3:]} == {8}
