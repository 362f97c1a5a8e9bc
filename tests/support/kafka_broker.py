"""A Kafka broker for component tests: that of noida-db, on a free port, with its data in a folder."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


class KafkaBroker:
    """One broker; after a kill it starts again with what it has on disk.

    Args:
        folder: for its data.
    """

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Start it and wait until it answers."""
        from confluent_kafka import KafkaException  # noqa: PLC0415  (only where it is installed)
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415

        program = shutil.which("noida-db") or Path(sys.executable).with_name("noida-db")
        command = [program, "start", "--data-dir", self.folder, "--only", "kafka"]
        self.process = subprocess.Popen(
            [*command, "--kafka-port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it has processes of its own
        )
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.process.poll() is None, "the broker ended"
            try:
                client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
                client.list_topics(timeout=1)
            except KafkaException:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the broker does not answer")

    def make_topic(self, name, partitions=1):
        """Create a topic."""
        from confluent_kafka.admin import AdminClient, NewTopic  # noqa: PLC0415

        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        client.create_topics([NewTopic(name, partitions)])[name].result(10)

    def stop(self):
        """End it as a service manager does."""
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)

    def kill(self):
        """End it at once, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
