"""The cookies of a login (pure)."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from reconciler.server.access.arrival import Arrival

SESSION: Final = "reconcile-session"
"""The cookie of a session."""

LOGIN: Final = "reconcile-login"
"""The cookie of a login that has begun."""

FORM: Final = "reconcile-form"
"""The cookie to which forms belong that have no session: those of users whom a proxy names."""

FORM_SECONDS: Final = 12 * 3600
"""How long a browser keeps the cookie of forms."""


def name_cookie(base: str, arrival: Arrival) -> str:
    """The full name of a cookie."""
    # With this prefix no other host of the domain, and nobody on the way, can set the cookie. Browsers accept
    # it over TLS only; on loopback there is nobody on the way.
    return f"__Host-{base}" if is_encrypted(arrival) else base


def is_encrypted(arrival: Arrival) -> bool:
    """Whether the browser speaks TLS."""
    return arrival.origin.startswith("https:")


def read_cookie(request: Request, base: str, arrival: Arrival) -> str:
    """The value of a cookie; empty without one."""
    return request.cookies.get(name_cookie(base, arrival), "")


def set_cookie(response: Response, base: str, value: str, arrival: Arrival, *, seconds: int) -> None:
    """Set a cookie that scripts cannot read and that pages of other sites do not send with their forms."""
    # Not Strict: after the login, the browser comes from the page of the provider.
    response.set_cookie(
        name_cookie(base, arrival),
        value,
        max_age=seconds,
        path="/",
        secure=is_encrypted(arrival),
        httponly=True,
        samesite="lax",
    )


def delete_cookie(response: Response, base: str, arrival: Arrival) -> None:
    """Delete a cookie."""
    set_cookie(response, base, "", arrival, seconds=0)
