"""A committed sora.conf reaches nodes over OpenSSH and sudo, and supervised processes use it, one by one.

Each node has a process of its own, which reads its file when it starts and refuses a bad one. Three nodes are
reached over SSH, as a user whose file of sudoers names exactly the programs that are needed; three are on
this machine.
"""

import hashlib
import os
import subprocess
from contextlib import contextmanager, suppress

import pytest
from sora_site import LAB, LIVE, Operator, SoraSite, call
from support.waiting import block_until

pytestmark = pytest.mark.component(
    *("sshd", "ssh", "ssh-keygen", "ssh-keyscan", "sudo", "visudo", "useradd", "pkill", "mount"),
    *("setfacl", "getfacl", "supervisord", "supervisorctl"),
)

FORMER, WANTED = "cluster_relay = true\n", "cluster_relay = false\n"


@pytest.fixture(scope="module")
def site():
    with SoraSite() as found:
        yield found


@pytest.fixture
def operator(site, tmp_path):
    site.start_over()
    return Operator(site, tmp_path)


class Chain:
    """What the processes of a cluster did since a moment."""

    def __init__(self, site, nodes=LIVE):
        self._site, self._nodes, self._begin = site, nodes, len(site.events())

    @property
    def events(self):
        found = self._site.events()[self._begin :]
        return [(one["event"], one["node"]) for one in found if one["node"] in self._nodes]

    @property
    def started(self):
        return [node for event, node in self.events if event == "started"]

    def require_one_by_one(self):
        """No node stops while another one is down."""
        for (event, node), following in zip(self.events[::2], self.events[1::2], strict=True):
            assert (event, following) == ("stopped", ("started", node)), self.events


def list_beside(site, node):
    """What lies beside the sora.conf of a node, in short."""
    names = {one.name for one in site.path(node).parent.iterdir()} - {"sora.conf", "hold"}
    return sorted(name.removeprefix(".sora.conf.reconciler-") for name in names)


def is_running(pattern):
    return not subprocess.run(["pgrep", "-f", pattern], stdout=subprocess.DEVNULL, check=False).returncode


def read_confs(site, nodes=LIVE):
    return [site.path(node).read_text() for node in nodes]


def make_confs(site, more, nodes=LIVE):
    return [site.make_conf(node, more) for node in nodes]


def test_a_commit_reaches_every_node_one_by_one_and_keeps_what_is_not_ours(site, operator):
    first = site.path(LIVE[0])
    call("setfacl", "-m", "u:65534:r", first)
    os.chown(first, 1234, 4321)
    rights = call("getfacl", "-cpn", first)
    live, lab = Chain(site), Chain(site, LAB)
    operator.commit(FORMER)
    with operator.watch() as watch:
        watch.wait("pass ended", cluster="live", result="converged")
        assert (live.events, lab.events) == ([], [])
        operator.commit(WANTED, WANTED)
        for cluster in ("live", "lab"):
            watch.wait("pass ended", cluster=cluster, result="applied")
        for chain, nodes in ((live, LIVE), (lab, LAB)):
            assert chain.started == list(nodes)
            chain.require_one_by_one()
            assert read_confs(site, nodes) == make_confs(site, WANTED, nodes)
        used = [one["conf"]["cluster_relay"] for one in site.events() if one["event"] == "started"]
        assert used[-6:] == ["false"] * 6
        assert (call("getfacl", "-cpn", first), first.stat().st_uid, first.stat().st_gid) == (
            rights,
            1234,
            4321,
        )
        # By OpenSSH's own client: what is there, and that the user may do nothing else.
        digest = hashlib.sha256(site.make_conf(LIVE[0], WANTED).encode()).hexdigest()
        assert site.look(LIVE[0], "sudo", "-n", "sha256sum", "-b", "--", first).split()[0] == digest
        with pytest.raises(AssertionError, match="a password is required"):
            site.look(LIVE[0], "sudo", "-n", "cat", "/etc/shadow")
        with pytest.raises(AssertionError, match="a password is required"):
            site.look(LIVE[0], "sudo", "-n", site.supervisorctl, "-c", site.supervisor_file, "shutdown")
        # A line that is not ours is nobody's drift; one that is ours comes back, with a restart of that node.
        second = site.path(LIVE[1])
        second.write_text(second.read_text().replace("turn_port = 3478", "turn_port = 3479"))
        operator.plan(status=(0,))
        changed = Chain(site)
        second.write_text(second.read_text().replace("cluster_relay = false", "cluster_relay = true"))
        block_until(lambda: changed.started == [LIVE[1]], seconds=60)
        assert "turn_port = 3479\n" in second.read_text()
        assert second.read_text().endswith(WANTED)
    operator.plan(status=(0,))
    assert changed.started == [LIVE[1]]


def test_what_the_check_refuses_is_switched_nowhere(site, operator):
    chain = Chain(site)
    operator.commit("log_level = loud\n")
    text = operator.run(status=(1,))
    assert "unknown log_level loud" in text
    assert read_confs(site) == make_confs(site, FORMER)
    assert [list_beside(site, node) for node in LIVE] == [[]] * 3
    assert chain.events == []


def test_a_node_that_does_not_come_back_stops_the_chain_and_gets_its_file_back(site, operator):
    chain = Chain(site)
    operator.commit("license_file = /nowhere/licence\n", more="  rollout: {on_failure: return}\n")
    assert "ERROR (spawn error)" in operator.run(status=(1,))
    first = LIVE[0]
    # The supervisor may try a process that ends at once a second time.
    assert list(dict.fromkeys(chain.events)) == [("stopped", first), ("refused", first), ("started", first)]
    assert read_confs(site) == make_confs(site, FORMER)
    assert "RUNNING" in site.supervise("status", first)
    assert "[revision-rejected]" in operator.run(status=(3,))
    assert chain.started == [first]
    # Without a rollout too, and no later pass gives this file to the others, nor to this node again.
    operator.commit("license_file = /nowhere/licence\nlog_level = debug\n")
    assert "[node-taken-back]" in operator.run(status=(1, 5))
    for _ in range(2):
        assert chain.events[-1] == ("started", first)
        assert read_confs(site) == make_confs(site, FORMER)
        assert "[node-stalled]" in operator.run(status=(1,))
    good = f"license_file = {site.folder}/licence\n"
    operator.commit(good)
    operator.run()
    assert chain.started == [first, first, *LIVE]


def test_a_node_that_a_killed_watch_left_down_starts_with_the_fix(site, operator):
    chain, first = Chain(site), LIVE[0]
    operator.commit("license_file = /nowhere/licence\n")
    with operator.watch("--only", "live") as watch:
        block_until(lambda: ("refused", first) in chain.events, seconds=60, every=0.001)
        watch.kill()
    good = f"license_file = {site.folder}/licence\n"
    operator.commit(good)
    with operator.watch("--only", "live") as watch:
        watch.wait("pass ended", cluster="live", result="converged")
    assert chain.started[-3:] == list(LIVE)
    assert all(good in site.path(node).read_text() for node in LIVE)


def test_a_watch_that_is_killed_before_or_after_any_step_goes_on_where_it_was(site, operator):
    chain, killed, is_done = Chain(site), set(), False
    operator.commit(WANTED)
    while not is_done:
        with operator.watch("--only", "live") as watch:

            def find_moment():
                """A step that begins or ends here for the first time, or the end of it all."""
                for line in watch.lines():
                    moment = (line["event"], line.get("step"))
                    if line.get("result") == "converged" and line["cluster"] == "live":
                        return True
                    if line["event"] not in {"step started", "step ended"} or moment in killed:
                        continue
                    if line.get("state", "done") == "done" and not line["step"].startswith("live/node-3"):
                        return moment
                return None

            moment = block_until(find_moment, seconds=60)
            is_done = moment is True
            if not is_done:
                watch.kill()
                killed.add(moment)
    assert {step.rpartition("/sora-conf")[0] or step for _, step in killed} == {
        f"live/{node}/{action}" for node in LIVE[:2] for action in ("stage-file", "switch-file", "restart")
    }
    assert chain.started == list(LIVE)
    chain.require_one_by_one()
    assert read_confs(site) == make_confs(site, WANTED)
    assert [list_beside(site, node) for node in LIVE] == [["old"]] * 3


def test_a_watch_that_is_killed_while_a_node_is_down_brings_it_back(site, operator):
    chain = Chain(site)
    operator.commit(WANTED)
    with operator.watch("--only", "live") as watch:
        block_until(lambda: chain.events, seconds=60, every=0.001)
        watch.kill()
    with operator.watch("--only", "live") as watch:
        watch.wait("pass ended", cluster="live", result="converged")
    assert set(chain.started) == set(LIVE)
    chain.require_one_by_one()
    assert read_confs(site) == make_confs(site, WANTED)


def test_a_connection_that_dies_in_a_stage_leaves_the_file_and_a_later_pass_goes_on(site, operator):
    hold = site.path(LIVE[1]).with_name("hold")
    operator.commit(FORMER)
    with operator.watch("--only", "live") as watch:
        watch.wait("pass ended", cluster="live", result="converged")
        hold.touch()
        chain = Chain(site)
        operator.commit(WANTED)
        block_until(lambda: is_running(f"check {site.path(LIVE[1]).parent}"))
        site.kill_sshd()
        assert site.path(LIVE[1]).read_text() == site.make_conf(LIVE[1])
        hold.unlink()
        site.start_sshd()
        lost = watch.wait("step ended", step=f"live/{LIVE[1]}/stage-file/sora-conf", state="failed")
        assert "broke while it ran" in lost[0]["message"]
        watch.wait("pass ended", cluster="live", result="incomplete")
        operator.run("resume", "live")
        watch.wait("pass ended", cluster="live", result="applied")
    chain.require_one_by_one()
    assert read_confs(site) == make_confs(site, WANTED)


@contextmanager
def small_disk(site, node):
    """A disk of a few pages for the folder of a node, with its file on it; gives a function that fills it."""
    path = site.path(node)
    content = path.read_bytes()
    call("mount", "-t", "tmpfs", "-o", "size=32k", "none", path.parent)
    try:
        path.write_bytes(content)
        yield path.with_name("filler")
    finally:
        call("umount", path.parent)


def test_a_full_disk_leaves_everything_as_it_was(site, operator):
    chain = Chain(site)
    with small_disk(site, LIVE[0]) as filler:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)
        operator.commit(WANTED)
        assert "No space left on device" in operator.run(status=(5,))
        assert chain.events == []
        assert read_confs(site) == make_confs(site, FORMER)
        filler.unlink()
        operator.run("resume", "live")
        operator.run()
        assert chain.started == list(LIVE)
        assert read_confs(site) == make_confs(site, WANTED)


def test_a_file_that_is_ours_as_a_whole(site, operator):
    overlays = {}
    for node in LIVE:
        host = node.partition("@")[2]
        overlays[node] = {
            "external_signaling_url": f"wss://{host}/signaling",
            # What the simulated node shows: another one would be reported as not used.
            "external_api_url": f"http://{host}:{site.api_port}/",
        }
    operator.commit(f"# all ours\n{WANTED}", own="file", overlays=overlays)
    chain = Chain(site)
    operator.run()
    assert chain.started == list(LIVE)
    path = site.path(LIVE[2])
    ours = path.read_text()
    assert ours.startswith("# all ours\n")
    assert "turn_port" not in ours
    path.write_text(f"{ours}turn_port = 3480\n")
    assert "turn_port = 3480" in operator.plan(status=(2,))
    operator.run()
    assert path.read_text() == ours
    assert chain.started == [*LIVE, LIVE[2]]
