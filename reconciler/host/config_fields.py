"""Types of the values in the host configuration: paths, networks, addresses, names."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from reconciler.core.endpoint import LAST_PORT, SocketAddress, is_loopback_host
from reconciler.errors import UsageError
from reconciler.host.database_url import is_database_url, parse_postgres_url

CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY"
"""Entry of the list of secret folders that means the credentials folder of the systemd unit."""

PREFIX: Final = "RECONCILE_SECRET_"
"""Default prefix of the variables that `${env:NAME}` may read."""

NEVER: Final = ("/proc", "/dev", "/sys")
"""Folders of the kernel; no secret is read from them, whatever the configuration says."""

Network: TypeAlias = IPv4Network | IPv6Network

_COMMAND_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$"
_PREFIX_FORM: Final = r"^[A-Za-z_][A-Za-z0-9_]{2,63}$"
_OWN: Final = "RECONCILE_"
_CIDR: Final = r"[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?"
_ORIGIN: Final = r"https?://(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._\-]{1,253})(:[0-9]{1,5})?"
_SOCKET: Final = r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9A-Za-z._\-]{1,253})):([0-9]{1,5})"
_LONGEST: Final = 4096
_CREDENTIAL: Final = r"^\$CREDENTIALS_DIRECTORY/[A-Za-z0-9_][A-Za-z0-9._\-]{0,254}$"
_HOST_PATTERN: Final = r"^(?:\*\.)?[0-9A-Za-z_\-]+(?:\.[0-9A-Za-z_\-]+)*$"
_SSH_HOST: Final = r"^(?:[0-9A-Za-z_.:\-]|\{node\}|\{host\}){1,253}$"


def _require_absolute(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if not text.startswith("/") or ".." in PurePosixPath(text).parts or "\0" in text or len(text) > _LONGEST:
        raise PydanticCustomError("absolute_path", "the path must begin with / and must not contain `..`")
    return Path("/" + text.lstrip("/"))  # pathlib keeps two leading slashes apart from one


def _parse_network(text: Any) -> Any:
    try:
        # ip_network alone also accepts a number, or a mask in place of a length.
        if isinstance(text, str) and re.fullmatch(_CIDR, text):
            return ip_network(text)
    except ValueError:
        pass
    raise PydanticCustomError(
        "network", "a network must be written with its first address, such as 192.0.2.0/24 or 2001:db8::/32"
    )


def _parse_socket_address(text: Any) -> Any:
    if isinstance(text, str) and (found := re.fullmatch(_SOCKET, text)) and int(found[3]) <= LAST_PORT:
        return SocketAddress(found[1] or found[2], int(found[3]))
    raise PydanticCustomError(
        "socket_address",
        "an address to listen at must be written with its port, such as 0.0.0.0:8643 or [::]:8643",
    )


def _is_credential(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch(_CREDENTIAL, text) is not None


def _refuse_kernel_folder(path: Path | str) -> Path | str:
    if any(str(path) == place or str(path).startswith(f"{place}/") for place in NEVER):
        raise PydanticCustomError("kernel_folder", "secrets must not be in /proc, /dev or /sys")
    return path


def _refuse_own_prefix(prefix: str) -> str:
    # With the prefix RECONCILE_GIT_, a fleet file could write the host's credentials into a setting.
    if (prefix.startswith(_OWN) and not prefix.startswith(PREFIX)) or _OWN.startswith(prefix):
        raise PydanticCustomError("own_prefix", "this prefix also matches variables of the program itself")
    return prefix


_ABSOLUTE_SCHEMA: Final = {"type": "string", "pattern": r"^/", "maxLength": _LONGEST}

AbsolutePath = Annotated[Path, BeforeValidator(_require_absolute), WithJsonSchema(_ABSOLUTE_SCHEMA)]
"""A path that begins with `/`: a relative one would depend on the current folder of the program."""

Cidr = Annotated[
    IPv4Network | IPv6Network,
    BeforeValidator(_parse_network),
    WithJsonSchema({"type": "string", "pattern": rf"^{_CIDR}$"}),
]
"""A network such as `192.0.2.0/24` or `2001:db8::/32`, or a single address."""


def _check_origin(text: Any) -> Any:
    try:
        fits = isinstance(text, str) and re.fullmatch(_ORIGIN, text) and urlsplit(text).port != 0
    except ValueError:  # a port beyond 65535
        fits = False
    if not fits:
        raise PydanticCustomError(
            "service_origin",
            "an endpoint must be written as https://HOST or https://HOST:PORT, without a path",
        )
    # An answer over plain HTTP could be anybody's: the signature proves the request alone.
    if text.startswith("http:") and not is_loopback_host(urlsplit(text).hostname or ""):
        raise PydanticCustomError(
            "plain_origin", "an endpoint must use https; http is accepted for this machine only"
        )
    return text


ServiceOrigin = Annotated[
    str, BeforeValidator(_check_origin), WithJsonSchema({"type": "string", "pattern": rf"^{_ORIGIN}$"})
]
"""Scheme, host and port of a service."""

ListenAddress = Annotated[
    SocketAddress,
    BeforeValidator(_parse_socket_address),
    WithJsonSchema({"type": "string", "pattern": rf"^{_SOCKET}$"}),
]
"""Where a server listens: an address or a name of this host, and a port; port 0 is a free one."""

SecretFolder = Annotated[
    Path | Literal["$CREDENTIALS_DIRECTORY"],
    BeforeValidator(lambda text: text if text == CREDENTIALS else _require_absolute(text)),
    AfterValidator(_refuse_kernel_folder),
    WithJsonSchema({"anyOf": [_ABSOLUTE_SCHEMA, {"const": CREDENTIALS}]}),
]


def _check_file_path(text: Any) -> Any:
    path = _require_absolute(text)
    if not isinstance(path, Path):
        return path
    if any(str(path) == place or str(path).startswith(f"{place}/") for place in NEVER):
        raise PydanticCustomError("kernel_path", "files in /proc, /dev and /sys are never read or written")
    if re.search(r"[{}]", str(path).replace("{node}", "")):
        raise PydanticCustomError("path_placeholder", "the only placeholder of a path is {node}")
    if path == Path("/") or str(text).endswith("/") or any(ord(mark) < ord(" ") for mark in str(path)):
        raise PydanticCustomError("no_file", "the path must be that of a file, on one line")
    return path


FilePath = Annotated[
    Path,
    BeforeValidator(_check_file_path),
    WithJsonSchema(
        {"type": "string", "pattern": r"^/([^{}]|\{node\})*[^{}/]$|^/.*\{node\}$", "maxLength": _LONGEST}
    ),
]
"""The path of a file that desired state may read and write by a name."""

KeyFile = Annotated[
    Path | Annotated[str, Field(pattern=_CREDENTIAL)],
    BeforeValidator(lambda text: text if _is_credential(text) else _require_absolute(text)),
    AfterValidator(_refuse_kernel_folder),
    WithJsonSchema({"type": "string", "pattern": rf"^/|{_CREDENTIAL}", "maxLength": _LONGEST}),
]
"""A file with a key: an absolute path, or one in the credentials folder of the systemd unit."""


def _check_database_url(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if not is_database_url(text):
        raise PydanticCustomError("database_scheme", "the URL must begin with postgresql://")
    try:
        return parse_postgres_url(text)
    except UsageError as error:  # it quotes nothing of the text
        raise PydanticCustomError("database_url", "{words}", {"words": error.message}) from None


DatabaseUrl = Annotated[
    str,
    BeforeValidator(_check_database_url),
    WithJsonSchema({"type": "string", "pattern": "^postgres(ql)?://", "maxLength": _LONGEST}),
]
"""The URL of a PostgreSQL database, without a password."""

CommandName = Annotated[str, Field(pattern=_COMMAND_NAME)]
SshName = Annotated[str, Field(pattern=_COMMAND_NAME)]
BusName = Annotated[str, Field(pattern=_COMMAND_NAME)]
AccountName = Annotated[str, Field(pattern=_COMMAND_NAME)]
AuthorityName = Annotated[str, Field(pattern=_COMMAND_NAME)]
SshHost = Annotated[str, Field(pattern=_SSH_HOST)]
HostPattern = Annotated[str, Field(pattern=_HOST_PATTERN, max_length=253)]
SshUser = Annotated[str, Field(pattern=r"^[a-z_A-Z][a-z_A-Z0-9.\-]{0,63}$")]
GroupName = Annotated[str, Field(pattern=r"^[a-z_A-Z][a-z_A-Z0-9.\-]{0,63}$")]
Argument = Annotated[str, Field(min_length=1, max_length=4096)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
SecretPrefix = Annotated[str, Field(pattern=_PREFIX_FORM), AfterValidator(_refuse_own_prefix)]
"""A prefix of environment variables that desired state may read: none of the program's own begins so."""
