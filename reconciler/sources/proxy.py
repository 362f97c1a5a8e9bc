"""Which proxy the environment names for a URL, and how the variables are read: pure.

The variables are those of curl: `https_proxy` or `http_proxy` by the URL's scheme, else `all_proxy`, in lower
case or else in capitals; `no_proxy` names hosts, domains, addresses and networks that are reached directly.
An entry of `no_proxy` that is none of these fits nothing. Nodes are never reached through a proxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from reconciler.errors import SourceError
from reconciler.text.one_line import take_first_line
from reconciler.text.urls import strip_secrets

SUPPORTED = ("http", "https")
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Args:
        url: with user and password, if the variable has them.
        variable: which variable named it.
    """

    url: str
    variable: str

    def __repr__(self) -> str:
        return f"Proxy({self.shown})"

    @property
    def shown(self) -> str:
        """Its URL without user and password."""
        return strip_secrets(self.url)


def find_proxy(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy through which a URL is to be reached; None for directly.

    Args:
        url: absolute, http or https.
        environment: of the process.

    Raises:
        SourceError: the variable that counts names no http or https proxy; the message names the variable.
    """
    variable, value = find_proxy_variable(url, environment)
    if not value:
        return None
    found = Proxy(value if "://" in value else f"http://{value}", variable)
    _check(found, urlsplit(url).hostname or "the host")
    return found


def find_proxy_variable(url: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The variable that names a proxy for a URL, and its text; both empty where it is reached directly."""
    parts = urlsplit(url)
    variable, value = _first(environment, f"{parts.scheme}_proxy")
    if not value:
        variable, value = _first(environment, "all_proxy")
    port = parts.port or PORTS.get(parts.scheme, 0)
    if not value or is_direct(parts.hostname or "", port, _first(environment, "no_proxy")[1]):
        return "", ""
    return variable, value


def is_direct(host: str, port: int, no_proxy: str) -> bool:
    """Whether `no_proxy` says that a host is reached directly.

    Args:
        host: a name or an address, without brackets.
        port: where it is asked.
        no_proxy: the variable's text, with commas or blanks between entries.
    """
    return any(
        _fits(host.lower().rstrip("."), port, entry) for entry in re.split(r"[\s,]+", no_proxy) if entry
    )


def _fits(host: str, port: int, entry: str) -> bool:
    name, wanted = _without_port(entry.partition("://")[2] or entry)
    if wanted and wanted != str(port):
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        domain = name.lower().removeprefix("*").strip(".")
        return name == "*" or (bool(domain) and (host == domain or host.endswith(f".{domain}")))
    try:
        return name == "*" or address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def _without_port(entry: str) -> tuple[str, str]:
    """A host, address or network, without brackets, and the port behind it, if any."""
    if found := re.fullmatch(r"\[([^\]]+)\](?::(\d+))?", entry):
        return found[1], found[2] or ""
    if entry.count(":") == 1 and (found := re.fullmatch(r"([^:]+):(\d+)", entry)):
        return found[1], found[2]
    return entry, ""


def _first(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """The variable that is set, in lower case or else in capitals, and its text."""
    for variable in (name, name.upper()):
        # A web server gives a request's header `Proxy` to its programs as HTTP_PROXY.
        if variable == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
            continue
        if value := environment.get(variable, "").strip():
            return variable, value
    return name.upper(), ""


def _check(proxy: Proxy, host: str) -> None:
    url, variable = proxy.url, proxy.variable
    remedy = f"Set {variable} to http://HOST:PORT, or add {host} to NO_PROXY to connect directly."
    try:
        parts = urlsplit(url)
        named = parts.hostname and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        parts, named = None, False
    if parts is None or not named:
        raise SourceError(f"the variable {variable} does not contain the URL of a proxy", remedy=remedy)
    if parts.scheme.lower() not in SUPPORTED:
        raise SourceError(
            f"the variable {variable} sets the proxy {take_first_line(strip_secrets(url))}: "
            f"downloads do not support proxies of the type {take_first_line(parts.scheme)}",
            remedy=remedy,
        )
