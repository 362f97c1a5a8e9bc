"""A real Kafka broker in a process of its own, which can be killed and started again on the same data."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PROGRAM = "noida-db"


class KafkaBroker:
    """The broker of one test."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kafka-broker-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        command = [PROGRAM, "start", "--data-dir", str(self.folder), "--only", "kafka"]
        with (self.folder / "log").open("ab") as log:
            # A group of its own: the program starts others, which have to be killed with it.
            self._process = subprocess.Popen(
                [*command, "--kafka-port", str(self.port)],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 20
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)

    def make_topic(self, name, partitions=1):
        """Create a topic, once the broker answers."""
        from confluent_kafka.admin import AdminClient, NewTopic  # noqa: PLC0415  (of an extra)

        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        client.create_topics([NewTopic(name, partitions)], request_timeout=20)[name].result(20)

    def stop(self):
        """End it as a service manager does; topics that were made just before are on disk then."""
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(30)
        self._process = None

    def kill(self):
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def send(self, topic, *bodies):
        """Messages from somebody who may write to a topic; None is a tombstone."""
        from confluent_kafka import Producer  # noqa: PLC0415  (of an extra)

        producer = Producer({"bootstrap.servers": self.address})
        for body in bodies:
            producer.produce(topic, body, key=b"k" if body is None else None)
        assert producer.flush(20) == 0

    def read(self, topic, seconds=3.0):
        """All messages of a topic, from the first one."""
        from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415  (of an extra)

        consumer = Consumer({"bootstrap.servers": self.address, "group.id": f"test-{time.monotonic_ns()}"})
        found = []
        try:
            topics = consumer.list_topics(timeout=10).topics
            if topic not in topics:
                return []
            consumer.assign([TopicPartition(topic, part, 0) for part in topics[topic].partitions])
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                message = consumer.poll(0.2)
                if message is not None and message.error() is None:
                    found.append(message.value())
        finally:
            consumer.close()
        return found
