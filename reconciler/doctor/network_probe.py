"""Looks at what is reached over the network: names, certificates, a server's clock; it changes nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from reconciler.core.endpoint import is_ip_address
from reconciler.descriptions.values import format_count
from reconciler.doctor.config_values import list_values
from reconciler.doctor.facts import (
    DATE_RESOLUTION,
    CertificateFact,
    ClockSample,
    NameFact,
    NameFacts,
    ProxyFacts,
    measure_clock,
)
from reconciler.errors import ReconcilerError, SourceError
from reconciler.host.clock import utc_now
from reconciler.host.config import HostConfig
from reconciler.host.files import FileRefused, read_regular
from reconciler.host.host import Host
from reconciler.secrets.dated_texts import find_certificate_end
from reconciler.sources.http_routes import make_http_transport
from reconciler.sources.proxy import find_proxy, find_proxy_variable
from reconciler.text.http_dates import parse_http_date
from reconciler.text.one_line import take_first_line
from reconciler.text.urls import strip_secrets

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet

_MOST_NAMES: Final = 2_000
_AT_ONCE: Final = 24
"""Names that are resolved at the same time, each in a thread of those that the process has."""

_NAME_SECONDS: Final = 10.0
_MOST_PLACES: Final = 1_000
_HANDSHAKES: Final = 64
_HANDSHAKE_SECONDS: Final = 5.0
_CLOCK_SECONDS: Final = 10.0
_LARGEST: Final = 1_000_000

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")
_OTHER_SECTIONS: Final = frozenset({"ssh", "commands", "files", "nodes"})
"""Sections of the host configuration without names of servers, or whose names are read by themselves."""

_PROBE_V6: Final = ("2001:db8::1", 9)
"""A place to find a route to; a datagram socket that is connected sends nothing."""


def read_proxies(host: Host, source_url: str, fleet: Fleet | None) -> ProxyFacts:
    """Which proxies the environment sets, and for what.

    Args:
        host: its environment.
        source_url: of the source, if it is reached over HTTP; else empty.
        fleet: names the hosts of nodes; None if it could not be read.
    """
    environment = host.environment
    variables = {}
    for name in _PROXIES:
        for variable in (name, name.upper()):
            if value := environment.get(variable, "").strip():
                variables[variable] = take_first_line(strip_secrets(value))
    no_proxy = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    variable, problem, name = "", "", urlsplit(source_url).hostname or ""
    if source_url:
        try:
            find_proxy(source_url, environment)
            variable, _ = find_proxy_variable(source_url, environment)
        except SourceError as error:
            problem = error.message
    hosts = {place.endpoint.host for one in (fleet.desired if fleet else ()) for place in one.places}
    caught = sum(bool(find_proxy_variable(f"http://{_bracket(one)}/", environment)[1]) for one in hosts)
    return ProxyFacts(
        variables,
        no_proxy,
        name,
        variable,
        is_source_private=_is_private(name),
        problem=problem,
        nodes=caught,
    )


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def list_host_names(
    host: Host, source_host: str, fleet: Fleet | None
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Each name that this machine resolves -> what names it; and the names that other machines resolve."""
    near: dict[str, set[str]] = defaultdict(set)
    if source_host:
        near[source_host].add("the source")
    for place, name in _list_config_hosts(host.config):
        near[name].add(f"`{place}` of the host configuration")
    far: set[str] = set()
    for entry, way in host.config.ssh.items():
        if way.jump:
            far.add(way.host)
        else:
            near[way.host].add(f"`ssh.{entry}` of the host configuration")
    places = [place for one in (fleet.desired if fleet else ()) for place in one.places]
    far |= {place.endpoint.host for place in places if place.via}
    for name, count in Counter(place.endpoint.host for place in places if not place.via).items():
        near[name].add(format_count(count, "node"))
    named = {name: ", ".join(sorted(users)) for name, users in sorted(near.items()) if _is_name(name)}
    return named, tuple(sorted(name for name in far - {*near} if _is_name(name)))


def _is_name(host: str) -> bool:
    """Whether a host is a name to resolve: no address, and no placeholder for the host of each node."""
    return bool(host) and "{" not in host and not is_ip_address(host)


def _list_config_hosts(config: HostConfig) -> Iterator[tuple[str, str]]:
    """Place and host of each URL and broker of the host configuration."""
    for place, value in list_values(config, without=_OTHER_SECTIONS):
        if isinstance(value, str):
            yield from ((place, name) for name in _find_hosts(value, place))


def _find_hosts(text: str, place: str) -> Iterator[str]:
    if place.endswith(".brokers"):
        yield text.rpartition(":")[0].strip("[]")
    elif "://" in text:
        for part in urlsplit(text).netloc.rpartition("@")[2].split(","):  # a database may have several
            yield part.rpartition(":")[0] if part.rpartition(":")[2].isdigit() else part.strip("[]")


async def resolve_names(names: Mapping[str, str], far: tuple[str, ...], *, is_fleet_known: bool) -> NameFacts:
    """What names resolve to, some at a time; each has a time limit of its own."""
    gate = asyncio.Semaphore(_AT_ONCE)
    chosen = list(names.items())[:_MOST_NAMES]

    async def resolve(name: str, users: str) -> NameFact:
        async with gate:
            try:
                loop = asyncio.get_running_loop()
                found = await asyncio.wait_for(
                    loop.getaddrinfo(name, None, type=socket.SOCK_STREAM), _NAME_SECONDS
                )
            except TimeoutError:
                return NameFact(name, users, problem=f"no answer within {_NAME_SECONDS:.0f} s")
            except (OSError, UnicodeError) as error:
                return NameFact(
                    name, users, problem=getattr(error, "strerror", None) or "it is not a valid name"
                )
        addresses = {(family, place[0]) for family, _, _, _, place in found}
        v4 = sum(family == socket.AF_INET for family, _ in addresses)
        return NameFact(name, users, v4, len(addresses) - v4)

    found = await asyncio.gather(*(resolve(name, users) for name, users in chosen))
    return NameFacts(tuple(found), len(names) - len(chosen), far, _has_route_for_v6(), is_fleet_known)


def _has_route_for_v6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(_PROBE_V6)
    except OSError:
        return False
    return True


async def read_server_clock(host: Host, url: str) -> tuple[ClockSample, ...]:
    """The clock of the server of a source, by one HEAD request; none if it does not answer with a date."""
    import httpx  # noqa: PLC0415  (a tenth of a second that only a source over HTTP pays)

    before = utc_now()
    try:
        async with httpx.AsyncClient(
            transport=make_http_transport(host.environment), timeout=_CLOCK_SECONDS, follow_redirects=False
        ) as client:
            answer = await client.head(url)
    except (httpx.HTTPError, ReconcilerError, ssl.SSLError, OSError):  # the check of the source says why
        return ()
    after = utc_now()
    moment = parse_http_date(answer.headers.get("date", ""))
    if moment is None:
        return ()
    whose = urlsplit(url).hostname or "the source"
    return (measure_clock(whose, before, after, moment, resolution=DATE_RESOLUTION),)


def read_own_certificates(host: Host) -> Iterator[CertificateFact]:
    """The certificates of this host: of the server for nodes, and of the authorities that it trusts."""
    nodes = host.config.nodes
    files: list[tuple[str, Path]] = [
        (f"the authority {name}", path) for name, path in host.config.authorities.items()
    ]
    if nodes is not None and nodes.certificate is not None and nodes.key is not None:
        what, where = "the certificate of the server for nodes", str(nodes.certificate)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(nodes.certificate, nodes.key, password="")
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "unreadable"
            why = str(reason).lower().replace("_", " ")
            yield CertificateFact(what, where, problem=f"certificate and key do not work together: {why}")
        files.append((what, nodes.certificate))
    for what, path in files:
        try:
            end = find_certificate_end(read_regular(path, limit=_LARGEST))
        except FileRefused as error:
            yield CertificateFact(what, str(path), problem=str(error))
            continue
        yield CertificateFact(what, str(path), end, "" if end else "it has no certificate")


async def read_node_certificates(places: Mapping[tuple[str, int], str]) -> list[CertificateFact]:
    """The certificates that nodes show, by a handshake alone; the reading tells whether they are trusted."""
    gate = asyncio.Semaphore(_HANDSHAKES)
    # Only the end is read: nothing is sent, so that who is at the other end does not matter.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def read(place: tuple[str, int], node: str) -> CertificateFact:
        what, where = f"the certificate of {node}", f"{place[0]}:{place[1]}"
        async with gate:
            try:
                async with asyncio.timeout(_HANDSHAKE_SECONDS):
                    _, writer = await asyncio.open_connection(*place, ssl=context, server_hostname=place[0])
            except (OSError, ssl.SSLError, TimeoutError, ValueError):
                return CertificateFact(what, where)
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.transport.abort()
        return CertificateFact(what, where, find_certificate_end(ssl.DER_cert_to_PEM_cert(shown).encode()))

    return list(await asyncio.gather(*(read(*one) for one in list(places.items())[:_MOST_PLACES])))
