"""Machines of a Collaboration Server cluster: real Redis and nginx, OpenSSH, and a supervisor for all."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from supervised_site import SupervisedSite
from support.git_repositories import ALONE
from support.waiting import block_until

from reconciler.simulation.addresses import find_free_addresses

PROGRAM = Path(__file__).with_name("collab_process.py")
SERVERS = ("collab-1", "collab-2", "collab-3")

NGINX = """# people's own file
pid {folder}/nginx.pid;  error_log {folder}/nginx-error.log notice;
events {{ worker_connections  64; }}
http {{
    access_log off;   client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;

    upstream collabServer {{
        ip_hash;    # this is a must
        server 127.0.0.1:{first};   # list
        server 127.0.0.1:{second};
    }}

    server {{
        listen 127.0.0.1:{port};
        location /socket.io/ {{      # handshake
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_read_timeout 1h;
            proxy_pass http://collabServer/socket.io/;
        }}
        location /status {{ proxy_pass http://collabServer/status; }}
        location /other {{ return 200 "kept;{{\\n"; }}
    }}
}}
"""


class CollabSite(SupervisedSite):
    """The machines and the management host; a context manager."""

    def __init__(self, redis):
        self.redis_program = redis
        ssh_port, self.redis_port, self.port, *own = [address.port for address in find_free_addresses(6)]
        super().__init__("collab", ssh_port)
        self.ports = dict(zip(SERVERS, own, strict=True))
        self.log = self.folder / "starts"
        self.passwords = {"RECONCILE_SECRET_P": "old"}

    def __enter__(self):
        for node in (*SERVERS, "redis-1", "balancer-1"):
            self.path(node).parent.mkdir(parents=True)
        for node in SERVERS:
            self.path(node).write_text(
                json.dumps({**self.make_config(node, "old"), "custom": [1, 2]}, indent=4)
            )
        self.path("redis-1").write_text(
            f'# people\nport {self.redis_port}\nbind 127.0.0.1\nrequirepass old\nsave ""\ndir {self.folder}\n'
        )
        self.path("balancer-1").write_text(
            NGINX.format(
                folder=self.folder,
                port=self.port,
                first=self.ports["collab-1"],
                second=self.ports["collab-2"],
            )
        )
        self.start_sshd()
        self._start_programs()
        self._configure_host()
        return self

    def path(self, node):
        """The file of a node."""
        name = {"redis-1": "redis.conf", "balancer-1": "nginx.conf"}.get(node, "config.json")
        return self.folder / "machines" / node / name

    def make_config(self, node, password, **more):
        return {
            "port": self.ports[node],
            "logging": True,
            "authorizationServerUrl": f"http://127.0.0.1:{self.port}/api",
            "scaling": "horizontal",
            "redisServerUrl": f"redis://:{password}@127.0.0.1:{self.redis_port}",
        } | more

    def commit(self, servers=SERVERS[:2], **more):
        """Commit the cluster with these servers, and further keys of config.json."""
        config = self.make_config("collab-1", "${env:RECONCILE_SECRET_P}", **more)
        del config["port"]
        nodes = "".join(
            f"  - {{name: {name}, host: 127.0.0.1, port: {self.ports[name]}, "
            f"overlays: [{{merge: {{port: {self.ports[name]}}}}}]}}\n"
            for name in servers
        )
        text = (
            "clusters:\n- name: collab\n  kind: collab\n  drain: 0\n"
            "  config: {source: config.json, file: collab-config}\n"
            "  timeouts: {connect: 2, read: 5, settle: 20, in_flight: 5}\n  policy: {max_risky: 100%}\n"
            "  restart: {command: restart-collab}\n  start: {command: start-collab}\n"
            f"  stop: {{command: stop-collab}}\n  nodes:\n{nodes}"
            f"  redis: {{name: redis-1, host: 127.0.0.1, port: {self.redis_port}, source: redis.json, "
            "file: redis-conf, restart: {command: restart-redis}}\n"
            f'  loadBalancer: {{name: balancer-1, url: "http://127.0.0.1:{self.port}", file: nginx-conf, '
            "reload: {command: reload-nginx}}\n"
        )
        keys = {"bind": "127.0.0.1", "port": self.redis_port, "requirepass": "${env:RECONCILE_SECRET_P}"}
        self.repository.commit(
            {"fleet.yaml": text, "config.json": json.dumps(config), "redis.json": json.dumps(keys)}
        )

    def run(self, *words, status=(0,)):
        """One pass, and what it prints."""
        command = [
            *(sys.executable, "-m", "reconciler.cli.main", self.repository.folder, *(words or ("--yes",))),
            *("--state", self.folder / "state", "--host-config", self.host_file),
        ]
        environment = {**os.environ, **ALONE, **self.passwords, "HOME": str(self.folder), "NO_COLOR": "1"}
        done = subprocess.run(
            list(map(str, command)), env=environment, check=False, capture_output=True, text=True, timeout=180
        )
        shown = done.stdout + done.stderr
        assert done.returncode in status, (done.returncode, shown)
        return shown

    def starts(self):
        """The ports of the servers that were started, in order."""
        return [json.loads(line)["port"] for line in self.log.read_text().splitlines()]

    def count_reloads(self):
        return (self.folder / "nginx-error.log").read_text().count("signal 1 (SIGHUP) received")

    def open_socket(self):
        """A WebSocket through the load balancer, open."""
        found = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        found.sendall(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert found.recv(4000).startswith(b"HTTP/1.1 101 ")
        return found

    def _configure_host(self):
        nginx = [shutil.which("nginx"), "-t", "-q", "-p", str(self.folder), "-c", "{file}"]
        files = {
            "collab-config": {"path": str(self.folder / "machines" / "{node}" / "config.json")},
            "redis-conf": {"path": str(self.path("redis-1"))},
            "nginx-conf": {"path": str(self.path("balancer-1")), "check": nginx},
        }
        commands = {
            "restart-collab": self.make_command("restart", "{node}"),
            "start-collab": self.make_command("start", "{node}"),
            "stop-collab": self.make_command("stop", "{node}"),
            "restart-redis": self.make_command("restart", "redis-1"),
            "reload-nginx": self.make_command("signal", "HUP", "balancer-1"),
        }
        self.write_host_file(files, commands)

    def _start_programs(self):
        nginx = f"{shutil.which('nginx')} -p {self.folder} -c {self.path('balancer-1')}"
        programs = {
            "redis-1": f"{self.redis_program} {self.path('redis-1')}",
            "balancer-1": f"{nginx} -g 'daemon off;'",
            **{node: f"{sys.executable} -IS {PROGRAM} {self.path(node)} {self.log}" for node in SERVERS},
        }
        self.start_supervisor(programs)

        def is_up():
            done = subprocess.run([*self.control, "status"], check=False, capture_output=True, text=True)
            return done.stdout.count("RUNNING") == len(programs)

        block_until(is_up, seconds=30)
