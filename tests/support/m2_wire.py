"""M2 driver tests without sockets: a wire into simulated nodes, settings by a few words, desks."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from urllib.parse import urlsplit

from reconciler.core.plan import Revision
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.documents.document import parse_document
from reconciler.drivers.m2.canonical import canonicalise_section, list_keys
from reconciler.drivers.m2.choices import Choices
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import LoadedSetting, M2Cluster
from reconciler.drivers.m2.simulator.world import M2World
from reconciler.errors import NodeUnreachable
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import NodeRequest
from reconciler.ports.transport import Http, HttpAnswer

BASE = {
    "meta": {"version": "A"},
    "env": {
        "management": {
            "api": {
                "port": 10040,
                "allowList": [
                    {"role": "admin", "addr": "127.0.0.0/8"},
                    {"role": "user", "addr": "192.168.3.0/24"},
                ],
            },
            "roles": [
                {"name": "admin", "permissions": {"enableSetting": True, "enablePurge": True}},
                {"name": "user", "permissions": {"enableMetric": True}},
            ],
            "cluster": {"balance": {"mode": "rr"}},
        },
    },
    "hosting": [{"name": "www.example.com", "listen": "*:80"}],
}

REVISION = Revision("test", "c0ffee" * 6, "c0ffee1")


def setting(**changes):
    """The base setting with values put at dotted paths, `__` for a dot; None takes the key away."""
    document = copy.deepcopy(BASE)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = document
        for key in parents:
            place = place.setdefault(key, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return document


def content(document=None):
    return ContentCache().of(BASE if document is None else document)


def canonicalise(document):
    """The meaning of any document."""
    if not isinstance(document, dict):
        return document
    return {key: canonicalise_section(key, document.get(key, {})) for key in list_keys(document)}


def loaded(document=None, **seen):
    return LoadedSetting(content(document), **({"base": "http://n:10040", "waiting": ()} | seen))


def cluster_input(document=None, *, nodes=("edge-01",), resources=None, name="setting.json", **entry):
    """A cluster whose nodes are `NAME.example.com`, all with one setting."""
    listed = [{"name": node, "address": f"{node}.example.com"} for node in nodes]
    raw = {"name": "edge", "kind": "m2", "setting": name, "nodes": listed, **entry}
    file = parse_document(name, json.dumps(BASE if document is None else document, indent=1).encode())
    fleet = parse_document("fleet.json", json.dumps({"clusters": [raw]}, indent=1).encode())
    cluster = M2Cluster.model_validate(raw)
    documents = {node.name: file for node in cluster.nodes}
    return ClusterInput(cluster, fleet, "/clusters/0", REVISION, documents, resources or {})


def desired(where, recalled=None):
    """The desired state of a cluster, of whose nodes the store remembers something."""
    return DRIVER.add_history(DRIVER.desire(where), recalled or {}, PriorRevisions())


def world(document=None, *, nodes=("edge-01",), choices=None, resources=None, deliver="upload", **more):
    """Simulated nodes that have loaded a setting."""
    entry = cluster_input(nodes=nodes, deliver=deliver).entry
    chosen = choices or Choices()
    documents = dict.fromkeys(nodes, BASE if document is None else document)
    return M2World.from_entry(
        entry, documents, **{"converged": True, "choices": chosen, "resources": resources, **more}
    )


class WorldWire(Http):
    """A wire whose nodes are simulated: `NAME.example.com` is the node NAME.

    `before` and `after` are called with (method, path) around each request; they may raise.
    """

    def __init__(self, nodes: M2World, peer: str = "127.0.0.1") -> None:
        self.nodes = nodes
        self.peer = peer
        self.sent: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.urls: list[str] = []
        self.before: Callable[[str, str], None] = lambda method, path: None
        self.after: Callable[[str, str], None] = lambda method, path: None

    async def send(self, method, url, *, node, timeout, connect=0.0, headers=None, content=b""):
        place = urlsplit(url)
        self.sent.append((method, place.path))
        self.headers.append(dict(headers or {}))
        self.urls.append(url)
        self.before(method, place.path)
        name = place.hostname.removesuffix(".example.com")
        sent = {key.lower(): text for key, text in (headers or {}).items()}
        sent["content-length"] = str(len(content))
        request = NodeRequest(method, place.path, sent, content, self.peer)
        status, answered, body = self.nodes.answer(name, request)
        self.after(method, place.path)
        if not status:
            raise NodeUnreachable(node, "closed the connection without an answer", closed=True)
        return HttpAnswer(status, {key.lower(): text for key, text in answered.items()}, body)

    def writes(self):
        """The requests that may change something."""
        return [each for each in self.sent if each[0] != "GET" or "/deploy/" in each[1]]
