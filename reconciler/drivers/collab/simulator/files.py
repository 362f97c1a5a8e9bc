"""The files of simulated nodes: as a person has installed them, and as the fleet file wants them; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from reconciler.core.secret import reveal
from reconciler.drivers.collab.delivery import make_span
from reconciler.drivers.collab.nginx_span import read_servers
from reconciler.drivers.collab.redis_conf import RedisConf
from reconciler.drivers.collab.schema import CollabCluster, CollabServer, LoadBalancer, RedisNode
from reconciler.drivers.collab.simulator.loaded_files import describe_database
from reconciler.file_delivery.content import FileContent, UnfitFile
from reconciler.file_delivery.json_keys import JsonKeys
from reconciler.ports.cluster_input import ClusterInput

CONFIG_ENTRY: Final = "config.json"
REDIS_ENTRY: Final = "redis.conf"
BALANCER_ENTRY: Final = "nginx.conf"
"""Entries of files that the fleet file does not manage; a process needs one all the same."""


def list_entries(entry: CollabCluster) -> dict[str, str]:
    """Node -> entry of `files` with the file that its process loads."""
    config = entry.config.file if entry.config is not None else CONFIG_ENTRY
    found = {server.name: config for server in entry.nodes}
    if entry.redis is not None:
        found[entry.redis.name] = entry.redis.file or REDIS_ENTRY
    if entry.balancer is not None:
        found[entry.balancer.name] = entry.balancer.file or BALANCER_ENTRY
    return found


def make_contents(cluster_input: ClusterInput, converged: Iterable[str]) -> dict[str, bytes]:
    """Node -> the content of its file.

    Args:
        cluster_input: the cluster.
        converged: nodes that have what the fleet file wants; the others have what a person has installed.
    """
    found = make_installed(cluster_input)
    has_wanted = set(converged)
    for node, content in make_wanted(cluster_input).items():
        if node in has_wanted:
            found[node] = content.render(found[node])
    return found


def make_wanted(cluster_input: ClusterInput) -> dict[str, FileContent]:
    """Node -> what the fleet file wants of its file; without nodes whose files are not managed."""
    entry = cluster_input.entry
    assert isinstance(entry, CollabCluster)
    found: dict[str, FileContent] = {}
    for node in entry.members():
        values = _get_values(cluster_input, node.name)
        if isinstance(node, CollabServer) and entry.config is not None:
            found[node.name] = JsonKeys(values)
        if isinstance(node, RedisNode) and node.source is not None:
            found[node.name] = RedisConf(values)
        if isinstance(node, LoadBalancer) and node.file is not None:
            addresses = tuple(server.address for server in entry.nodes)
            found[node.name] = make_span(node, addresses, is_tls=_wants_tls(cluster_input))
    return found


def is_as_wanted(cluster_input: ClusterInput, node: str, wanted: FileContent, content: bytes | None) -> bool:
    """Whether a node's file is as the fleet file wants it.

    An nginx file may have its servers in any order, that in which they joined, and either of their markers.
    """
    entry = cluster_input.entry
    assert isinstance(entry, CollabCluster)
    balancer, contents = entry.balancer, [wanted]
    try:
        if balancer is not None and balancer.name == node and content is not None:
            servers = read_servers(content, balancer.upstream)
            if set(servers) != {server.address for server in entry.nodes}:
                return False
            is_tls = _wants_tls(cluster_input)
            contents = [make_span(balancer, tuple(servers), is_tls=is_tls, turn=turn) for turn in (0, 1)]
        return any(one.render(content) == content for one in contents)
    except UnfitFile:  # somebody has made it invalid
        return False


def _wants_tls(cluster_input: ClusterInput) -> bool:
    entry = cluster_input.entry
    assert isinstance(entry, CollabCluster)
    return any(reveal(_get_values(cluster_input, one.name).get("enableTls")) is True for one in entry.nodes)


def make_installed(cluster_input: ClusterInput) -> dict[str, bytes]:
    """Node -> the content that a person has installed: servers alone, of which the first one is balanced."""
    entry = cluster_input.entry
    assert isinstance(entry, CollabCluster)
    found: dict[str, bytes] = {}
    for server in entry.nodes:
        found[server.name] = make_installed_config(server.port, _get_source(cluster_input, server))
    if entry.redis is not None:
        found[entry.redis.name] = make_installed_redis_conf(entry.redis.port)
    if entry.balancer is not None:
        first = [entry.nodes[0].address]
        found[entry.balancer.name] = make_installed_nginx_conf(entry.balancer.upstream, first)
    return found


def list_databases(cluster_input: ClusterInput) -> frozenset[str]:
    """The ways to the database that work: those that the fleet file wants."""
    entry = cluster_input.entry
    assert isinstance(entry, CollabCluster)
    found = {describe_database(_get_source(cluster_input, server)) for server in entry.nodes}
    return frozenset(found)


def _get_values(cluster_input: ClusterInput, node: str) -> Mapping[str, Any]:
    document = cluster_input.documents.get(node)
    return document.value if document is not None and isinstance(document.value, Mapping) else {}


def _get_source(cluster_input: ClusterInput, server: CollabServer) -> Mapping[str, Any]:
    found = _get_values(cluster_input, server.name).get("dataSource")
    return {key: reveal(value) for key, value in found.items()} if isinstance(found, Mapping) else {}


def make_installed_config(port: int, source: Mapping[str, Any]) -> bytes:
    """A server alone, with a key that the documents do not have."""
    value = {"port": port, "dataSource": dict(source), "logging": False, "scaling": "none", "site": "main"}
    return (json.dumps(value, indent=4) + "\n").encode()


def edit_config(content: bytes) -> bytes:
    """A config.json to which a person has added a key; one that is no JSON object stays as it is."""
    try:
        value = json.loads(content)
    except ValueError:
        return content
    if not isinstance(value, dict):
        return content
    head, _, tail = content.rpartition(b"}")
    comma = b"," if value else b""
    return head.rstrip() + comma + f'\n  "byHand{len(value)}" : "keep"\n}}'.encode() + tail


def make_installed_redis_conf(port: int) -> bytes:
    """A Redis for its own machine alone, which demands no password."""
    lines = [
        "# installed by hand",
        "bind 127.0.0.1 -::1",
        f"port {port}",
        "",
        "# keep",
        'save ""',
        "appendonly no",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def make_installed_nginx_conf(upstream: str, servers: Iterable[str]) -> bytes:
    """An nginx with directives of a person around the part of the cluster."""
    lines = [
        "# installed by hand",
        "events { }",
        "http {",
        "    sendfile on;   # as on all our machines",
        "",
        f"    upstream {upstream} {{",
        *(f"        server {place};" for place in servers),
        "    }",
        "",
        "    server {",
        "        listen 8080;",
        "        location /socket.io/ {",
        f"            proxy_pass http://{upstream}/socket.io/;",
        "        }",
        "",
        "        location /status {",
        f"            proxy_pass http://{upstream}/status;",
        "        }",
        "",
        "        location /health { return 200; }  # for the monitoring",
        "    }",
        "}",
    ]
    return "".join(f"{line}\n" for line in lines).encode()
