"""The part of an nginx file that is a cluster's: its upstream and its two locations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.diff import Change
from reconciler.core.secret import Secret
from reconciler.file_delivery.content import FileContent, UnfitFile, diff_lines

MARKER_HEADER: Final = "X-Reconcile-Upstream"
"""Header of `/status` through the load balancer by which its loaded file is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxSpan(FileContent):
    """The upstream of a cluster with exactly its servers, and the locations `/socket.io/` and `/status`.

    Args:
        upstream: its name.
        servers: `host:port` of each server, in the order in which they are written.
        marker: text of `MARKER_HEADER` in answers of `/status`, by which the loaded file is known.
    """

    upstream: str
    servers: tuple[str, ...]
    marker: str

    def render(self, current: bytes | None) -> bytes:
        text = _decode(current)
        for name, lines in (
            (f"upstream {self.upstream}", self.list_upstream_lines()),
            ("location /socket.io/", self.list_socket_lines()),
            ("location /status", self.list_status_lines()),
        ):
            text = _replace_block(text, name, lines)
        return text.encode()

    def find_changes(self, current: bytes | None, entry: str) -> tuple[Change, ...]:
        old, new = _decode(current).splitlines(), self.render(current).decode().splitlines()
        return tuple(diff_lines(old, old, new, new, entry))

    def redact(self, current: bytes | None) -> Any:
        return None if current is None else [*read_servers(current, self.upstream), read_marker(current)]

    @property
    def secrets(self) -> Sequence[Secret]:
        return ()

    def list_upstream_lines(self) -> list[str]:
        """The lines within the upstream."""
        return ["ip_hash;", *(f"server {one};" for one in self.servers)]

    def list_socket_lines(self) -> list[str]:
        """The lines within the location of WebSockets."""
        return [
            "proxy_http_version 1.1;",
            "proxy_set_header Upgrade $http_upgrade;",
            'proxy_set_header Connection "upgrade";',
            f"proxy_pass http://{self.upstream}/socket.io/;",
        ]

    def list_status_lines(self) -> list[str]:
        """The lines within the location of the status."""
        return [
            f"proxy_pass http://{self.upstream}/status;",
            f"add_header {MARKER_HEADER} {self.marker} always;",
        ]


def read_servers(current: bytes | None, upstream: str) -> tuple[str, ...]:
    """`host:port` of each server of an upstream, in the file's order; empty if there is none.

    Raises:
        UnfitFile: the file cannot be parsed.
    """
    body = re.search(rf"upstream\s+{re.escape(upstream)}\s*\{{(.*?)\}}", _decode(current), re.DOTALL)
    return tuple(re.findall(r"^\s*server\s+([^\s;]+)", body[1], re.MULTILINE)) if body else ()


def read_marker(current: bytes | None) -> str:
    """The text of `MARKER_HEADER` in a file; empty without one."""
    found = re.search(rf"add_header\s+{MARKER_HEADER}\s+(\S+)", _decode(current))
    return found[1].rstrip(";") if found else ""


def _replace_block(text: str, name: str, lines: Sequence[str]) -> str:
    start = re.compile(
        rf"^([ \t]*){re.escape(name).replace(chr(92) + ' ', '[ ]+')}\s*\{{[^\n]*\n", re.MULTILINE
    )
    found = start.search(text)
    if found is None:
        raise UnfitFile(f"has no `{name} {{`")
    end = re.compile(r"^[ \t]*\}", re.MULTILINE).search(text, found.end())
    if end is None:
        raise UnfitFile(f"has no end of `{name} {{`")
    if [line.strip() for line in text[found.end() : end.start()].splitlines()] == list(lines):
        return text
    body = "".join(f"{found[1]}    {line}\n" for line in lines)
    return text[: found.end()] + body + text[end.start() :]


def _decode(current: bytes | None) -> str:
    try:
        return (current or b"").decode()
    except UnicodeDecodeError as error:
        raise UnfitFile("is not UTF-8 text") from error
