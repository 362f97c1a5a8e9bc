"""A Firestore emulator for component tests: Google's own where its jar is installed, else another from npm.

The other one implements reads, writes and listeners, and listens on every address of the machine: it is
started in a network namespace only.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

JAR = Path("/usr/lib/google-cloud-sdk/platform/cloud-firestore-emulator/cloud-firestore-emulator.jar")
MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
NODE_MODULES = "RECONCILE_FIRESTORE_NODE"
"""The variable with the folder `node_modules` that has the package of npm."""

SCRIPT = """
const { FirestoreServer } = require(process.argv[1] + "/@firestore-emulator/server")
new FirestoreServer().start(Number(process.argv[2]))
"""
PROJECT = "reconcile-tests"


def is_google():
    """Whether the emulator is Google's own."""
    return JAR.is_file() and shutil.which("java") is not None


class FirestoreEmulator:
    """An emulator on a free port of this machine; what it has ends with it."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Start it on its port and wait until it answers."""
        self.process = subprocess.Popen(
            self._find_command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.process.poll() is None, "the emulator ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError("the emulator does not listen")

    def _find_command(self):
        if is_google():
            return [
                shutil.which("java"),
                "-Xmx512m",
                "-cp",
                JAR,
                MAIN,
                "--host=127.0.0.1",
                f"--port={self.port}",
            ]
        modules = os.environ.get(NODE_MODULES)
        assert modules, f"neither {JAR} nor {NODE_MODULES} is there: .ci/components has one of them"
        # It has no option for its address, and nothing of a test may be reached from outside.
        assert {name for _, name in socket.if_nameindex()} == {"lo"}, "only in a network namespace of its own"
        return [shutil.which("node"), "-e", SCRIPT, modules, str(self.port)]

    def kill(self):
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait(10)

    def clear(self):
        """Remove all documents of `PROJECT`; Google's emulator only."""
        where = f"http://{self.address}/emulator/v1/projects/{PROJECT}/databases/(default)/documents"
        urllib.request.urlopen(urllib.request.Request(where, method="DELETE"), timeout=10).close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
