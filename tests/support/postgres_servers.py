"""A real PostgreSQL server of its own for tests, from the programs on PATH."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path

USER = "nobody"
"""PostgreSQL refuses to run as root."""


class PostgresServer:
    """A server with its data in a folder of its own; every database is a new one.

    Args:
        options: of the server, such as `max_connections=10`.
        primary: a running server of which this one is a standby.
        megabytes: size of a disk of its own, in memory; 0 for none. Mounting it needs root.
    """

    def __init__(self, *options: str, primary: PostgresServer | None = None, megabytes: int = 0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._is_mounted = bool(megabytes)
        if megabytes:
            command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(self.folder)]
            subprocess.run(command, check=True)
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self.data, USER)
        self._options = options
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if primary is not None:
            self._run("pg_basebackup", "-D", str(self.data), "-h", "127.0.0.1", "-p", str(primary.port),
                      "-U", "app", "--write-recovery-conf", "--checkpoint=fast", "--no-sync")  # fmt: skip
        else:
            self._run("initdb", "-D", str(self.data), "-U", "app", "-A", "trust", "-E", "UTF8",
                      "--locale=C.UTF-8", "--no-sync")  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [part for one in self._options for part in ("-c", one)]
        program = shutil.which("postgres")
        assert program is not None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix(), program, "-D", str(self.data), "-h", "127.0.0.1", "-p", str(self.port),
                 "-k", str(self.data), "-F", *options],
                stdout=subprocess.DEVNULL, stderr=log, start_new_session=True, cwd="/",
            )  # fmt: skip
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                self.execute("SELECT 1")
            except Exception:  # noqa: BLE001  (it has not started yet)
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it; by default it ends its connections at once, and leaves its data whole."""
        assert self._process is not None
        # Its own process: under another user, setpriv has become it.
        self._process.send_signal(how)
        self._process.wait(60)
        self._process = None

    def close(self) -> None:
        """End it, and remove its data."""
        if self._process is not None:
            self.stop()
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run_client(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL, as the user of the tests."""
        subprocess.run([program, *arguments], check=True, capture_output=True)

    def has_ended(self) -> bool:
        """Whether it has ended by itself; it can be started again then."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        return self._process is None

    def fill_disk(self) -> None:
        """Leave no space on its disk."""
        with (self.folder / "filling").open("wb", buffering=0) as file:
            for size in (2**20, 4096):
                while True:
                    try:
                        if file.write(bytes(size)) < size:
                            break
                    except OSError:
                        break

    def free_disk(self) -> None:
        """Give the space back."""
        (self.folder / "filling").unlink()

    def create_database(self) -> str:
        """The URL of a new database."""
        name = f"t{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of a database."""
        return f"postgresql://app@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        """The rows of a statement, outside any transaction of the program."""
        import psycopg  # noqa: PLC0415  (an extra)

        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _run(self, *command: str) -> None:
        subprocess.run([*self._prefix(), *command], check=True, capture_output=True, cwd="/")

    def _prefix(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        return ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups"]
