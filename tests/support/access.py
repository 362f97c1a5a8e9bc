"""Requests and rules for tests of who may."""

from datetime import UTC, datetime

from starlette.requests import Request

from reconciler.cli.host_loader import parse_config
from reconciler.host.access_rules import AccessRules
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.arrival import PEER
from reconciler.server.access.role_table import RoleTable

OUTSIDE = {"peer": "198.51.100.4", "scheme": "https", "host": "fleet.example.com"}
"""A request of somebody elsewhere, over TLS."""


def make_request(
    peer="127.0.0.1", *, host="127.0.0.1:8642", scheme="http", client=None, cookies=None, lines=(), **headers
):
    """A request. `lines` are headers as they are, for one that stands twice."""
    found = [("host", host), *((name.replace("_", "-"), value) for name, value in headers.items()), *lines]
    if cookies:
        found.append(("cookie", "; ".join(f"{name}={value}" for name, value in cookies.items())))
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode("utf-8")) for name, value in found],
            "scheme": scheme,
            "client": (client or peer, 5000),
            PEER: peer,
        }
    )


def read_rules(text) -> AccessRules:
    """The section `access` of a host configuration."""
    return parse_config("host.yaml", f"access:\n{text}".encode()).access


def make_access(store=None, rules="  {}", trusted=(), operators=()) -> AccessControl:
    """Who may do what, on a host whose watch runs as `watcher`."""
    read = read_rules(rules)
    roles = RoleTable(read.roles, frozenset({"root", "watcher"}), frozenset(operators))
    return AccessControl(read, store, roles, trusted)


class MovedClock:
    """Moments and seconds that stand until they are moved."""

    def __init__(self):
        self.now = datetime(2026, 11, 2, 12, tzinfo=UTC)

    def __call__(self):
        return self.now

    def seconds(self):
        return self.now.timestamp()
