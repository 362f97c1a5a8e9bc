"""The Redis of a cluster over RESP2: what it shows of itself, and its passwords.

A password is sent in clear only as the argument of AUTH, and of CONFIG SET when it is to be the only one; an
ACL change sends its digest. Errors of Redis may quote arguments, so that every known password is removed from
their text before it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from reconciler.core.endpoint import SocketAddress, parse_endpoint
from reconciler.core.secret import MASK
from reconciler.drivers.collab.resp import (
    ErrorReply,
    RedisReply,
    ReplyReader,
    StatusReply,
    encode_commands,
    read_commands,
)
from reconciler.drivers.collab.schema import REDIS_PORT
from reconciler.drivers.collab.views import RedisView
from reconciler.errors import NodeError, NodeRefused, NodeUnauthorized, NodeUnidentified
from reconciler.ports.transport import OtherProtocol, ReadingRequest, Streams

_LIMIT: Final = 512 * 1024
"""Bytes of all replies of one exchange; usual ones have some thousand."""

_MOST_KEYS: Final = 100
_KEY: Final = re.compile(r"[a-z][a-z0-9_.\-]{0,63}")
_RUN_ID: Final = re.compile(r"^run_id:([0-9a-f]{40})\r?$", re.MULTILINE)
_LOADING: Final = re.compile(r"^loading:1\r?$", re.MULTILINE)
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_OK: Final = StatusReply("OK")
_PONG: Final = StatusReply("PONG")

_READING: Final = frozenset(
    {("PING",), ("INFO", "server"), ("INFO", "persistence"), ("ACL", "GETUSER", "default"), ("ACL", "LIST")}
)
_WITH_ARGUMENT: Final = frozenset({("AUTH",), ("CONFIG", "GET")})
"""Reading commands with one more word: a password, or a key."""

_WRONG: Final = (
    "WRONGPASS",
    "ERR invalid password",
    "ERR AUTH <password> called without any",
    "ERR Client sent AUTH",
)
"""Beginnings of errors by which AUTH refuses a password; those of a Redis before version 6 too."""


def is_reading(request: bytes) -> bool:
    """Whether a request has only commands that read."""
    try:
        commands = [
            tuple(word.decode("utf-8", "surrogateescape") for word in command)
            for command in read_commands(request)
        ]
    except OtherProtocol:
        return False
    return bool(commands) and all(
        command in _READING or command[:-1] in _WITH_ARGUMENT for command in commands
    )


READS: Final = (ReadingRequest(is_reading),)
"""The requests by which Redis is read."""


def hash_login(password: str) -> str:
    """The digest by which Redis keeps a password."""
    return sha256(password.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class RedisClient:
    """One Redis.

    Args:
        node: its name, for errors.
        address: its `host:port`.
        timeout: seconds for one exchange.
        logins: passwords with which it may let this host in, the likeliest first.
    """

    streams: Streams
    node: str
    address: str
    timeout: float
    logins: tuple[str, ...] = field(default=(), repr=False)

    async def observe(self, password: str = "", keys: Iterable[str] = ()) -> RedisView:
        """What it shows of itself.

        Args:
            password: that it is to demand; empty if none is desired.
            keys: of redis.conf, whose values it runs with are read.

        Raises:
            NodeError: it cannot be reached, accepts no connection from here, or is not a Redis.
        """
        names = [key for key in dict.fromkeys(keys) if _KEY.fullmatch(key) and key != "requirepass"]
        names = [*names[:_MOST_KEYS], "aclfile"]
        reading = [
            ("INFO", "server"),
            ("INFO", "persistence"),
            ("ACL", "GETUSER", "default"),
            *(("CONFIG", "GET", name) for name in names),
        ]
        # The desired one alone first, then one by one: each refused AUTH stands in the log of Redis.
        candidates = list(dict.fromkeys([password, *self.logins]))
        accepts: bool | None = None
        if any(candidates):
            await self._prove()
        for candidate in candidates or [""]:
            ping, auth, *rest = await self._ask(
                ("PING",), ("AUTH", candidate) if candidate else ("PING",), *reading
            )
            is_open = self._check_ping(ping)
            is_accepted = bool(candidate) and self._check_auth(auth)
            if candidate and candidate == password:
                accepts = is_accepted
            if is_open or is_accepted:
                return self._make_view(rest, names, accepts=accepts, is_open=is_open, is_ready=ping)
        return RedisView(accepts=accepts, is_logged_in=False)

    async def accepts(self, password: str) -> bool:
        """Whether it accepts a password now, by AUTH on a connection of its own.

        Raises:
            NodeError: as for `observe`.
        """
        await self._prove()
        (auth,) = await self._ask(("AUTH", password))
        return self._check_auth(auth)

    async def add_password(self, password: str) -> str:
        """Let it accept one more password, now and after a restart; gives a text for the journal.

        Raises:
            NodeError: it could not be asked, or refuses.
        """
        rule = f"#{hash_login(password)}"  # its digest: an error would quote the password
        await self._change(("ACL", "SETUSER", "default", rule), password)
        return "it accepts the new password beside the others, also after a restart"

    async def keep_only(self, password: str) -> str:
        """Let it accept one password alone, now and after a restart; gives a text for the journal.

        Raises:
            NodeError: it could not be asked, or refuses.
        """
        # Not by ACL: `requirepass` of its file would stay the old one, and come back where somebody removes
        # the line of the user.
        await self._change(("CONFIG", "SET", "requirepass", password), password)
        return "it accepts the new password alone, also after a restart"

    async def _change(self, command: tuple[str, ...], password: str) -> None:
        login = await self._find_login(password)
        commands = [*([("AUTH", login)] if login else []), command, ("CONFIG", "REWRITE")]
        replies = await self._exchange(commands, password, is_reading_only=False)
        changed, written = replies[-2:]
        if login and isinstance(replies[0], ErrorReply):
            raise self._explain(replies[0], "AUTH", password)
        if isinstance(changed, ErrorReply):
            raise self._explain(changed, " ".join(command[:2]), password)
        if isinstance(written, ErrorReply):
            words = self._hide(written.text, password)
            raise NodeRefused(
                self.node,
                "it uses the new password, but CONFIG REWRITE failed, so that it would be lost at a restart: "
                f"{words}",
                status=0,
                code=written.code,
                remedy="start Redis with a configuration file that it may write",
                again=True,
            )
        if changed != _OK or written != _OK:
            raise self._make_unidentified(" ".join(command[:2]))

    async def _find_login(self, password: str) -> str:
        """The password that lets this host in; empty if none is needed.

        Raises:
            NodeUnauthorized: no known one does.
        """
        await self._prove()
        for candidate in dict.fromkeys([*self.logins, password]):
            ping, auth = await self._ask(("PING",), ("AUTH", candidate) if candidate else ("PING",))
            if self._check_ping(ping):
                return ""
            if candidate and self._check_auth(auth):
                return candidate
        raise NodeUnauthorized(
            self.node,
            "it refuses every password that is known here",
            remedy="commit the password that it demands now as the former one, or change it by hand",
        )

    async def _prove(self) -> None:
        """Check that a Redis is there, before it is shown a password.

        Raises:
            NodeError: it is not, or does not answer.
        """
        (ping,) = await self._ask(("PING",))
        self._check_ping(ping)

    def _check_ping(self, reply: RedisReply) -> bool:
        """Whether it answers without a password."""
        match reply:
            case ErrorReply(code="NOAUTH") | ErrorReply(text="ERR operation not permitted"):
                return False
            case ErrorReply(code="LOADING" | "MASTERDOWN" | "BUSY" | "MISCONF"):
                return True  # it would have said NOAUTH otherwise
            case ErrorReply():
                raise self._explain(reply, "PING")
            case _ if reply == _PONG:
                return True
        raise self._make_unidentified("PING")

    def _check_auth(self, reply: RedisReply) -> bool:
        if isinstance(reply, ErrorReply):
            if reply.text.startswith(_WRONG):
                return False
            raise self._explain(reply, "AUTH")
        if reply != _OK:
            raise self._make_unidentified("AUTH")
        return True

    def _make_view(
        self,
        replies: list[RedisReply],
        names: list[str],
        *,
        accepts: bool | None,
        is_open: bool,
        is_ready: RedisReply,
    ) -> RedisView:
        server, persistence, user, *values = replies
        info = _get_text(server)
        config = {
            name: found
            for name, value in zip(names, values, strict=True)
            if (found := _get_option(name, value)) is not None
        }
        acl_file = config.pop("aclfile", "")
        run_id = _RUN_ID.search(info)
        is_loading = isinstance(is_ready, ErrorReply) and is_ready.code == "LOADING"
        return RedisView(
            run_id=run_id[1] if run_id else "",
            is_loading=is_loading or bool(_LOADING.search(_get_text(persistence))),
            accepts=accepts,
            is_open=is_open,
            passwords=_get_passwords(user),
            config=config,
            acl_file=acl_file,
        )

    async def _ask(self, *commands: tuple[str, ...]) -> list[RedisReply]:
        return await self._exchange(list(commands), "", is_reading_only=True)

    async def _exchange(
        self, commands: list[tuple[str, ...]], password: str, *, is_reading_only: bool
    ) -> list[RedisReply]:
        reader = ReplyReader(len(commands))
        call = self.streams.ask if is_reading_only else self.streams.send
        await call(
            _parse_address(self.address),
            encode_commands(*commands),
            is_complete=reader.feed,
            node=self.node,
            timeout=self.timeout,
            limit=_LIMIT,
        )
        if len(reader.replies) < len(commands):
            refused = reader.replies[-1]
            assert isinstance(refused, ErrorReply)
            raise self._explain(refused, commands[0][0], password)
        return reader.replies

    def _explain(self, error: ErrorReply, command: str, password: str = "") -> NodeError:
        words = self._hide(error.text, password)
        for code, (reason, remedy) in _REASONS.items():
            if error.text.startswith(code):
                refusal = reason.format(command=command)
                if code in _DENIALS:
                    return NodeUnauthorized(self.node, f"{refusal} ({words})", remedy=remedy)
                return NodeRefused(
                    self.node, f"{refusal} ({words})", status=0, code=error.code, remedy=remedy, again=True
                )
        return NodeRefused(self.node, f"it refuses {command}: {words}", status=0, code=error.code)

    def _hide(self, text: str, password: str) -> str:
        # Longer ones first: one may be a part of another.
        for one in sorted({*self.logins, password} - {""}, key=len, reverse=True):
            text = text.replace(one, MASK)
        return text

    def _make_unidentified(self, command: str) -> NodeUnidentified:
        words = f"its answer to {command} is not that of a Redis"
        return NodeUnidentified(self.node, words, remedy="correct `host` and `port` of `redis`")


_DENIALS: Final = frozenset({"DENIED", "NOAUTH", "WRONGPASS", "ERR invalid password", "NOPERM"})

_REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "DENIED": (
        "it is in protected mode, and accepts no connection from other machines",
        "set a password (`requirepass`), and `bind` to the addresses that the servers use",
    ),
    "NOAUTH": ("it demands a password before {command}", "commit its password by reference"),
    "WRONGPASS": ("it refuses the password", "correct the value that is referenced"),
    "ERR invalid password": ("it refuses the password", "correct the value that is referenced"),
    "NOPERM": (
        "its default user may not run {command}",
        "allow the default user this command, or change the password by hand",
    ),
    "LOADING": ("it is still reading its data", "wait until it has started"),
    "MISCONF": (
        "it cannot write its data to disk, and so refuses changes",
        "look at its log: the disk may be full",
    ),
    "READONLY": ("it is a replica, and refuses changes", "name the primary Redis in the fleet file"),
    "MASTERDOWN": ("it is a replica without its primary", "name the primary Redis in the fleet file"),
    "BUSY": ("it runs a script, and answers nothing else", "wait, or end the script"),
    "ERR max number of clients": ("it has no room for another connection", "raise its `maxclients`"),
    "ERR unknown command": ("it does not know {command}, or its name was changed", "do not rename it"),
    "ERR unknown subcommand": ("it does not know {command}: it is too old", "use Redis 6 or later"),
}
"""Beginning of an error -> what it means, and what to do."""


def _parse_address(text: str) -> SocketAddress:
    endpoint = parse_endpoint(text)
    return SocketAddress(endpoint.host, endpoint.port or REDIS_PORT)


def _get_text(reply: RedisReply) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else ""


def _get_option(name: str, reply: RedisReply) -> str | None:
    """The value that CONFIG GET gives; None if it may not be read."""
    match reply:
        case [bytes() as key, bytes() as value] if key.decode("latin-1") == name:
            return value.decode("utf-8", "replace")
    return None


def _get_passwords(reply: RedisReply) -> frozenset[str] | None:
    """The digests that ACL GETUSER gives; None if they may not be read."""
    if not isinstance(reply, list) or len(reply) % 2:
        return None
    fields = dict(zip(map(_get_text, reply[::2]), reply[1::2], strict=True))
    found = fields.get("passwords")
    if not isinstance(found, list):
        return None
    digests = frozenset(map(_get_text, found))
    return digests if all(map(_HASH.fullmatch, digests)) else None
