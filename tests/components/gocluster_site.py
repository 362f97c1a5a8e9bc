"""Machines of a Go cluster: OpenSSH, a supervisor with a real process for each node, and their mesh."""

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from sora_site import call
from supervised_site import SupervisedSite
from support.git_repositories import ALONE

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


class GoSite(SupervisedSite):
    """The machines and the management host; a context manager."""

    def __init__(self):
        ports = [address.port for address in find_free_addresses(9)]
        super().__init__("go", ports[0])
        self.addrs = {name: f"127.0.0.1:{port}" for name, port in zip(NAMES, ports[1:5], strict=True)}
        self.apis = {name: f"127.0.0.1:{port}" for name, port in zip(NAMES, ports[5:], strict=True)}
        self.log = self.folder / "events"
        self.secrets = {"RECONCILE_SECRET_GO": "first-secret-of-all"}

    def __enter__(self):
        self.log.touch()
        for name in NAMES:
            self.path(name).parent.mkdir(parents=True)
        for name in ("first", "second"):
            self._make_certificate(name)
        self.start_sshd()
        programs = {name: f"{sys.executable} -IS {PROGRAM} {self.path(name)} {self.log}" for name in NAMES}
        self.start_supervisor(programs, "autostart=false", "startretries=0")
        check = [sys.executable, "-IS", str(PROGRAM), "check", "{file}"]
        file = {"path": str(self.folder / "machines" / "{node}" / "app.json"), "check": check}
        commands = {
            "restart-app": self.make_command("restart", "{node}"),
            "start-app": self.make_command("start", "{node}"),
            "stop-app": self.make_command("stop", "{node}"),
            "app-started": self.make_command("pid", "{node}", reads=True),
        }
        self.write_host_file({"app-config": file}, commands)
        return self

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
