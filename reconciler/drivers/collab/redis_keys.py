"""Keys of redis.conf that a cluster's entry commits, and what is checked about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from reconciler.core.secret import Secret, reveal
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document, make_diagnostic
from reconciler.drivers.collab.cluster_state import EVERY_ADDRESS, LOOPBACK
from reconciler.drivers.collab.config import ENCODING_REMEDY, WINDOWS_PATH, get_shown_text
from reconciler.drivers.collab.schema import CollabCluster, RedisNode, parse_redis_url
from reconciler.ports.cluster_input import ClusterInput
from reconciler.secrets.patterns import should_mask_key
from reconciler.text.json_pointer import make_pointer

PASSWORD: Final = "requirepass"  # noqa: S105  (the name of a key)

PROTECTED: Final = "protected-mode"

_REFUSED: Final = {
    "include": "another file could change what this one says",
    "loadmodule": "a module runs code in Redis",
    "user": "users of Redis are not managed; the program changes the passwords of the default user only",
    "aclfile": "with it, CONFIG REWRITE does not keep passwords",
    "rename-command": "the program and the servers need the commands under their own names",
    **dict.fromkeys(
        ("replicaof", "slaveof"), "a replica discards its data and accepts no writes, which the servers need"
    ),
}


def find_redis_problems(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """What is wrong in the committed keys of redis.conf, and what contradicts the servers."""
    entry = cluster_input.entry
    assert isinstance(entry, CollabCluster)
    redis = entry.redis
    if redis is None or redis.source is None:
        return
    document = cluster_input.documents.get(redis.name)
    if redis.file is None:
        pointer = f"{cluster_input.pointer}/redis/source"
        words = "`source` of redis needs `file`, the name of the redis.conf in the host configuration"
        yield make_diagnostic(cluster_input.fleet, pointer, "missing-key", words, "add `file`")
    if document is None:  # reported where the file was read
        return
    problems = list(_check_form(document))
    yield from problems
    if problems:
        return
    yield from _check_port(document, redis)
    yield from _check_bind(document, entry, redis)
    yield from _check_password(cluster_input, document, entry)
    if entry.strict:
        yield from find_open_redis(document, Severity.ERROR)


def find_open_redis(document: Document, severity: Severity) -> Iterator[Diagnostic]:
    """Whether Redis would listen on all addresses without a password, as the vendor's page prescribes."""
    if not isinstance(document.value, Mapping) or PASSWORD in document.value:
        return
    if set(split_bind(document.value)) & set(EVERY_ADDRESS):
        yield make_diagnostic(
            document,
            "/bind",
            "redis-open",
            "Redis listens on all addresses and demands no password: whoever reaches the machine can read "
            "and change all that the servers keep in it",
            "name the addresses that the servers use, and add requirepass with a reference to a secret",
            severity=severity,
        )


def split_bind(value: Mapping[str, Any]) -> tuple[str, ...]:
    """The addresses of `bind`; a leading `-` means that Redis starts without the address, too."""
    text = reveal(value.get("bind", ""))
    return tuple(part.lstrip("-") for part in str(text).split())


def _check_form(document: Document) -> Iterator[Diagnostic]:
    if not isinstance(document.value, Mapping):
        yield make_diagnostic(document, "", "wrong-type", "keys of redis.conf must be one mapping")
        return
    for key, value in document.value.items():
        pointer, text = make_pointer((key,)), reveal(value)
        if (
            not key
            or not key.replace("-", "").replace(".", "").replace("_", "").isalnum()
            or key != key.lower()
        ):
            words = f"the key {key!r} cannot be written to a redis.conf"
            yield make_diagnostic(
                document, pointer, "bad-value", words, "write it in lower case, as Redis does"
            )
        elif key in _REFUSED:
            yield make_diagnostic(
                document, pointer, "redis-key", f"`{key}` is not accepted here: {_REFUSED[key]}", "remove it"
            )
        elif isinstance(text, bool) or not isinstance(text, str | int) or _is_unwritable(str(text)):
            words = f"the value of {key} must be a whole number or one line of text"
            remedy = _suggest_form(key, text)
            yield make_diagnostic(document, pointer, "bad-value", words, remedy)
        elif not isinstance(value, Secret) and WINDOWS_PATH.match(str(text)):
            words = "this is a path of Windows, and a Redis on Windows is not managed"
            remedy = "run Redis on Linux, or leave `source` out so that it is only observed"
            yield make_diagnostic(document, pointer, "windows-host", words, remedy)


def _suggest_form(key: str, value: Any) -> str:
    """How to write a value that is neither a number nor one line of text."""
    if isinstance(value, bool):
        return f'write "{"yes" if value else "no"}", in quotes: without them YAML reads a switch'
    if isinstance(value, list) and not should_mask_key(key):
        words = " ".join(str(one) for one in value if isinstance(one, str | int))
        return f'write all of it in one text, such as {key}: "{words[:100]}"' if words else "write one text"
    if value is None:
        return "remove the key to leave it as it is on the node, or write its value"
    if isinstance(value, str):
        return "remove line ends, control characters, and spaces at its beginning and end"
    return "write a whole number, or a text in quotes"


def _is_unwritable(text: str) -> bool:
    return any(ord(char) < ord(" ") for char in text) or text != text.strip()


def _check_port(document: Document, redis: RedisNode) -> Iterator[Diagnostic]:
    if "port" in document.value and str(reveal(document.value["port"])) != str(redis.port):
        words = f"`port` is not that of the fleet file, {redis.port}"
        yield make_diagnostic(document, "/port", "config-port", words, "write the same port in both")


def _check_bind(document: Document, entry: CollabCluster, redis: RedisNode) -> Iterator[Diagnostic]:
    """Whether the servers can reach Redis at the address by which the fleet file names it."""
    listens = split_bind(document.value)
    if not listens or set(listens) & set(EVERY_ADDRESS):
        return
    is_local = redis.host in LOOPBACK or redis.host.startswith("127.")
    elsewhere = [one for one in entry.nodes if one.host != redis.host and not is_local]
    names = ", ".join(one.name for one in elsewhere[:3])
    remedy = f"add the address by which the servers reach Redis, such as {redis.host}"
    if elsewhere and all(one in LOOPBACK or one.startswith("127.") for one in listens):
        words = f"Redis would listen on its own machine alone, and not be reached by {names}"
        yield make_diagnostic(document, "/bind", "redis-bind", words, remedy)
        return
    try:
        ip_address(redis.host)
    except ValueError:
        return
    if redis.host not in listens and not is_local:
        words = f"Redis would not listen on {redis.host}, by which the fleet file names it"
        yield make_diagnostic(document, "/bind", "redis-bind", words, remedy)


def _check_password(
    cluster_input: ClusterInput, document: Document, entry: CollabCluster
) -> Iterator[Diagnostic]:
    """The servers have to show the password that Redis demands."""
    value = document.value.get(PASSWORD)
    if value is None:
        return
    if not isinstance(value, Secret) and not str(value):
        words, remedy = "requirepass is empty", "remove the key, or write a reference to a secret"
        yield make_diagnostic(document, f"/{PASSWORD}", "bad-value", words, remedy)
        return
    for server in entry.nodes:
        own = cluster_input.documents.get(server.name)
        url = own.value.get("redisServerUrl") if own is not None and isinstance(own.value, Mapping) else None
        if own is None or url is None:
            continue
        # Where the secret is not known, both are compared by their references.
        text, wanted = get_shown_text(url), get_shown_text(value)
        parsed = parse_redis_url(text)
        if parsed is not None and parsed.password != wanted:
            is_escaped = "%" in wanted and f":{wanted}@" in text
            words = f"the redisServerUrl of {server.name} does not have the requirepass of {document.name}"
            if is_escaped:
                words += ": the same text is in both, and a URL reads each % in it as the start of an escape"
            yield make_diagnostic(
                own,
                "/redisServerUrl",
                "redis-password-differs",
                words,
                ENCODING_REMEDY
                if is_escaped
                else "write redis://:PASSWORD@HOST:PORT with the same reference to a secret in both",
            )
            return
