"""Machines of Sora nodes: OpenSSH's server, sudo, a supervisor with a process for each node, the simulator.

Three nodes are on machines that are reached over SSH, three more on this machine without it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from support.git_repositories import ALONE, Repository
from support.waiting import block_until

from reconciler.core.endpoint import SocketAddress
from reconciler.host.config import HostConfig
from reconciler.simulation.addresses import find_free_addresses
from reconciler.transports.sudoers import render_sudoers

PROGRAM = Path(__file__).with_name("sora_process.py")
USER = f"rcsora{os.getpid()}"
LIVE = tuple(f"node-{number}@127.0.0.1{number}" for number in (1, 2, 3))
LAB = tuple(f"lab-{number}@127.0.0.2{number}" for number in (1, 2, 3))
NODES = (*LIVE, *LAB)
BY_HAND = "# kept by hand\nturn_port = 3478\n"


def read_lines(path):
    """The keys of a sora.conf as its process reads them."""
    pairs = (line.partition(" = ") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {key: value for key, _, value in pairs}


def call(*command, **more):
    done = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, timeout=60, **more
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@contextmanager
def running(command, log, **more):
    """A program that is ended at the end."""
    with log.open("ab") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file, **more)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class SoraSite:
    """The machines; a context manager. Its folder is new, and every file on it root's."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sora-site-"))
        self.folder.chmod(0o755)
        self.log = self.folder / "processes"
        self.log.touch()
        (self.folder / "licence").touch()
        self._stack = ExitStack()
        self._sshd = ExitStack()
        ports = find_free_addresses(3)
        self.ssh_port, self.api_port, control = (address.port for address in ports)
        self.control = SocketAddress("127.0.0.1", control)
        self.supervisorctl = Path(shutil.which("supervisorctl")).absolute()

    def __enter__(self):
        stack = self._stack
        stack.callback(shutil.rmtree, self.folder)
        for node in NODES:
            self.path(node).parent.mkdir(parents=True)
            self.reset(node)
        self._make_user()
        self._make_keys()
        self.host_file.write_text(json.dumps(self._make_host_config()))
        self._make_sudoers()
        stack.callback(self._sshd.close)
        self.start_sshd()
        self._start_simulation()
        self._start_supervisor()
        return self

    def __exit__(self, *_):
        self._stack.close()

    # What is on the machines

    def path(self, node):
        """The sora.conf of a node."""
        return self.folder / "machines" / node / "sora.conf"

    def make_conf(self, node, more="cluster_relay = true\n"):
        host = node.partition("@")[2]
        return (
            f"{BY_HAND}cluster = true\nnode_name = {node}\nexternal_signaling_url = wss://{host}/signaling\n"
            f"external_api_url = https://{host}/api\n{more}"
        )

    def reset(self, node):
        """Give a node its first sora.conf, and nothing beside it."""
        for left in self.path(node).parent.iterdir():
            left.unlink()
        self.path(node).write_text(self.make_conf(node))
        self.path(node).chmod(0o640)

    def start_over(self):
        """Bring every machine back to its begin."""
        for node in NODES:
            self.reset(node)
        wanted = {node: read_lines(self.path(node)) for node in NODES}
        events = {node: self.events(node)[-1] for node in NODES}
        changed = [
            node
            for node, last in events.items()
            if last["event"] != "started" or last["conf"] != wanted[node]
        ]
        if changed:
            self.supervise("restart", *changed)

    def events(self, node=""):
        """What the processes said, in order."""
        lines = self.log.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in found if node in {"", one["node"]}]

    def starts(self, after=0):
        """The nodes whose process was started, in order."""
        return [one["node"] for one in self.events()[after:] if one["event"] == "started"]

    def supervise(self, *words, status=(0,)):
        done = subprocess.run(
            [self.supervisorctl, "-c", self.supervisor_file, *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode in status, (words, done.stdout, done.stderr)
        return done.stdout

    def look(self, node, *command):
        """What a program says on a node's machine, asked by the client of OpenSSH."""
        options = [
            *("-F", "none", "-i", self.keys / "id", "-p", self.ssh_port),
            *("-o", f"UserKnownHostsFile={self.keys / 'known_hosts'}", "-o", "BatchMode=yes"),
        ]
        return call("ssh", *options, f"{USER}@{node.partition('@')[2]}", *command)

    # The host

    @property
    def keys(self):
        return self.folder / "ssh"

    @property
    def host_file(self):
        return self.folder / "host.yaml"

    @property
    def supervisor_file(self):
        return self.folder / "supervisor.ini"

    def _make_host_config(self):
        def control(word):
            return [str(self.supervisorctl), "-c", str(self.supervisor_file), word, "{node}"]

        file = {
            "path": str(self.path("{node}")),
            "check": [sys.executable, str(PROGRAM), "check", "{file}"],
            "timeout": 30,
        }
        far = {"ssh": "sora", "sudo": True}
        return {
            "ssh": {
                "sora": {
                    "port": self.ssh_port,
                    "user": USER,
                    "keys": [str(self.keys / "id")],
                    "known_hosts": str(self.keys / "known_hosts"),
                }
            },
            "files": {"sora-conf": file | far, "lab-conf": file},
            "commands": {
                "restart-sora": {"run": control("restart"), **far},
                "sora-started": {"run": control("pid"), **far, "reads": True},
                "restart-lab": {"run": control("restart")},
                "lab-started": {"run": control("pid"), "reads": True},
            },
        }

    def make_fleet(self, live_conf, lab_conf="cluster_relay = true\n", *, own="keys", overlays=None, more=""):
        """The files of a fleet with both clusters, and the committed sora.conf of each."""
        text = "clusters:\n"
        for name, names, file in (("live", LIVE, "sora"), ("lab", LAB, "lab")):
            owned = own if name == "live" else "keys"
            text += (
                f"- name: {name}\n  kind: sora\n  drain: 0\n  concurrency: 3\n"
                "  timeouts: {connect: 2, read: 5, settle: 8, in_flight: 3}\n"
                "  policy: {max_risky: 100%}\n"
                f"  conf: {{source: {name}.conf, file: {file}-conf, own: {owned}}}\n"
                f"  restart: {{command: restart-{file}, started: {{command: {file}-started}}}}\n"
                f"{more}  nodes:\n"
            )
            for node in names:
                host = node.partition("@")[2]
                text += f"  - name: {node}\n    api: http://{host}:{self.api_port}/\n"
                if overlay := (overlays or {}).get(node):
                    text += f"    overlays: [{{merge: {json.dumps(overlay)}}}]\n"
        return {"fleet.yaml": text, "live.conf": live_conf, "lab.conf": lab_conf}

    # What runs

    def _make_user(self):
        call("useradd", "-m", "-s", "/bin/sh", USER)
        self._stack.callback(block_until, lambda: _try("userdel", "-r", "-f", USER), seconds=20)
        call("usermod", "-p", "*", USER)

    def _make_keys(self):
        self.keys.mkdir()
        for name in ("host", "id"):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.keys / name)
        shutil.copy(self.keys / "id.pub", self.keys / "authorized")
        host_key = (self.keys / "host.pub").read_text()
        self.keys.joinpath("known_hosts").write_text(
            "".join(f"[{node.partition('@')[2]}]:{self.ssh_port} {host_key}" for node in LIVE)
        )
        addresses = "".join(f"ListenAddress {node.partition('@')[2]}\n" for node in LIVE)
        (self.keys / "sshd_config").write_text(
            f"Port {self.ssh_port}\n{addresses}HostKey {self.keys}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.keys}/authorized\nStrictModes no\nPasswordAuthentication no\n"
        )

    def _make_sudoers(self):
        """Exactly the programs that the entries need."""
        raw = self._make_host_config()
        config = HostConfig.model_validate(raw)
        entry = config.files["sora-conf"]
        text = "".join(render_sudoers("sora-conf", entry, user=USER, node=node) for node in LIVE)
        for node in LIVE:
            for word in ("restart", "pid"):
                line = f"{self.supervisorctl} -c {self.supervisor_file} {word} {node}"
                text += f"{USER} ALL=(root) NOPASSWD: {line}\n"
        path = Path("/etc/sudoers.d", USER)
        path.touch(mode=0o440)
        self._stack.callback(path.unlink)
        path.write_text(text)
        call("visudo", "-c", "-q", "-f", path)

    def start_sshd(self):
        Path("/run/sshd").mkdir(exist_ok=True)
        command = [shutil.which("sshd"), "-D", "-e", "-f", self.keys / "sshd_config"]
        self._sshd.enter_context(running(command, self.folder / "sshd.log"))
        block_until(lambda: _try("ssh-keyscan", "-T", "1", "-p", self.ssh_port, LIVE[0].partition("@")[2]))

    def kill_sshd(self):
        """End the server and every session."""
        self._sshd.close()
        subprocess.run(["pkill", "-KILL", "-u", USER, "sshd"], check=False)
        # The session's own process is root's.
        subprocess.run(["pkill", "-KILL", "-f", f"^sshd: {USER}"], check=False)

    def _start_simulation(self):
        fleet = self.folder / "simulated"
        fleet.mkdir()
        for name, text in self.make_fleet("cluster_relay = true\n").items():
            (fleet / name).write_text(text)
        ready = self.folder / "ready"
        command = [
            *(sys.executable, "-m", "reconciler.cli.main", "simulate", fleet, "--converged"),
            *("--control", self.control, "--ready-file", ready),
        ]
        environment = {**os.environ, "HOME": str(self.folder)}
        self._stack.enter_context(running(command, self.folder / "simulation.log", env=environment))
        block_until(ready.exists)

    def _start_supervisor(self):
        text = (
            f"[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={self.folder}/pid\n"
            f"childlogdir={self.folder}\nidentifier=sora\n"
            f"[unix_http_server]\nfile={self.folder}/socket\n[supervisorctl]\nserverurl=unix://{self.folder}/socket\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        )
        for node in NODES:
            command = f"{sys.executable} -IS {PROGRAM} run {node} {self.path(node)} {self.control} {self.log}"
            text += (
                f"[program:{node}]\ncommand={command}\nstartsecs=1\nstartretries=0\nstopwaitsecs=10\n"
                f"stdout_logfile={self.folder}/{node}.log\nredirect_stderr=true\n"
            )
        self.supervisor_file.write_text(text)
        command = [shutil.which("supervisord"), "-c", self.supervisor_file]
        self._stack.enter_context(running(command, self.folder / "supervisor.log"))
        block_until(lambda: len(set(self.starts())) == len(NODES))


class Operator:
    """One management host: a repository, a state folder, and runs of the program over the machines."""

    def __init__(self, site, folder):
        self.site = site
        self.folder = folder
        self.repository = Repository.make(folder / "fleet")
        self.state = folder / "state"
        self._watches = 0

    def commit(self, *confs, **more):
        return self.repository.commit(self.site.make_fleet(*confs, **more))

    def command(self, *words):
        options = ["--state", self.state]
        if words[0] not in {"resume", "status"}:
            options += ["--host-config", self.site.host_file]
        return [sys.executable, "-m", "reconciler.cli.main", *map(str, (*words, *options))]

    @property
    def environment(self):
        return {**os.environ, **ALONE, "HOME": str(self.folder), "NO_COLOR": "1"}

    def run(self, *words, status=(0,)):
        """One pass, and what it prints."""
        command = (
            self.command(*words) if words else self.command(self.repository.folder, "--yes", "--only", "live")
        )
        done = subprocess.run(
            command, env=self.environment, check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode in status, (done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def plan(self, status=(0, 2)):
        return self.run(self.repository.folder, "--dry-run", "--detailed-exitcode", status=status)

    @contextmanager
    def watch(self, *options):
        self._watches += 1
        log = self.folder / f"watch-{self._watches}.log"
        command = self.command(
            *("watch", self.repository.folder, "--listen", "off", "--log-format", "json"),
            *("--interval", "1s", "--poll", "0.3s", *options),
        )
        with running(command, log, env=self.environment, stdin=subprocess.DEVNULL) as process:
            yield Watch(process, log)


class Watch:
    """A running watch and its log."""

    def __init__(self, process, log):
        self.process = process
        self._log = log

    @property
    def text(self):
        return self._log.read_text()

    def lines(self, event="", **fields):
        found = [json.loads(line) for line in self.text.splitlines(keepends=True) if line.endswith("\n")]
        return [one for one in found if event in {"", one["event"]} and fields.items() <= one.items()]

    def wait(self, event, seconds=60, count=1, **fields):
        """The lines of this event, once there are so many."""

        def look():
            assert self.process.poll() is None, self.text
            return len(found := self.lines(event, **fields)) >= count and found

        try:
            return block_until(look, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"no {event} {fields} in:\n{self.text}") from error

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _try(*command):
    with suppress(subprocess.SubprocessError):
        done = subprocess.run(list(map(str, command)), check=False, capture_output=True, timeout=20)
        return done.returncode == 0
    return False
