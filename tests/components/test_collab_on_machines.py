"""A Collaboration Server cluster on machines over OpenSSH, with a real Redis and a real nginx.

What the program reports is checked by others: redis-py, nginx's own log, and a WebSocket that stays open.
"""

import json

import pytest
import redis as redis_py
from collab_site import SERVERS, CollabSite

pytestmark = pytest.mark.component(
    "sshd", "ssh-keygen", "supervisord", "supervisorctl", "nginx", "redis-server"
)


@pytest.fixture
def site():
    with CollabSite("redis-server") as found:
        found.commit()
        found.run(status=(0,))
        yield found


def is_let_in(site, password):
    with redis_py.Redis(port=site.redis_port, password=password, socket_timeout=5) as found:
        try:
            return found.ping()
        except redis_py.exceptions.AuthenticationError:
            return False


def test_a_cluster_is_taken_over_with_one_reload_and_no_restart(site):
    assert site.count_reloads() == 1
    assert sorted(site.starts()) == sorted(site.ports.values())
    assert site.run("--dry-run", "--detailed-exitcode", status=(0,))
    text = site.path("balancer-1").read_text()
    for line in (
        "pid ",
        "# this is a must",
        "proxy_read_timeout 1h;",
        'return 200 "kept;{\\n";',
        "# people's own",
    ):
        assert line in text


def test_a_changed_key_restarts_the_servers_one_by_one(site):
    begin = len(site.starts())
    site.commit(logging=False)
    site.run()
    assert site.starts()[begin:] == [site.ports[name] for name in SERVERS[:2]]
    for name in SERVERS[:2]:
        config = json.loads(site.path(name).read_text())
        assert (config["logging"], config["custom"]) == (False, [1, 2])
    assert json.loads(site.path("collab-3").read_text())["logging"]


def test_a_new_password_is_the_only_one_and_true_after_a_restart(site):
    begin = len(site.starts())
    site.passwords["RECONCILE_SECRET_P"] = "new-password"
    shown = site.run()
    for _ in range(3):
        shown += site.run("--dry-run", "--detailed-exitcode", status=(0, 2))
        shown += site.run()
    assert "new-password" not in shown
    assert ":old@" not in shown
    assert sorted(site.starts()[begin:]) == sorted(site.ports[name] for name in SERVERS[:2])
    for _ in range(2):
        assert (is_let_in(site, "old"), is_let_in(site, "new-password")) == (False, True)
        site.supervise("restart", "redis-1")
    assert site.run("--dry-run", "--detailed-exitcode", status=(0,))
    assert "# people" in site.path("redis-1").read_text()


def test_a_server_is_added_and_an_open_websocket_survives_the_reload(site):
    reloads = site.count_reloads()
    with site.open_socket() as found:
        site.passwords["RECONCILE_SECRET_P"] = "old"
        site.commit(servers=SERVERS)
        site.run()
        assert site.count_reloads() == reloads + 1
        found.sendall(b"still here")
        assert found.recv(100) == b"still here"
    text = site.path("balancer-1").read_text()
    assert all(f"server 127.0.0.1:{port};" in text for port in site.ports.values())


def test_a_file_that_nginx_refuses_is_never_loaded(site):
    path, reloads = site.path("balancer-1"), site.count_reloads()
    path.write_text(path.read_text().replace("access_log off;", "access_log off; nosuch directive;"))
    broken = path.read_text()
    site.commit(servers=SERVERS)
    assert "nosuch" in site.run(status=(1, 2, 3, 5))
    assert path.read_text() == broken
    assert site.count_reloads() == reloads
    with site.open_socket() as found:
        found.sendall(b"served")
        assert found.recv(100) == b"served"
    path.write_text(broken.replace(" nosuch directive;", ""))

    site.run(status=(0,))
    assert site.count_reloads() == reloads + 1
