"""Machines of a Go cluster: OpenSSH, a supervisor with a real process for each node, and their mesh."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sora_site import call, running
from support.git_repositories import ALONE, Repository
from support.waiting import block_until

from reconciler.simulation.addresses import find_free_addresses

PROGRAM = Path(__file__).with_name("gocluster_process.py")
NAMES = ("node-1", "node-2", "node-3", "node-4")
TEMPLATE = """{
  "name": {{node.name}},
  "listen": {{node.addr}},
  "api": {{values.api}},
  "authKey": {{values.secret}},
  "tls": {{tls}},
  "certificate": {{values.tlsCertificate}},
  "peers": {{peers}},
  "settings": {{settings_ns}},
  "workers": {{values.workers}}
}
"""


class GoSite:
    """The machines and the management host; a context manager."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="go-site-"))
        self.folder.chmod(0o755)
        self._stack = ExitStack()
        ports = [address.port for address in find_free_addresses(9)]
        self.ssh_port = ports[0]
        self.addrs = {name: f"127.0.0.1:{port}" for name, port in zip(NAMES, ports[1:5], strict=True)}
        self.apis = {name: f"127.0.0.1:{port}" for name, port in zip(NAMES, ports[5:], strict=True)}
        self.log = self.folder / "events"
        self.secrets = {"RECONCILE_SECRET_GO": "first-secret-of-all"}
        self.repository = Repository.make(self.folder / "fleet")

    def __enter__(self):
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.log.touch()
        for name in NAMES:
            self.path(name).parent.mkdir(parents=True)
        for name in ("first", "second"):
            self._make_certificate(name)
        self._start_sshd()
        self._start_supervisor()
        self.host_file.write_text(json.dumps(self._make_host_config()))
        return self

    def __exit__(self, *_):
        self._stack.close()

    @property
    def host_file(self):
        return self.folder / "host.json"

    @property
    def control(self):
        return [
            str(Path(shutil.which("supervisorctl")).absolute()),
            "-c",
            str(self.folder / "supervisor.ini"),
        ]

    def path(self, name):
        """The file of a node."""
        return self.folder / "machines" / name / "app.json"

    def commit(self, names=NAMES[:3], *, tls=False, certificate="first", more="", **values):
        """Commit the cluster with these nodes and values."""
        nodes = "".join(
            f'  - {{name: {name}, addr: "{self.addrs[name]}", api: "http://{self.apis[name]}", '
            f'overlays: [{{merge: {{api: "{self.apis[name]}"}}}}]}}\n'
            for name in names
        )
        text = (
            "clusters:\n- name: scores\n  kind: gocluster\n  observe: true\n"
            "  config: {template: app.tmpl, values: values.json, file: app-config}\n"
            f"  tls: {json.dumps(tls)}\n  policy: {{max_risky: 100%}}\n{more}"
            "  windows: [{cron: '* * * * *', duration: 1h, timezone: UTC}]\n"
            "  timeouts: {connect: 2, read: 5, settle: 15, in_flight: 5}\n"
            "  settings: {ping_interval: 300ms, join_delay: 100ms, read_timeout: 2s, "
            "connect_interval: 200ms, connect_timeout: 1s}\n"
            "  restart: {command: restart-app, started: {command: app-started}}\n"
            f"  start: {{command: start-app}}\n  stop: {{command: stop-app}}\n  nodes:\n{nodes}"
        )
        own = {
            "secret": "${env:RECONCILE_SECRET_GO}",
            "api": "",
            "workers": 4,
            "tlsCertificate": str(self.folder / f"{certificate}.pem"),
        }
        files = {"fleet.yaml": text, "app.tmpl": TEMPLATE, "values.json": json.dumps({**own, **values})}
        self.repository.commit(files)

    def run(self, *words, status=(0,)):
        """One pass, and what it prints; no secret in it."""
        with self.start(*words) as process:
            shown, _ = process.communicate(timeout=180)
        assert process.returncode in status, (process.returncode, shown)
        assert all(secret not in shown for secret in self.secrets.values())
        return shown

    @contextmanager
    def start(self, *words):
        """A pass that runs."""
        command = [
            *(sys.executable, "-m", "reconciler.cli.main", *(words or (self.repository.folder, "--yes"))),
            *("--state", self.folder / "state"),
        ]
        if words[:1] not in {("approve",), ("status",), ("history",), ("resume",)}:
            command += ["--host-config", self.host_file]
        environment = {**os.environ, **ALONE, **self.secrets, "HOME": str(self.folder), "NO_COLOR": "1"}
        process = subprocess.Popen(
            list(map(str, command)),
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()

    def supervise(self, *words):
        return call(*self.control, *words)

    def events(self, *kinds):
        """What the processes said, in order: events and nodes."""
        lines = self.log.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in found if one["event"] in kinds or not kinds]

    def views(self):
        """What each node that answers shows, read by another client: node -> connected peers."""
        found = {}
        for name, address in self.apis.items():
            try:
                with urllib.request.urlopen(f"http://{address}/api/v1/cluster/{name}", timeout=5) as answer:
                    nodes = json.loads(json.loads(answer.read())["data"])["nodes"]
            except OSError:
                continue
            found[name] = {one for one, row in nodes.items() if row["status"] == "Online"}
        return found

    def _make_host_config(self):
        def supervise(word, **more):
            return {"run": [*self.control, word, "{node}"], "ssh": "machines", "timeout": 30, **more}

        check = [sys.executable, "-IS", str(PROGRAM), "check", "{file}"]
        return {
            "ssh": {
                "machines": {
                    "port": self.ssh_port,
                    "user": "root",
                    "keys": [str(self.folder / "id")],
                    "known_hosts": str(self.folder / "known_hosts"),
                }
            },
            "files": {
                "app-config": {
                    "path": str(self.folder / "machines" / "{node}" / "app.json"),
                    "check": check,
                    "ssh": "machines",
                }
            },
            "commands": {
                "restart-app": supervise("restart"),
                "start-app": supervise("start"),
                "stop-app": supervise("stop"),
                "app-started": supervise("pid", reads=True),
            },
        }

    def _make_certificate(self, name):
        path = self.folder / f"{name}.pem"
        call(
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-subj", f"/CN={name}", "-days", "2", "-keyout", path, "-out", f"{path}.crt"),
        )
        path.write_text(path.read_text() + Path(f"{path}.crt").read_text())

    def _start_sshd(self):
        for name in ("host", "id"):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name)
        shutil.copy(self.folder / "id.pub", self.folder / "authorized")
        host_key = (self.folder / "host.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.ssh_port} {host_key}")
        (self.folder / "sshd_config").write_text(
            f"Port {self.ssh_port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\n"
            f"PidFile none\nUsePAM no\nAuthorizedKeysFile {self.folder}/authorized\nStrictModes no\n"
            "PermitRootLogin prohibit-password\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        command = [shutil.which("sshd"), "-D", "-e", "-f", self.folder / "sshd_config"]
        self._stack.enter_context(running(command, self.folder / "sshd.log"))

    def _start_supervisor(self):
        text = (
            f"[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\n"
            f"pidfile={self.folder}/pid\nchildlogdir={self.folder}\nidentifier=go\n"
            f"[unix_http_server]\nfile={self.folder}/socket\n"
            f"[supervisorctl]\nserverurl=unix://{self.folder}/socket\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        )
        for name in NAMES:
            text += (
                f"[program:{name}]\ncommand={sys.executable} -IS {PROGRAM} {self.path(name)} {self.log}\n"
                f"autostart=false\nstartsecs=1\nstartretries=0\nautorestart=false\n"
                f"stdout_logfile={self.folder}/{name}.log\nredirect_stderr=true\n"
            )
        (self.folder / "supervisor.ini").write_text(text)
        command = [shutil.which("supervisord"), "-c", self.folder / "supervisor.ini"]
        self._stack.enter_context(running(command, self.folder / "supervisor.log"))
        block_until((self.folder / "socket").exists, seconds=30)
