"""How downloads reach a server: with the proxy and the certificates that the environment sets."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.host.environment import AUTHORITIES, find_irregular_authorities
from reconciler.sources.proxy import Proxy, find_proxy
from reconciler.text.one_line import take_first_line

if TYPE_CHECKING:
    import httpx

CA_FILE, CA_FOLDER = AUTHORITIES, "SSL_CERT_DIR"


def make_http_transport(environment: Mapping[str, str]) -> httpx.AsyncBaseTransport:
    """A transport that chooses the proxy for each request: a redirect may lead to a host without one.

    Its requests raise SourceError if a variable is invalid, and SourceUnreachable if a proxy fails.

    Args:
        environment: of the process.
    """
    import httpx  # noqa: PLC0415  (a tenth of a second that only downloads pay)

    class Routes(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            self._ways: dict[tuple[str, bool], httpx.AsyncHTTPTransport] = {}

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            proxy = find_proxy(str(request.url), environment)
            way = self._way(proxy, request.url.scheme == "https")
            try:
                return await way.handle_async_request(request)
            except (httpx.ProxyError, httpx.ConnectError) as error:
                if proxy is None:
                    raise
                raise SourceUnreachable(
                    f"{request.url.host} cannot be reached through the proxy {proxy.shown}, which "
                    f"{proxy.variable} sets: {take_first_line(str(error)) or 'no reason is given'}",
                    remedy=f"check the proxy and {proxy.variable}, or add {request.url.host} to NO_PROXY",
                ) from error
            except ValueError as error:  # a host name that cannot be encoded
                raise _make_host_error(proxy) from error

        def _way(self, proxy: Proxy | None, encrypted: bool) -> httpx.AsyncHTTPTransport:  # noqa: FBT001
            key = (proxy.url if proxy else "", encrypted)
            if key not in self._ways:
                self._ways[key] = _transport(proxy, encrypted=encrypted, environment=environment)
            return self._ways[key]

        async def aclose(self) -> None:
            for way in self._ways.values():
                await way.aclose()

    return Routes()


def _transport(
    proxy: Proxy | None, *, encrypted: bool, environment: Mapping[str, str]
) -> httpx.AsyncHTTPTransport:
    """A transport for one proxy or none, to servers with or without TLS."""
    import httpx  # noqa: PLC0415  (as above)

    over_tls = proxy is not None and proxy.url.lower().startswith("https:")
    # Plain http must work on a host without certificates, so none are loaded for it.
    context = (
        _make_ssl_context(environment) if encrypted or over_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    try:
        inner = httpx.Proxy(proxy.url, ssl_context=context if over_tls else None) if proxy else None
    except (httpx.InvalidURL, ValueError) as error:
        raise _make_host_error(proxy) from error
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False, proxy=inner)


def _make_host_error(proxy: Proxy | None) -> SourceError:
    what = f"the variable {proxy.variable} contains" if proxy else "the URL contains"
    return SourceError(f"{what} an invalid host name", remedy="correct the name")


def _make_ssl_context(environment: Mapping[str, str]) -> ssl.SSLContext:
    """The trusted certificate authorities: those that the environment sets, else the usual ones.

    Raises:
        SourceError: a variable names a file without certificates, or a folder that does not exist.
    """
    import httpx  # noqa: PLC0415  (as above)

    file, folder = environment.get(CA_FILE, ""), environment.get(CA_FOLDER, "")
    remedy = "correct the variable, or unset it to use the default certificate authorities"
    if file:
        why = "it is not a regular file" if find_irregular_authorities(environment) else ""
        try:
            if not why:
                return ssl.create_default_context(cafile=file)
        except ssl.SSLError:
            why = "it contains no certificates"
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", "") or "it is not a valid path"
        what = f"the variable {CA_FILE} names {take_first_line(file)}, which cannot be used: {why}"
        raise SourceError(what, remedy=remedy)
    if folder:
        if not Path(folder).is_dir():
            raise SourceError(
                f"the variable {CA_FOLDER} names {take_first_line(folder)}, which is not a folder",
                remedy=remedy,
            )
        return ssl.create_default_context(capath=folder)
    return httpx.create_ssl_context(trust_env=False)
