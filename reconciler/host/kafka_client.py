"""How this host reaches the Kafka clusters of its configuration, and what errors of the library mean.

Shared by the message bus and by the sink of feedback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reconciler.core.bus_channels import BusId
from reconciler.host.credentials import find_key_file, read_key_text
from reconciler.host.kafka_clusters import KafkaCluster
from reconciler.text.one_line import make_one_line

EXTRA: Final = "kafka"
PURPOSE: Final = "Kafka clusters"

_LONGEST: Final = 300
_END_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """How this host reaches a Kafka cluster: its entry, with the paths of files as they are on this machine.

    Args:
        key: of this host's certificate; None for none.
        password: of the login; None for none.
    """

    entry: KafkaCluster
    key: Path | None = None
    password: Path | None = None


def find_kafka_access(entry: KafkaCluster, environment: Mapping[str, str]) -> KafkaAccess:
    """An entry with the files of this machine.

    Raises:
        UsageError: it names a credential of the systemd unit, and there is no folder of them.
    """
    key, password = entry.tls.key if entry.tls else None, entry.login.password if entry.login else None
    return KafkaAccess(
        entry,
        find_key_file(key, environment) if key else None,
        find_key_file(password, environment) if password else None,
    )


def make_kafka_settings(
    bus: BusId, access: KafkaAccess, note_trouble: Callable[[str], None]
) -> dict[str, Any]:
    """The settings of both halves of the library.

    Args:
        bus: for messages.
        access: how the cluster is reached.
        note_trouble: called in threads of the library, with why it is not connected.

    Raises:
        UsageError: a file of the entry cannot be read.
    """
    entry = access.entry
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(entry.called),
        "client.id": "reconciler",
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 5_000,
        "socket.timeout.ms": 10_000,
        "socket.keepalive.enable": True,
        "error_cb": lambda error: note_trouble(describe_kafka_error(error)),
        "logger": make_silent_log(),
    }
    if entry.tls is not None:
        found["ssl.ca.location"] = str(entry.tls.ca) if entry.tls.ca else "probe"
        found["ssl.endpoint.identification.algorithm"] = "https"
        if entry.tls.certificate is not None and access.key is not None:
            found |= {
                "ssl.certificate.location": str(entry.tls.certificate),
                "ssl.key.pem": _read_secret(bus, "tls.key", access.key),
            }
    if entry.login is not None and access.password is not None:
        found |= {
            "sasl.mechanism": entry.login.mechanism,
            "sasl.username": entry.login.user,
            "sasl.password": _read_secret(bus, "login.password", access.password).strip(),
        }
    secure, login = entry.tls is not None, entry.login is not None
    found["security.protocol"] = (
        ("sasl_ssl" if login else "ssl") if secure else ("sasl_plaintext" if login else "plaintext")
    )
    return found


def make_producer_settings(settings: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The settings of a producer whose messages are each on all replicas once, or are told as failed.

    Args:
        settings: of `make_kafka_settings`.
        seconds: after which a message counts as failed.
    """
    reliable = {"enable.idempotence": True, "acks": "all", "message.timeout.ms": int(seconds * 1000)}
    return {**settings, **reliable}


def end_producer(producer: Any) -> None:
    """End a producer: what was not acknowledged must not arrive after it was sent again."""
    producer.purge()
    producer.flush(_END_SECONDS)


def _read_secret(bus: BusId, key: str, file: Path) -> str:
    return read_key_text(file, f"the file of `{bus.kind}.{bus.name}.{key}`,")


def describe_kafka_error(error: Any) -> str:
    """An error of the library on one line; it has neither passwords nor messages."""
    inner = get_kafka_error(error)
    return make_one_line(inner.str() if hasattr(inner, "str") else str(inner), _LONGEST)


def get_kafka_error(error: Any) -> Any:
    """The `KafkaError` that an exception of the library has, or the error itself."""
    return error.args[0] if isinstance(error, Exception) and error.args else error


def make_silent_log() -> logging.Logger:
    """A log for the library, whose lines about lost connections come in the hundreds."""
    log = logging.getLogger("reconciler.kafka")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    return log
