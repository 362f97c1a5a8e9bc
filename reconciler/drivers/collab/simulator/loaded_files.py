"""What each process makes of its file when it starts: config.json and redis.conf; nginx has its own module.

Written from the documents alone, and not with the readers and writers of this product's driver: otherwise one
error in both would prove itself right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from reconciler.core.canonical import fingerprint
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.drivers.collab.cluster_state import (
    RedisConfiguration,
    ServerConfiguration,
    hash_password,
)

REDIS_PORT: Final = 6379

_LIMITS: Final = JsonLimits(size=1024 * 1024, values=20_000)
_SCALING: Final = ("horizontal", "vertical", "none")
_DATABASE: Final = ("host", "port", "username", "password")
_QUOTED: Final = re.compile(
    r'\s*(?:"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|([^\s"\'][^\s]*))(?=\s|$)', re.DOTALL
)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}


class InvalidFile(ValueError):
    """A process does not start with a file, or does not load it; the message says why."""


def read_server_file(content: bytes | None) -> ServerConfiguration:
    """What a server loads of its config.json.

    Raises:
        InvalidFile: there is none, it is not JSON, or a documented key has another type.
    """
    if content is None:
        raise InvalidFile("there is no config.json")
    try:
        value = read_json(content, _LIMITS)
    except JsonError as error:
        raise InvalidFile(f"config.json: {error}") from error
    if not isinstance(value, dict):
        raise InvalidFile("config.json is not an object")
    scaling = _take(value, "scaling", str, "none")
    if scaling not in _SCALING:
        raise InvalidFile(f"config.json: scaling is {scaling!r}")
    source = _take(value, "dataSource", dict, {})
    url = _take(value, "redisServerUrl", str, "")
    if scaling == "horizontal" and not url:
        raise InvalidFile("config.json: redisServerUrl is needed with scaling horizontal")
    redis, password = _read_redis_url(url) if url else ("", "")
    return ServerConfiguration(
        digest=sha256(content).hexdigest(),
        port=_take(value, "port", int, 3000),
        scaling=scaling,
        redis=redis,
        password=hash_password(password),
        database=describe_database(source),
        enable_tls=_take(value, "enableTls", bool, False),
        logging=_take(value, "logging", bool, False),
    )


def describe_database(source: Mapping[str, Any]) -> str:
    """A text that is the same for the same way to the database."""
    return fingerprint({key: source.get(key) for key in _DATABASE})


def _take(value: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    found = value.get(key, default)
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise InvalidFile(f"config.json: {key} has another type")
    return found


def _read_redis_url(url: str) -> tuple[str, str]:
    """`host:port` and the password of `redisServerUrl`."""
    try:
        parts = urlsplit(url)
        port = parts.port or REDIS_PORT
    except ValueError:
        raise InvalidFile("config.json: redisServerUrl is no URL") from None
    if parts.scheme != "redis" or not parts.hostname:
        raise InvalidFile("config.json: redisServerUrl is not redis://HOST:PORT")
    return f"{parts.hostname}:{port}", unquote(parts.password or "")


def read_redis_file(content: bytes | None, host: str) -> RedisConfiguration:
    """What Redis loads of its redis.conf.

    Args:
        content: None if there is no file.
        host: by which servers reach it.

    Raises:
        InvalidFile: there is none, or a line is not a directive.
    """
    port, required, is_protected = REDIS_PORT, "", True
    bind: tuple[str, ...] = ()
    user: tuple[frozenset[str], bool] | None = None
    options: dict[str, str] = {}
    for number, words in _list_directives(content):
        match words:
            case ["port", text] if text.isdecimal():
                port = int(text)
            case ["bind", *addresses]:
                bind = tuple(addresses)
            case ["requirepass", password]:
                required = hash_password(password)
            case ["protected-mode", "yes" | "no" as text]:
                is_protected = text == "yes"
            case ["user", "default", *rules]:
                user = _read_user(rules, number)
            case ["user", _, *_]:
                pass
            case ["port" | "bind" | "requirepass" | "protected-mode" | "user", *_]:
                raise InvalidFile(f"redis.conf:{number}: Bad directive or wrong number of arguments")
            case _:
                options[words[0]] = " ".join(words[1:])
    # A line `user default`, which CONFIG REWRITE leaves, outweighs `requirepass`.
    passwords, needs = user or (frozenset({required} if required else ()), bool(required))
    return RedisConfiguration(
        address=f"{host}:{port}",
        passwords=passwords,
        needs_password=needs,
        required=required,
        bind=bind,
        is_protected=is_protected,
        options=tuple(sorted(options.items())),
    )


def _list_directives(content: bytes | None) -> Iterator[tuple[int, list[str]]]:
    if content is None:
        raise InvalidFile("there is no redis.conf")
    for number, raw in enumerate(content.decode("utf-8", "replace").split("\n"), 1):
        line = raw.strip(" \t\r\n")
        if not line or line.startswith("#"):
            continue
        words = split_words(line)
        if words is None:
            raise InvalidFile(f"redis.conf:{number}: Unbalanced quotes in configuration line")
        words[0] = words[0].lower()
        if not re.fullmatch(r"[a-z][a-z0-9-]*", words[0]) or len(words) == 1:
            raise InvalidFile(f"redis.conf:{number}: Bad directive or wrong number of arguments")
        yield number, words


def split_words(line: str) -> list[str] | None:
    """The words of a line, in quotes or not, as Redis splits them; None for open quotes."""
    words, place = [], 0
    line = line.rstrip()
    while place < len(line):
        found = _QUOTED.match(line, place)
        if found is None:
            return None
        double, single, bare = found.groups()
        if double is not None:
            words.append(_ESCAPE.sub(_replace_escape, double))
        else:
            words.append(single.replace("\\'", "'") if single is not None else bare)
        place = found.end()
    return words


def _replace_escape(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2])


def _read_user(rules: list[str], number: int) -> tuple[frozenset[str], bool]:
    passwords: set[str] = set()
    needs = True
    for rule in rules:
        if rule == "nopass":
            passwords, needs = set(), False
        elif rule == "resetpass":
            passwords, needs = set(), True
        elif rule.startswith((">", "#")):
            passwords.add(rule[1:] if rule[0] == "#" else hash_password(rule[1:]))
            needs = True
        elif not re.fullmatch(r"on|off|sanitize-payload|allkeys|allchannels|allcommands|[~&+%-].*", rule):
            raise InvalidFile(f"redis.conf:{number}: Error in user declaration '{rule}': Syntax error")
    return frozenset(passwords), needs


def read_required_password(content: bytes) -> str:
    """The password of the last `requirepass` of a file, in plain text; empty without one."""
    found = [words[1] for _, words in _list_directives(content) if words[0] == "requirepass"]
    return found[-1] if found else ""


BY_DEFAULT: Final = ("latency-tracking-info-percentiles", "50 99 99.9")
"""An option that Redis runs with unless its file says otherwise, and that CONFIG REWRITE writes down."""

GENERATED: Final = "# Generated by CONFIG REWRITE"


def write_user(redis: RedisConfiguration) -> str:
    """The default user as Redis writes it in its file and lists it."""
    # Sorted, since the order of passwords decides nothing.
    passwords = " ".join(f"#{digest}" for digest in sorted(redis.passwords))
    access = (passwords or "resetpass") if redis.needs_password else "nopass"
    return f"user default on {access} ~* &* +@all"


def rewrite_redis_file(content: bytes, redis: RedisConfiguration, clear: Mapping[str, str]) -> bytes:
    """`CONFIG REWRITE`: lines that differ are replaced, missing ones are appended, all others stay.

    Args:
        content: of the file.
        redis: what it runs with.
        clear: digest -> password, of those that were set since the start.
    """
    wanted = {"user": write_user(redis), "requirepass": "", "bind": " ".join(["bind", *redis.bind])}
    lines, written = [], set()
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        words = [] if line.lstrip().startswith("#") else split_words(line.strip()) or []
        name = words[0].lower() if words else ""
        if name == "requirepass" and len(words) > 1:
            is_same = hash_password(words[1]) == redis.required
            password = words[1] if is_same else clear.get(redis.required, "")
            lines.append(f"requirepass {_quote(password)}" if password else "")
        elif (name == "user" and words[1:2] == ["default"]) or name == "bind":
            lines.append(wanted[name] if name not in written else "")
        else:
            lines.append(line)
        written.add(name)
    while lines and not lines[-1]:
        lines.pop()
    added = [" ".join(BY_DEFAULT), wanted["user"]]
    if redis.required and "requirepass" not in written and redis.required in clear:
        added.insert(0, f"requirepass {_quote(clear[redis.required])}")
    if redis.bind and "bind" not in written:
        added.insert(0, wanted["bind"])
    new = [line for line in added if line.split()[0] not in written]
    if new:
        lines += ["", GENERATED, *new] if GENERATED not in lines else new
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
