"""Which proxy the environment sets for a URL: pure.

The variables are those of curl: `https_proxy` or `http_proxy` by the scheme of the URL, else `all_proxy`, in
lower case or else in capitals. `no_proxy` lists hosts, domains, addresses and networks that are reached
directly; an entry of another kind matches nothing. Nodes are never reached through a proxy.
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
        variable: that sets it.
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
    """The proxy for a URL; None to connect directly.

    Args:
        url: absolute, http or https.
        environment: of the process.

    Raises:
        SourceError: the variable does not contain an http or https proxy; the message names it.
    """
    variable, value = find_proxy_variable(url, environment)
    if not value:
        return None
    found = Proxy(value if "://" in value else f"http://{value}", variable)
    _check(found, urlsplit(url).hostname or "the host")
    return found


def find_proxy_variable(url: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The variable that sets a proxy for a URL, and its text; both empty to connect directly."""
    parts = urlsplit(url)
    variable, value = _first(environment, f"{parts.scheme}_proxy")
    if not value:
        variable, value = _first(environment, "all_proxy")
    port = parts.port or PORTS.get(parts.scheme, 0)
    if not value or is_direct(parts.hostname or "", port, _first(environment, "no_proxy")[1]):
        return "", ""
    return variable, value


def is_direct(host: str, port: int, no_proxy: str) -> bool:
    """Whether `no_proxy` lists a host.

    Args:
        host: a name or an address, without brackets.
        port: of the connection.
        no_proxy: entries, separated by commas or white space.
    """
    return any(
        _matches(host.lower().rstrip("."), port, entry) for entry in re.split(r"[\s,]+", no_proxy) if entry
    )


def _matches(host: str, port: int, entry: str) -> bool:
    name, wanted = _split_port(entry.partition("://")[2] or entry)
    if wanted and wanted != str(port):
        return False
    try:
        # A name is never resolved for this, as in curl: networks match addresses only.
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        domain = name.lower().removeprefix("*").strip(".")
        return name == "*" or (bool(domain) and (host == domain or host.endswith(f".{domain}")))
    try:
        return name == "*" or address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, str]:
    """A host, address or network without brackets, and its port, if any."""
    if found := re.fullmatch(r"\[([^\]]+)\](?::(\d+))?", entry):
        return found[1], found[2] or ""
    if entry.count(":") == 1 and (found := re.fullmatch(r"([^:]+):(\d+)", entry)):
        return found[1], found[2]
    return entry, ""


def _first(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """The variable that is set, in lower case or else in capitals, and its text."""
    for variable in (name, name.upper()):
        # A web server passes the header `Proxy` of a request to CGI programs as HTTP_PROXY ("httpoxy").
        if variable == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
            continue
        if value := environment.get(variable, "").strip():
            return variable, value
    return name.upper(), ""


def _check(proxy: Proxy, host: str) -> None:
    url, variable = proxy.url, proxy.variable
    remedy = f"set {variable} to http://HOST:PORT, or add {host} to NO_PROXY to connect directly"
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
