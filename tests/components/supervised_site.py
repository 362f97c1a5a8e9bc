"""Machines of a cluster behind one OpenSSH server, whose processes a supervisor starts and stops."""

import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from sora_site import call, running
from support.git_repositories import Repository
from support.waiting import block_until


class SupervisedSite:
    """The machines and the management host.

    Args:
        name: of the product, for the folder.
        ssh_port: of the SSH server.
    """

    def __init__(self, name, ssh_port):
        self.name, self.ssh_port = name, ssh_port
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-site-"))
        self.folder.chmod(0o755)
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.repository = Repository.make(self.folder / "fleet")

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

    def supervise(self, *words):
        return call(*self.control, *words)

    def make_command(self, *words, **more):
        """An entry of `commands`: what the supervisor is asked to do on the machines."""
        return {"run": [*self.control, *words], "ssh": "machines", "timeout": 30, **more}

    def write_host_file(self, files, commands):
        """The host configuration, with the way to the machines."""
        way = {
            "port": self.ssh_port,
            "user": "root",
            "keys": [str(self.folder / "id")],
            "known_hosts": str(self.folder / "known_hosts"),
        }
        entries = {name: {**entry, "ssh": "machines"} for name, entry in files.items()}
        config = {"ssh": {"machines": way}, "files": entries, "commands": commands}
        self.host_file.write_text(json.dumps(config))

    def start_sshd(self):
        """The SSH server, with keys of its own."""
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

    def start_supervisor(self, programs, *options):
        """The supervisor.

        Args:
            programs: name -> its command line.
            options: further lines for each of them.
        """
        text = (
            f"[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\n"
            f"pidfile={self.folder}/pid\nchildlogdir={self.folder}\nidentifier={self.name}\n"
            f"[unix_http_server]\nfile={self.folder}/socket\n"
            f"[supervisorctl]\nserverurl=unix://{self.folder}/socket\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        )
        for name, command in programs.items():
            text += (
                f"[program:{name}]\ncommand={command}\nstartsecs=1\nautorestart=false\n"
                f"stdout_logfile={self.folder}/{name}.log\nredirect_stderr=true\n"
            )
            text += "".join(f"{option}\n" for option in options)
        (self.folder / "supervisor.ini").write_text(text)
        command = [shutil.which("supervisord"), "-c", self.folder / "supervisor.ini"]
        self._stack.enter_context(running(command, self.folder / "supervisor.log"))
        block_until((self.folder / "socket").exists, seconds=30)
