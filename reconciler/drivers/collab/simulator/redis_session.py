"""One connection to a simulated Redis: RESP2 and RESP3 as the real server speaks them, as bytes in and out.

Answers, and the errors above all, are those of Redis 7 and Valkey 9: a test sends the same to both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeAlias

from reconciler.drivers.collab.cluster_state import RedisConfiguration, hash_password
from reconciler.drivers.collab.machine import add_password, drop_password, require_password
from reconciler.drivers.collab.simulator.loaded_files import split_words, write_user

VERSION: Final = "7.2.4"

_LONGEST_LINE: Final = 64 * 1024
_MOST_ARGUMENTS: Final = 1024 * 1024
_LONGEST_ARGUMENT: Final = 512 * 1024 * 1024
_MOST_BEFORE_AUTH: Final = 10
_LONGEST_BEFORE_AUTH: Final = 16_384
_LARGEST_REQUEST: Final = 1024 * 1024
"""Bytes of a request that are kept; the real server keeps a gigabyte."""

DENIED: Final = (
    "DENIED Redis is running in protected mode because protected mode is enabled and no password is set for "
    "the default user. In this mode connections are only accepted from the loopback interface."
)
NO_AUTH: Final = "NOAUTH Authentication required."
WRONG_PASSWORD: Final = "WRONGPASS invalid username-password pair or user is disabled."  # noqa: S105
NO_PASSWORD: Final = (
    "ERR AUTH <password> called without any password configured for the default user. "  # noqa: S105
    "Are you sure your configuration is correct?"
)
BAD_HASH: Final = (
    "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
)
HELLO_BEFORE_AUTH: Final = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
    "<user> <pass> option can be used to authenticate the client and select the RESP protocol version at the "
    "same time"
)


class RedisHost(Protocol):
    """The simulated Redis behind a session."""

    @property
    def redis(self) -> RedisConfiguration | None:
        """What it runs with; None while it is stopped."""

    @property
    def redis_starts(self) -> int:
        """How often it was started: a session ends with its process."""

    def change_redis(self, configuration: RedisConfiguration, clear: Mapping[str, str]) -> None:
        """Run with another configuration; `clear` has digest -> password of those that are new."""

    def rewrite_redis(self) -> str:
        """`CONFIG REWRITE`; gives an error, empty if it succeeded."""

    def read_redis_options(self) -> dict[str, str]:
        """What `CONFIG GET` gives, with the password that is required in plain text."""


_Call: TypeAlias = Callable[[Any, Sequence[str]], Any]

_ANY: Final = 10**6

_PARTS: Final = frozenset({"config", "acl"})
"""Commands whose first argument names what they do."""


class Status(NamedTuple):
    """A simple text."""

    text: str


class CommandError(Exception):
    """The command is answered with this error, which has its code as first word."""


class ProtocolError(Exception):
    """The request is no RESP: it is answered with this error, and the connection is closed."""


def name_redis_start(starts: int) -> str:
    """The `run_id` of the process that was started last.

    Args:
        starts: how often Redis was started.
    """
    return sha256(f"run {starts}".encode()).hexdigest()[:40]


class RedisSession:
    """A connection. Bytes come in, bytes of answers go out.

    Args:
        host: the Redis behind it.
        peer: address of the client.
    """

    def __init__(self, host: RedisHost, peer: str = "127.0.0.1") -> None:
        redis = host.redis
        self._host = host
        self._starts = host.redis_starts
        self._input = b""
        self._protocol = 2
        self._is_local = peer in {"::1", "localhost"} or peer.startswith("127.")
        self._is_authenticated = redis is not None and not redis.needs_password
        self.is_over = redis is None
        self.commands: list[str] = []
        """Names of the commands that were performed, with their first argument for those that have parts."""

    def receive(self, data: bytes) -> bytes:
        """The answers to what came in; empty as long as no request is complete."""
        redis = self._host.redis
        # Redis was restarted: its connections have ended without a word.
        if redis is None or self._host.redis_starts != self._starts:
            self.is_over = True
        if self.is_over or redis is None:
            return b""
        if not self._is_local and redis.is_protected and not redis.needs_password:
            self.is_over = True
            return f"-{DENIED}\r\n".encode()
        self._input += data
        answers = b""
        try:
            while not self.is_over and (request := self._take_request()) is not None:
                if request:
                    answers += self._answer(request)
            if len(self._input) > _LARGEST_REQUEST:
                self.is_over = True
        except ProtocolError as error:
            self.is_over = True
            answers += f"-ERR Protocol error: {error}\r\n".encode()
        return answers

    def _take_request(self) -> list[str] | None:
        """The words of the next request; None if it is not complete yet."""
        line, end, rest = self._input.partition(b"\n")
        if not end:
            if len(line) > _LONGEST_LINE:
                is_inline = not line.startswith(b"*")
                raise ProtocolError("too big inline request" if is_inline else "too big mbulk count string")
            return None
        if line.startswith(b"*"):
            return self._take_array(line, rest)
        self._input = rest
        words = split_words(line.decode("utf-8", "surrogateescape").rstrip("\r"))
        if words is None:
            raise ProtocolError("unbalanced quotes in request")
        return words

    def _take_array(self, line: bytes, rest: bytes) -> list[str] | None:
        count = _read_number(line[1:].removesuffix(b"\r"))
        if count is None or count > _MOST_ARGUMENTS:
            raise ProtocolError("invalid multibulk length")
        if count > _MOST_BEFORE_AUTH and not self._is_authenticated:
            raise ProtocolError("unauthenticated multibulk length")
        words = []
        for _ in range(count):
            head, end, rest = rest.partition(b"\r\n")
            if head[:1] not in {b"$", b""}:
                raise ProtocolError(f"expected '$', got '{chr(head[0])}'")
            if not end:
                return None
            length = _read_number(head[1:])
            if length is None or not 0 <= length <= _LONGEST_ARGUMENT:
                raise ProtocolError("invalid bulk length")
            if length > _LONGEST_BEFORE_AUTH and not self._is_authenticated:
                raise ProtocolError("unauthenticated bulk length")
            if len(rest) < length + 2:
                return None
            words.append(rest[:length].decode("utf-8", "surrogateescape"))
            rest = rest[length + 2 :]
        self._input = rest
        return words

    def _answer(self, request: Sequence[str]) -> bytes:
        name = request[0].lower()
        try:
            return self._encode(self._perform(name, request))
        except CommandError as error:
            return f"-{error}\r\n".encode("utf-8", "surrogateescape")

    def _perform(self, name: str, request: Sequence[str]) -> Any:
        if name in {"post", "host:"}:
            # As the real server does, so that no web page can send it commands.
            self.is_over = True
            return None
        if not self._is_authenticated and name not in {"auth", "hello", "quit"}:
            raise CommandError(NO_AUTH)
        call, least, most = self._find_command(request)
        if not least <= len(request) <= most:
            shown = f"{name}|{request[1].lower()}" if name in _PARTS else name
            raise CommandError(f"ERR wrong number of arguments for '{shown}' command")
        self.commands.append(" ".join(request[: 2 if name in _PARTS else 1]).lower())
        return call(self, request)

    def _get_redis(self) -> RedisConfiguration:
        redis = self._host.redis
        assert redis is not None
        return redis

    def _ping(self, request: Sequence[str]) -> Any:
        return request[1] if len(request) > 1 else Status("PONG")

    def _quit(self, _: Sequence[str]) -> Any:
        self.is_over = True
        return Status("OK")

    def _auth(self, request: Sequence[str]) -> Any:
        if len(request) > 3:  # noqa: PLR2004  (AUTH, user, password)
            raise CommandError("ERR syntax error")
        if len(request) == 2 and not self._get_redis().needs_password:  # noqa: PLR2004  (without a user)
            raise CommandError(NO_PASSWORD)
        self._log_in("default" if len(request) == 2 else request[1], request[-1])  # noqa: PLR2004
        return Status("OK")

    def _log_in(self, user: str, password: str) -> None:
        redis = self._get_redis()
        is_right = not redis.needs_password or _hash(password) in redis.passwords
        if user != "default" or not is_right:
            raise CommandError(WRONG_PASSWORD)
        self._is_authenticated = True

    def _hello(self, request: Sequence[str]) -> Any:
        protocol, rest = self._protocol, list(request[1:])
        if rest:
            if not re.fullmatch(r"-?[0-9]{1,18}", text := rest.pop(0)):
                raise CommandError("ERR Protocol version is not an integer or out of range")
            protocol = int(text)
            if protocol not in {2, 3}:
                raise CommandError("NOPROTO unsupported protocol version")
        while rest:
            if rest[0].lower() == "auth" and len(rest) > 2:  # noqa: PLR2004  (AUTH, user, password)
                self._log_in(rest[1], rest[2])
                rest = rest[3:]
            elif rest[0].lower() == "setname" and len(rest) > 1:
                rest = rest[2:]
            else:
                raise CommandError(f"ERR Syntax error in HELLO option '{rest[0]}'")
        if not self._is_authenticated:
            raise CommandError(HELLO_BEFORE_AUTH)
        self._protocol = protocol
        return {
            "server": "redis",
            "version": VERSION,
            "proto": protocol,
            "id": 1,
            "mode": "standalone",
            "role": "master",
            "modules": [],
        }

    def _select(self, request: Sequence[str]) -> Any:
        if not re.fullmatch(r"[0-9]{1,4}", request[1]):
            raise CommandError("ERR value is not an integer or out of range")
        if int(request[1]) > 15:  # noqa: PLR2004  (databases of a Redis by default)
            raise CommandError("ERR DB index is out of range")
        return Status("OK")

    def _client(self, request: Sequence[str]) -> Any:
        if request[1].lower() not in {"setinfo", "setname"}:
            raise CommandError(f"ERR unknown subcommand '{request[1]}'. Try CLIENT HELP.")
        return Status("OK")

    def _command(self, _: Sequence[str]) -> Any:
        return []

    def _info(self, _: Sequence[str]) -> Any:
        lines = [
            "# Server",
            f"redis_version:{VERSION}",
            "redis_mode:standalone",
            f"run_id:{name_redis_start(self._starts)}",
            "",
            "# Persistence",
            "loading:0",
        ]
        return "".join(f"{line}\r\n" for line in lines)

    def _config_get(self, request: Sequence[str]) -> Any:
        options = self._host.read_redis_options()
        patterns = [pattern.lower() for pattern in request[2:]]
        return {name: options[name] for name in options if any(fnmatchcase(name, one) for one in patterns)}

    def _config_set(self, request: Sequence[str]) -> Any:
        if len(request) % 2:
            raise CommandError("ERR wrong number of arguments for 'config|set' command")
        redis, clear = self._get_redis(), {}
        for name, value in zip(request[2::2], request[3::2], strict=True):
            match name.lower():
                case "requirepass":
                    redis = require_password(redis, _hash(value) if value else "")
                    clear[redis.required] = value
                case "bind":
                    redis = redis._replace(bind=tuple(value.split()))
                case "protected-mode" if value.lower() in {"yes", "no"}:
                    redis = redis._replace(is_protected=value.lower() == "yes")
                case "protected-mode":
                    raise CommandError(
                        "ERR CONFIG SET failed (possibly related to argument 'protected-mode') - "
                        "argument must be 'yes' or 'no'"
                    )
                case _:
                    raise CommandError(f"ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
        self._host.change_redis(redis, clear)
        return Status("OK")

    def _config_rewrite(self, _: Sequence[str]) -> Any:
        if error := self._host.rewrite_redis():
            raise CommandError(f"ERR {error}")
        return Status("OK")

    def _acl_list(self, _: Sequence[str]) -> Any:
        return [write_user(self._get_redis())]

    def _acl_whoami(self, _: Sequence[str]) -> Any:
        return "default"

    def _acl_getuser(self, request: Sequence[str]) -> Any:
        if request[2] != "default":
            return None
        redis = self._get_redis()
        flags = ["on"] if redis.needs_password else ["on", "nopass"]
        return {
            "flags": flags,
            "passwords": sorted(redis.passwords),
            "commands": "+@all",
            "keys": "~*",
            "channels": "&*",
            "selectors": [],
        }

    def _acl_setuser(self, request: Sequence[str]) -> Any:
        if request[2] != "default":
            raise CommandError("ERR only the default user is simulated")
        redis = self._get_redis()
        # All or nothing: a rule with an error leaves the user as it was.
        for rule in request[3:]:
            redis = _apply_rule(redis, rule)
        self._host.change_redis(
            redis, {_hash(rule[1:]): rule[1:] for rule in request[3:] if rule[0:1] == ">"}
        )
        return Status("OK")

    def _encode(self, value: Any) -> bytes:
        match value:
            case None:
                return b"" if self.is_over else b"_\r\n" if self._protocol > 2 else b"$-1\r\n"  # noqa: PLR2004
            case Status(text=text):
                return f"+{text}\r\n".encode()
            case int():
                return f":{value}\r\n".encode()
            case str():
                raw = value.encode("utf-8", "surrogateescape")
                return b"$%d\r\n%s\r\n" % (len(raw), raw)
            case dict():
                mark = f"%{len(value)}" if self._protocol > 2 else f"*{2 * len(value)}"  # noqa: PLR2004
                items = [one for pair in value.items() for one in pair]
                return f"{mark}\r\n".encode() + b"".join(map(self._encode, items))
        return f"*{len(value)}\r\n".encode() + b"".join(map(self._encode, value))

    _commands: ClassVar[Mapping[str, tuple[_Call, int, int]]] = {
        "ping": (_ping, 1, 2),
        "quit": (_quit, 1, _ANY),
        "auth": (_auth, 2, _ANY),
        "hello": (_hello, 1, _ANY),
        "select": (_select, 2, 2),
        "client": (_client, 2, _ANY),
        "command": (_command, 1, _ANY),
        "info": (_info, 1, _ANY),
        "config get": (_config_get, 3, _ANY),
        "config set": (_config_set, 4, _ANY),
        "config rewrite": (_config_rewrite, 2, 2),
        "acl list": (_acl_list, 2, 2),
        "acl whoami": (_acl_whoami, 2, 2),
        "acl getuser": (_acl_getuser, 3, 3),
        "acl setuser": (_acl_setuser, 3, _ANY),
    }
    """Command -> what performs it, and how many words it has at least and at most."""

    def _find_command(self, request: Sequence[str]) -> tuple[_Call, int, int]:
        name = request[0].lower()
        if name in _PARTS:
            if len(request) == 1:
                raise CommandError(f"ERR wrong number of arguments for '{name}' command")
            if found := self._commands.get(f"{name} {request[1].lower()}"):
                return found
            raise CommandError(f"ERR unknown subcommand '{request[1]}'. Try {name.upper()} HELP.")
        if found := self._commands.get(name):
            return found
        arguments = "".join(f"'{word[:128]}' " for word in request[1:])[:128]
        words = f"unknown command '{request[0][:128]}', with args beginning with: {arguments}"
        raise CommandError(f"ERR {words}")


def _hash(password: str) -> str:
    """The digest, which an empty password has here, too."""
    return hash_password(password) or EMPTY_PASSWORD


EMPTY_PASSWORD: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # noqa: S105
"""Digest of the empty text."""


def _apply_rule(redis: RedisConfiguration, rule: str) -> RedisConfiguration:
    """The configuration after one rule of `ACL SETUSER`."""
    error = ""
    digest = rule[1:] if rule[:1] in {"#", "!"} else _hash(rule[1:])
    if rule == "nopass":
        return redis._replace(passwords=frozenset(), needs_password=False)
    if rule == "resetpass":
        return redis._replace(passwords=frozenset(), needs_password=True)
    if rule[:1] in {"#", "!"} and not re.fullmatch(r"[0-9a-f]{64}", digest):
        error = BAD_HASH
    elif rule[:1] in {">", "#"}:
        return add_password(redis, digest)
    elif rule[:1] in {"<", "!"}:
        if digest in redis.passwords:
            return drop_password(redis, digest)
        error = "The password you are trying to remove from the user does not exist"
    elif rule in {"on", "allkeys", "allcommands", "allchannels", "~*", "&*", "+@all"}:
        return redis
    raise CommandError(f"ERR Error in ACL SETUSER modifier '{rule}': {error or 'Syntax error'}")


def _read_number(text: bytes) -> int | None:
    return int(text) if re.fullmatch(rb"-?[0-9]{1,18}", text) else None
