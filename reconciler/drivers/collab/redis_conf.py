"""Some keys of a redis.conf, read and written as Redis itself does; other lines pass through byte by byte.

A line `user default`, which CONFIG REWRITE writes, takes the place of `requirepass` at the next start of
Redis. Where it lets in anybody else than the desired password, it is removed, or only its passwords are
replaced if it restricts the rights of the user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple

from reconciler.core.diff import Change, diff_values
from reconciler.core.secret import MASK, Secret, mask, reveal
from reconciler.file_delivery.content import FileContent, UnfitFile
from reconciler.secrets.patterns import should_mask_key
from reconciler.secrets.redaction import LineRedactor

REQUIREPASS: Final = "requirepass"
SAVE: Final = "save"
"""The one directive with one value whose lines add up; an empty one takes back those before it."""

USER: Final = "user default"
"""In differences: the line that lets in others than the desired password."""

_LARGEST: Final = 1024 * 1024
_BLANK: Final = " \t\r\n"
_SPACES: Final = " \t\r\n\v\f"
_WORD: Final = re.compile(
    r"""([^ \t\r\n"']*+)(?:"((?:[^"\\]|\\.)*+)"|'((?:\\'|[^'])*+)')?(?:[ \t\r\n\v\f]++|\Z)""", re.DOTALL
)
"""A word with the spaces after it: what stands before a quote belongs to it, after the quote it ends."""

_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_FULL: Final = re.compile(r"sanitize-payload|~\*|allkeys|&\*|allchannels|\+@all|allcommands")
_LOGIN: Final = re.compile(r"on|off|nopass|resetpass|[<>#!].*", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
_QUOTED: Final = str.maketrans(
    {"\\": "\\\\", '"': '\\"', **{char: f"\\{name}" for name, char in _ESCAPES.items()}}
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

_LISTS: Final = frozenset(
    {
        *("bind", "save", "client-output-buffer-limit", "oom-score-adj-values", "replicaof", "slaveof"),
        "latency-tracking-info-percentiles",
    }
)
"""Directives with several arguments; of all others, a space is a part of the one argument."""

_ADDING: Final = frozenset({"include", "loadmodule", "user", "rename-command"})
"""Directives that each line adds to: they are no keys with one value."""


@dataclass(frozen=True, slots=True)
class FileLogin:
    """Who is let in by a redis.conf after the next start.

    Args:
        passwords: SHA-256 of each password.
        is_open: whether no password is demanded.
    """

    passwords: frozenset[str] = field(default=frozenset(), repr=False)
    is_open: bool = True


class _Line(NamedTuple):
    """One line.

    Args:
        text: with its line end.
        key: the directive in lower case; empty for a comment or an empty line.
        words: its arguments.
    """

    text: str
    key: str
    words: tuple[str, ...]

    @property
    def is_default_user(self) -> bool:
        """Whether it is about the user whom everybody is without a name."""
        return self.key == "user" and self.words[:1] == ("default",)


@dataclass(frozen=True, slots=True)
class RedisConf(FileContent):
    """Some keys of a redis.conf.

    Args:
        values: key -> value, a `Secret` where the desired state refers to one; None for a key that must not
            be there.
    """

    values: Mapping[str, Any] = field(repr=False)
    _read: dict[bytes, tuple[_Line, ...]] = field(init=False, default_factory=dict, compare=False, repr=False)

    def render(self, current: bytes | None) -> bytes:
        lines = self._parse(current)
        end = next((one.text[len(one.text.rstrip("\r\n")) :] for one in lines), "") or "\n"
        wanted = {key: split_value(key, value) for key, value in self._list_known().items()}
        if adding := _ADDING & wanted.keys():
            raise UnfitFile(f"cannot have {min(adding)} as a key: each of its lines adds to the others")
        kept = _find_kept_lines(lines, wanted)
        if SAVE in kept and is_same_value(SAVE, _join_saves(lines), wanted[SAVE] or ()):
            del kept[SAVE], wanted[SAVE]  # in several lines, as Redis writes them
        rendered = "".join(
            self._render_line(number, line, kept, wanted, end) for number, line in enumerate(lines)
        )
        missing = [key for key, words in wanted.items() if words is not None and key not in kept]
        if missing and rendered and not rendered.endswith("\n"):
            rendered += end
        rendered += "".join(f"{write_directive(key, wanted[key] or ())}{end}" for key in missing)
        return rendered.encode("utf-8", "surrogateescape")

    def find_changes(self, current: bytes | None, entry: str) -> tuple[Change, ...]:
        lines, known = self._parse(current), self._list_known()
        wanted: dict[str, Any] = {}
        for key, value in known.items():
            if value is not None:
                hides = isinstance(value, Secret) or should_mask_key(key)
                text = " ".join(split_value(key, value) or ())
                wanted[key] = value if isinstance(value, Secret) else Secret(text) if hides else text
        shown = self._select(lines, known, self.redactor)
        if any(map(self._contradicts, lines)):
            shown[USER] = Secret("its passwords")
        return diff_values({entry: shown}, {entry: wanted})

    def redact(self, current: bytes | None) -> Any:
        if current is None:
            return None
        lines = self._parse(current)
        shown = mask(self._select(lines, self.values, LineRedactor(())))
        return shown | {USER: MASK} if any(map(self._contradicts, lines)) else shown

    @property
    def secrets(self) -> Sequence[Secret]:
        return [value for value in self.values.values() if isinstance(value, Secret)]

    def _list_known(self) -> dict[str, Any]:
        """The desired values that are known here: what the file has of others may be right."""
        return {
            key: value
            for key, value in self.values.items()
            if not (isinstance(value, Secret) and value.missing)
        }

    def _render_line(
        self,
        number: int,
        line: _Line,
        kept: Mapping[str, int],
        wanted: Mapping[str, tuple[str, ...] | None],
        end: str,
    ) -> str:
        if self._contradicts(line):
            return self._correct_user(line, end)
        if line.key not in wanted:
            return line.text
        words = wanted[line.key]
        if words is None or kept.get(line.key) != number:
            return ""
        if is_same_value(line.key, line.words, words):
            return line.text
        return f"{write_directive(line.key, words)}{line.text[len(line.text.rstrip(_BLANK)) :] or end}"

    def _find_login(self) -> FileLogin | None:
        """Who is to be let in; None if that is left as it is."""
        if REQUIREPASS not in self.values:
            return None
        value = self.values[REQUIREPASS]
        if isinstance(value, Secret) and value.missing:
            return None
        words = split_value(REQUIREPASS, value)
        return _make_login(words[0] if words else "")

    def _contradicts(self, line: _Line) -> bool:
        login = self._find_login()
        return login is not None and line.is_default_user and _read_user(line.words) != login

    def _correct_user(self, line: _Line, end: str) -> str:
        rules = [rule for rule in line.words[1:] if not _LOGIN.fullmatch(rule)]
        login = self._find_login()
        assert login is not None
        if all(_FULL.fullmatch(rule) for rule in rules):
            return ""  # everything that it says besides is what Redis does without it
        passwords = ["nopass"] if login.is_open else [f"#{digest}" for digest in sorted(login.passwords)]
        words = ("default", "on", *passwords, *rules)
        return f"{' '.join(('user', *words))}{line.text[len(line.text.rstrip(_BLANK)) :] or end}"

    def _select(
        self, lines: Sequence[_Line], keys: Mapping[str, Any], redactor: LineRedactor
    ) -> dict[str, Any]:
        """Our keys of a file as Redis would use them, secrets by what is desired there, by name and form."""
        shown: dict[str, Any] = {}
        for key, value in keys.items():
            found = [line.words for line in lines if line.key == key]
            if not found:
                continue
            words = _join_saves(lines) if key == SAVE else found[-1]
            text = " ".join(words)
            wanted = split_value(key, value)
            if isinstance(value, Secret) or should_mask_key(key):
                shown[key] = Secret(text)
            elif wanted is not None and is_same_value(key, words, wanted):
                shown[key] = " ".join(wanted)
            else:
                shown[key] = redactor.redact_text(text)
        return shown

    def _parse(self, current: bytes | None) -> tuple[_Line, ...]:
        content = current or b""
        if content not in self._read:
            lines = tuple(_walk_lines(content))
            self._read.clear()
            self._read[content] = lines
        return self._read[content]


def _find_kept_lines(lines: Sequence[_Line], wanted: Mapping[str, tuple[str, ...] | None]) -> dict[str, int]:
    """Key -> number of the line that stays, the last one, which counts for Redis; none before an include."""
    # What an included file says counts from its place on: a line before it may have no effect.
    last_include = max((number for number, line in enumerate(lines) if line.key == "include"), default=-1)
    return {
        line.key: number
        for number, line in enumerate(lines)
        if line.key in wanted and wanted[line.key] is not None and number > last_include
    }


def _join_saves(lines: Sequence[_Line]) -> tuple[str, ...]:
    joined: tuple[str, ...] = ()
    for line in lines:
        if line.key == SAVE:
            is_empty = line.words == ("",) or joined == ("",)
            joined = line.words if is_empty else (*joined, *line.words)
    return joined


def read_file_login(current: bytes | None) -> FileLogin:
    """Who is let in after the next start with this file.

    Raises:
        UnfitFile: Redis would not start with it.
    """
    lines = tuple(_walk_lines(current or b""))
    users = [line.words for line in lines if line.is_default_user]
    return _read_user(users[-1]) if users else _make_login(_find_password(lines))


def read_file_password(current: bytes | None) -> str:
    """The password in plain text of `requirepass`; empty for none.

    Raises:
        UnfitFile: Redis would not start with it.
    """
    return _find_password(tuple(_walk_lines(current or b"")))


def read_redis_values(current: bytes | None) -> dict[str, str]:
    """Key -> arguments of a file, separated by spaces; of a repeated key the last ones.

    Raises:
        UnfitFile: Redis would not start with it.
    """
    return {line.key: " ".join(line.words) for line in _walk_lines(current or b"") if line.key}


def split_value(key: str, value: Any) -> tuple[str, ...] | None:
    """The arguments of a directive with a desired value; None if it must not be there."""
    plain = reveal(value)
    if plain is None:
        return None
    if isinstance(plain, bool):
        return ("yes" if plain else "no",)
    if isinstance(plain, list | tuple):
        return tuple(map(str, plain))
    return (tuple(str(plain).split()) or ("",)) if key in _LISTS else (str(plain),)


def is_same_value(key: str, one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two forms of the arguments of a directive mean the same to Redis."""
    switches = {"yes", "no"}
    if len(one) == len(other) == 1 and other[0].lower() in switches:
        return one[0].lower() == other[0].lower()
    return tuple(one) == tuple(other) or (key in _LISTS and " ".join(one).split() == list(other))


def write_directive(key: str, words: Sequence[str]) -> str:
    """A line, without its end, that Redis reads as a directive with these arguments."""
    return " ".join((key, *map(_quote, words)))


def split_arguments(line: str) -> tuple[str, ...] | None:
    """The words of a line as Redis splits them; None if a quote is open, or not followed by a space."""
    words: list[str] = []
    line, place = line.strip(_SPACES), 0
    while place < len(line):
        found = _WORD.match(line, place)
        if found is None:
            return None
        bare, double, single = found.groups("")
        word = bare + _ESCAPE.sub(_read_escape, double) + single.replace("\\'", "'")
        # Escapes are bytes: those of one character come together here.
        words.append(word.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))
        place = found.end()
    return tuple(words)


def _read_escape(found: re.Match[str]) -> str:
    if found[1]:
        return bytes([int(found[1], 16)]).decode("utf-8", "surrogateescape")
    return _ESCAPES.get(found[2], found[2])


def _walk_lines(content: bytes) -> Iterator[_Line]:
    """The lines of a file.

    Raises:
        UnfitFile: one is not a directive, or the file is too large.
    """
    if len(content) > _LARGEST:
        raise UnfitFile(f"has more than {_LARGEST} bytes")
    # Bytes that are not UTF-8 stay as they are: a comment may be in any encoding.
    texts = content.decode("utf-8", "surrogateescape").split("\n")
    for number, text in enumerate(texts, 1):
        stripped = text.strip(_BLANK)
        words: tuple[str, ...] | None = ()
        if stripped and not stripped.startswith("#"):
            words = None if "\0" in stripped else split_arguments(stripped)
            if not words:
                raise UnfitFile(
                    f"cannot be read at line {number}: its quotes are not balanced, and Redis would not start"
                )
        is_last = number == len(texts)
        if words or text or not is_last:
            yield _Line(
                text if is_last else f"{text}\n", words[0].lower() if words else "", (words or ())[1:]
            )


def _quote(text: str) -> str:
    if text and not set(_SPACES) & set(text) and not _CONTROL.search(text) and not set(text) & set("\"'\\"):
        return text
    escaped = text.translate(_QUOTED)
    return f'"{_CONTROL.sub(lambda found: f"{chr(92)}x{ord(found[0]):02x}", escaped)}"'


def _find_password(lines: Sequence[_Line]) -> str:
    found = [line.words[0] if line.words else "" for line in lines if line.key == REQUIREPASS]
    return found[-1] if found else ""


def _make_login(password: str) -> FileLogin:
    if not password:
        return FileLogin()
    return FileLogin(frozenset({_hash(password)}), is_open=False)


def _hash(password: str) -> str:
    return sha256(password.encode("utf-8", "surrogateescape")).hexdigest()


def _read_user(words: Sequence[str]) -> FileLogin:
    """Who is let in by the rules of the default user, in their order, as ACL SETUSER applies them."""
    passwords: set[str] = set()
    is_open, is_on = False, False
    for rule in words[1:]:
        match rule[:1]:
            case ">":
                passwords.add(_hash(rule[1:]))
                is_open = False
            case "#" if _HASH.fullmatch(rule[1:]):
                passwords.add(rule[1:])
                is_open = False
            case "<":
                passwords.discard(_hash(rule[1:]))
            case "!":
                passwords.discard(rule[1:])
        if rule in {"nopass", "resetpass"}:
            passwords.clear()
            is_open = rule == "nopass"
        if rule in {"on", "off"}:
            is_on = rule == "on"
    if not is_on:
        return FileLogin(frozenset(), is_open=False)
    return FileLogin(frozenset(passwords), is_open)
