"""Real repositories, served over file, http and ssh, apart from whatever git finds on this machine."""

from __future__ import annotations

import asyncio
import base64
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ALONE = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def alone(monkeypatch, home: Path) -> None:
    """Shut out this machine's git configuration, tokens and agents."""
    for variable in sorted(os.environ):
        if variable.startswith(("GIT_", "SSH_", "RECONCILE_")) or variable.lower().endswith("_proxy"):
            monkeypatch.delenv(variable)
    for variable, value in {**ALONE, "HOME": str(home)}.items():
        monkeypatch.setenv(variable, value)


def git(folder: Path, *arguments: str) -> str:
    """Standard output of a git command, which has to succeed."""
    command = ["git", "-C", str(folder), *arguments]
    environment = {**os.environ, **ALONE}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass(frozen=True)
class Repository:
    """A repository with a working tree."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, files: Mapping[str, str | bytes] | None = None) -> Repository:
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "--quiet", "--initial-branch=main", ".")
        made = cls(folder)
        if files is not None:
            made.commit(files, "First commit")
        return made

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for path, data in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data.encode() if isinstance(data, str) else data)

    def commit(self, files: Mapping[str, str | bytes], message: str = "Change") -> str:
        self.write(files)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "-m", message)
        return self.head

    @property
    def head(self) -> str:
        return git(self.folder, "rev-parse", "HEAD")

    def bare(self, folder: Path) -> Path:
        """A bare clone of it."""
        git(self.folder, "clone", "--quiet", "--bare", ".", str(folder))
        return folder


@dataclass
class HttpServer:
    """A running server: where it is, and what it was asked."""

    url: str
    asked: list[str]
    authorizations: list[str]


@contextmanager
def http_server(root: Path, *, user: str = "", password: str = "", status: int = 0) -> Iterator[HttpServer]:
    """`git http-backend` over the bare repositories in `root`.

    Args:
        root: the folder whose repositories are served.
        user: who may read; empty for everybody.
        password: of that user.
        status: answered to every request instead, if not 0.
    """
    seen = HttpServer("", [], [])
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.asked.append(f"{self.command} {self.path}")
            given = self.headers.get("Authorization", "")
            seen.authorizations.append(given)
            if status:
                self.send_error(status)
            elif expected and given != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._backend()

        def do_POST(self):
            self.do_GET()

        def _backend(self):
            path, _, query = self.path.partition("?")
            environment = {
                **os.environ,
                **ALONE,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": user,
            }
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            done = subprocess.run(
                ["git", "http-backend"],
                env=environment,
                input=body,
                capture_output=True,
                check=False,
                timeout=60,
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(row.split(": ", 1) for row in head.decode().split("\r\n") if row)
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            for field, value in fields.items():
                self.send_header(field, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Say nothing on the terminal."""

    with serving(Answers) as url:
        seen.url = url
        yield seen


@contextmanager
def serving(answers: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL, without a slash at its end, at which a request class answers on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class SshServer:
    """A running ssh server and the configuration of a client that it lets in."""

    port: int
    folder: Path

    @property
    def command(self) -> str:
        """The ssh command that knows the client's key and the known hosts."""
        return f"ssh -F {self.folder / 'config'}"

    def trust(self, *, key: str = "") -> None:
        """Write the server's own host key, or another one, into the client's known hosts."""
        public = key or (self.folder / "host.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")

    def use(self, key: str) -> None:
        """Let the client show this key: `client` is authorised, any other is not."""
        (self.folder / "config").write_text(
            f"Host 127.0.0.1\n  IdentityFile {self.folder / key}\n"
            "  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {self.folder / 'known_hosts'}\n  GlobalKnownHostsFile none\n"
        )


def ssh_key(file: Path) -> str:
    """A new key pair in `file` and `file.pub`; gives the public one."""
    import asyncssh  # noqa: PLC0415  (slow to load, and few tests need it)

    key = asyncssh.generate_private_key("ssh-ed25519")
    file.write_bytes(key.export_private_key())
    file.chmod(0o600)
    public = key.export_public_key().decode()
    file.with_suffix(".pub").write_text(public)
    return public


async def _pump(source, sink) -> None:
    """Copy until the source ends; asyncssh's own redirection leaves coroutines behind that nobody awaits."""
    with suppress(BrokenPipeError, ConnectionResetError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()


@asynccontextmanager
async def ssh_server(folder: Path):
    """An ssh server that runs git-upload-pack for whoever has the key `client`."""
    import asyncssh  # noqa: PLC0415  (slow to load, and few tests need it)

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host", "client", "stranger"):
        ssh_key(folder / name)

    async def upload_pack(process):
        verb, path = shlex.split(process.command)
        assert verb == "git-upload-pack"
        protocol = process.env.get("GIT_PROTOCOL", "")
        running = await asyncio.create_subprocess_exec(
            "git", "upload-pack", path,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **ALONE, "GIT_PROTOCOL": protocol},
        )  # fmt: skip
        pumps = (
            asyncio.create_task(_pump(running.stdout, process.stdout)),
            asyncio.create_task(_pump(running.stderr, process.stderr)),
        )
        asked = asyncio.create_task(_pump(process.stdin, running.stdin))
        asked.add_done_callback(lambda _: running.stdin.close())
        await asyncio.gather(*pumps)
        process.exit(await running.wait())
        await asked

    server = await asyncssh.create_server(
        asyncssh.SSHServer, "127.0.0.1", 0,
        server_host_keys=[str(folder / "host")],
        authorized_client_keys=str(folder / "client.pub"),
        process_factory=upload_pack, encoding=None,
    )  # fmt: skip
    try:
        made = SshServer(server.get_port(), folder)
        made.use("client")
        yield made
    finally:
        server.close()
        await server.wait_closed()
