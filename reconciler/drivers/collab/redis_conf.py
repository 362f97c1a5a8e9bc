"""Some keys of a redis.conf; other lines pass through."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from reconciler.core.diff import Change, diff_values
from reconciler.core.secret import Secret, mask, reveal
from reconciler.file_delivery.content import FileContent, UnfitFile
from reconciler.secrets.patterns import should_mask_key

_USER: Final = re.compile(r"^\s*user\s+default\s", re.IGNORECASE)
_HASH: Final = re.compile(r"(?:^|\s)#([0-9a-f]{64})(?=\s|$)")


@dataclass(frozen=True, slots=True)
class FileLogin:
    """Who is let in by a redis.conf after the next start.

    Args:
        passwords: SHA-256 of each password.
        is_open: whether no password is demanded.
    """

    passwords: frozenset[str] = field(default=frozenset(), repr=False)
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class RedisConf(FileContent):
    """Some keys of a redis.conf.

    A line `user default`, which CONFIG REWRITE writes, takes the place of `requirepass` at the next start. It
    is left alone where it lets in the desired password alone, and removed otherwise.

    Args:
        values: key -> value, a `Secret` where the desired state refers to one.
    """

    values: Mapping[str, Any] = field(repr=False)

    def render(self, current: bytes | None) -> bytes:
        lines = _decode(current).splitlines(keepends=True)
        end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
        wanted = {key: str(reveal(value)) for key, value in self.values.items()}
        seen: set[str] = set()
        rendered: list[str] = []
        for line in lines:
            key, text = _split(line)
            value = self.values.get(key)
            if key not in wanted or (isinstance(value, Secret) and value.missing):
                seen.add(key)
                if not (_USER.match(line) and self._contradicts(line)):
                    rendered.append(line)
                continue
            if key in seen:
                continue
            seen.add(key)
            rendered.append(line if text == wanted[key] else f"{key} {_quote(wanted[key])}{end}")
        if rendered and not rendered[-1].endswith(("\n", "\r")):
            rendered[-1] += end
        rendered += [f"{key} {_quote(wanted[key])}{end}" for key in wanted if key not in seen]
        return "".join(rendered).encode()

    def find_changes(self, current: bytes | None, entry: str) -> tuple[Change, ...]:
        wanted = {
            key: Secret(value) if should_mask_key(key) and not isinstance(value, Secret) else value
            for key, value in self.values.items()
        }
        return diff_values({entry: self._select(current)}, {entry: wanted})

    def redact(self, current: bytes | None) -> Any:
        return None if current is None else mask(self._select(current))

    @property
    def secrets(self) -> Sequence[Secret]:
        return [value for value in self.values.values() if isinstance(value, Secret)]

    def _contradicts(self, line: str) -> bool:
        value = self.values.get("requirepass")
        if value is None or (isinstance(value, Secret) and value.missing):
            return False
        return set(_HASH.findall(line)) != {sha256(str(reveal(value)).encode()).hexdigest()}

    def _select(self, current: bytes | None) -> dict[str, Any]:
        found = dict(_split(line) for line in _decode(current).splitlines())
        shown: dict[str, Any] = {}
        for key, value in self.values.items():
            if key in found:
                hides = isinstance(value, Secret) or should_mask_key(key)
                # A number in the desired state is the same as its text in the file.
                shown[key] = (
                    Secret(found[key]) if hides else value if found[key] == str(value) else found[key]
                )
        return shown


def read_file_login(current: bytes | None) -> FileLogin:
    """Who is let in after the next start with this file."""
    password = ""
    for line in _decode(current).splitlines():
        if _USER.match(line):
            words = line.split()
            return FileLogin(frozenset(_HASH.findall(line)), "nopass" in words and "off" not in words)
        key, text = _split(line)
        if key == "requirepass":
            password = text
    if not password:
        return FileLogin()
    return FileLogin(frozenset({sha256(password.encode()).hexdigest()}), is_open=False)


def read_file_password(current: bytes | None) -> str:
    """The password in plain text of `requirepass`; empty for none."""
    found = [text for key, text in map(_split, _decode(current).splitlines()) if key == "requirepass"]
    return found[-1] if found else ""


def _split(line: str) -> tuple[str, str]:
    text = line.strip()
    if not text or text.startswith("#"):
        return "", ""
    key, _, value = text.partition(" ")
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return key.lower(), value


def _quote(text: str) -> str:
    if text and not re.search(r'[\s"\'\\#]', text):
        return text
    if " " in text and not re.search(r'["\'\\#]', text):
        return text  # several arguments, such as the addresses of `bind`
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _decode(current: bytes | None) -> str:
    try:
        return (current or b"").decode()
    except UnicodeDecodeError as error:
        raise UnfitFile("is not UTF-8 text") from error


def read_values(current: bytes | None) -> dict[str, str]:
    """Key -> value of a file; of a repeated key the last one.

    Raises:
        UnfitFile: it is not text.
    """
    return {key: text for key, text in map(_split, _decode(current).splitlines()) if key}
