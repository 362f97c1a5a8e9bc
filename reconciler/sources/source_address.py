"""URLs of sources, which parts of them may be shown, and the token that goes with a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from reconciler.core.endpoint import format_url_host, is_loopback_host
from reconciler.errors import UsageError
from reconciler.host.credentials import read_credential
from reconciler.text.one_line import take_first_line
from reconciler.text.urls import strip_secrets

SCP_FORM = re.compile(r"(?:(?P<user>[\w.-]+)@)?(?P<host>[A-Za-z0-9][\w.-]*):(?P<path>[^:].*)")


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """Where a source is reached.

    Args:
        url: for git or the HTTP client; for http(s) without user and password.
        shown: for messages, without user, password, query and fragment.
        scheme: `https`, `http`, `ssh`, `file`.
        host: host and port, by which credentials are looked up.
        user: the user's name in the URL.
        password: the password in the URL; never shown.
        query: the query of an http(s) URL; never shown, part of `url`.
    """

    url: str
    shown: str
    scheme: str
    host: str = ""
    user: str = ""
    password: str = ""
    query: str = ""

    def __repr__(self) -> str:
        return f"SourceAddress({self.shown})"

    @property
    def confidential(self) -> bool:
        """Whether a token may be sent there: over https, or to this host itself."""
        return self.scheme == "https" or (self.scheme == "http" and is_loopback_host(_strip_port(self.host)))


def parse_source_address(text: str) -> SourceAddress:
    """The address of a URL, or of git's short form `user@host:path`.

    Raises:
        UsageError: it has no host, a port that is no number, or control characters.
    """
    # Decoded first: `%0a` would become a line break in a header or in the input of a helper.
    if not unquote(text).isprintable():
        raise UsageError(f"the URL '{strip_secrets(take_first_line(text))}' contains control characters")
    if "://" not in text:
        return _parse_scp_form(text)
    parts, host = _split(text)
    scheme = parts.scheme.removeprefix("git+").removesuffix("+git")
    if scheme == "file":
        return SourceAddress(f"file://{parts.path}", f"file://{parts.path}", "file")
    if not parts.hostname:
        raise UsageError(
            f"the URL '{strip_secrets(text)}' has no host", remedy="write it as https://HOST/PATH"
        )
    bare = parts._replace(scheme=scheme, netloc=host, fragment="")
    user = unquote(parts.username or "")
    full = bare._replace(netloc=f"{parts.username}@{host}") if scheme == "ssh" and user else bare
    return SourceAddress(
        url=full.geturl(),
        shown=bare._replace(query="").geturl(),
        scheme=scheme,
        host=host,
        user=user,
        password=unquote(parts.password or ""),
        query=parts.query,
    )


def read_token(environment: Mapping[str, str], variable: str) -> str:
    """The token in a variable, or in the file that `VARIABLE_FILE` names; empty where neither is set.

    Raises:
        UsageError: it contains invalid characters, or its file cannot be read; the value is not shown.
    """
    # Checked before it reaches a header or a helper: a line break would add a header or a line of its own.
    value = read_credential(environment, variable).strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise UsageError(
            f"the token in {variable} contains characters that a token cannot have",
            remedy="set it again without line breaks, spaces or quotes",
        )
    return value


def _split(text: str) -> tuple[SplitResult, str]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise UsageError(
            f"the URL '{strip_secrets(text)}' is invalid: its host or port is wrong",
            remedy="write it as https://HOST:PORT/PATH",
        ) from None
    host = format_url_host(parts.hostname or "")
    return parts, host if port is None else f"{host}:{port}"


def _parse_scp_form(text: str) -> SourceAddress:
    found = SCP_FORM.fullmatch(text)
    if not found:
        raise UsageError(
            f"'{strip_secrets(text)}' is not a URL", remedy="write https://HOST/PATH or USER@HOST:PATH"
        )
    return SourceAddress(
        url=text,
        shown=f"{found['host']}:{found['path']}",
        scheme="ssh",
        host=found["host"],
        user=found["user"] or "",
    )


def _strip_port(host: str) -> str:
    bare = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    return bare.strip("[]")
