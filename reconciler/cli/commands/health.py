"""`reconcile health`: whether a running watch is well, for health checks of containers and supervisors."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import add_command, make_app
from reconciler.errors import StateError, UsageError

app = make_app()

_SECONDS = 5.0
_OK = 200


@add_command(app)
def run_health(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Where the watch listens (--listen), without a path.")
    ] = "http://127.0.0.1:8642",
) -> int:
    """Ask the watch at URL whether every loop of it works; ends with 0 if so, else with 1.

    It is the answer of /healthz, for which nobody has to log in. Waits 5 seconds at most.
    """
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlsplit

    from reconciler.cli.terminal import Terminal
    from reconciler.text.urls import strip_secrets

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme != "http" or not host:
        raise UsageError(
            f"{strip_secrets(url)} is not the URL of a watch", remedy="write it as http://HOST:PORT"
        )
    connection = HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise StateError(
            f"the watch at {host} does not answer: {why}",
            remedy="look at its log; start it if it does not run",
        ) from None
    finally:
        connection.close()
    if status != _OK:
        raise StateError(
            f"the watch at {host} is not well: /healthz answers with {status}",
            remedy="look at its log, and restart it",
        )
    Terminal.here(for_people=True).say("The watch is well.\n")
    return 0
