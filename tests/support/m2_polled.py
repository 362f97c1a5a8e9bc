"""M2 nodes that poll, and their mailbox, in memory: by the rules of the store, by a clock of the test."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta

from reconciler.core.offers import Offer, OfferFeed, choose_last_modified
from reconciler.core.secret import Secret
from reconciler.drivers.m2.central_server.offered_parts import read_package
from reconciler.ports.node_store import NodeTokens
from reconciler.ports.transport import Mailbox, MailItem, NodeLabel, NodeMail, OfferedContent
from reconciler.text.http_dates import format_http_date
from support.offers import NOON

SERVER = "https://central.example.com:9443"
POLL = {"server": SERVER}


def token(node, generation=1):
    return f"{node}-{generation}-".ljust(43, "x")


def tokens(*nodes, generation=1, former=None):
    own = Secret(token(nodes[0], former)) if former else None
    return {node: NodeTokens(Secret(token(node, generation)), own) for node in nodes}


@dataclass
class PolledNode:
    """What one node has loaded, and what the host knows of its calls, in seconds of the test's clock."""

    setting: dict | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    took: str = ""
    offers: list[list] = field(default_factory=list)  # [offer, parts, content, former, taken]
    labels: dict[str, set[str]] = field(default_factory=dict)
    label: tuple[str, float] | None = None
    other: float | None = None
    content: tuple[bytes, float] | None = None
    report: tuple[bytes, float] | None = None
    reports: dict[str, tuple[bytes, float]] = field(default_factory=dict)  # by the offer that they are about
    heard: float | None = None


@dataclass
class PolledNodes(Mailbox):
    """Every node of one cluster."""

    now: float = 0.0
    nodes: dict[str, PolledNode] = field(default_factory=dict)

    def node(self, name) -> PolledNode:
        return self.nodes.setdefault(name, PolledNode())

    async def offer(self, draft):
        node = self.node(draft.node)
        earlier = node.offers[0][0].last_modified if node.offers else None
        offer = Offer(
            id=f"o{len(node.offers) + 1}",
            cluster=draft.cluster,
            node=draft.node,
            feed=OfferFeed.SETTING,
            run="r1",
            step=draft.step,
            revision="abc",
            label=draft.label,
            last_modified=choose_last_modified(self.time(), earlier, None),
            opens=self.time(),
            closes=self.time() + timedelta(seconds=draft.seconds),
        )
        node.offers.insert(0, [offer, draft.parts, draft.content, draft.former, None])
        if draft.label:
            node.labels.setdefault(draft.label, set()).add(draft.content)
        return f"offer {offer.id}"

    async def read_mail(self, cluster, node):
        one = self.nodes.get(node, PolledNode())
        taken = next((each for each in one.offers if each[4] is not None), None)
        listed = [each for each in (*one.offers[:1], taken) if each is not None]
        if len(listed) > 1 and listed[0] is listed[1]:
            listed = listed[:1]
        label = None
        if one.label is not None:
            other = None if one.other is None else self.now - one.other
            label = NodeLabel(one.label[0], self.now - one.label[1], other)
        return NodeMail(
            items={"setting.feedback": self._item(one.report)} if one.report else {},
            offers=tuple(
                OfferedContent(
                    offer,
                    parts,
                    is_label_unique=len(one.labels.get(offer.label, ())) == 1,
                    former=former,
                    taken_age=None if taken is None else self.now - taken,
                    report=self._item(one.reports[offer.id]) if offer.id in one.reports else None,
                )
                for offer, parts, _, former, taken in listed
            ),
            heard=None if one.heard is None else self.now - one.heard,
            label=label,
            content=self._item(one.content) if one.content else None,
        )

    def time(self):
        return NOON + timedelta(seconds=self.now)

    def poll(self, name, *, take=True):
        """The node polls, and takes what lies ready; gives whether it did."""
        node = self.node(name)
        node.heard = self.now
        shown = str(((node.setting or {}).get("meta") or {}).get("version", ""))
        if shown:
            if node.label is not None and node.label[0] != shown:
                node.other = node.label[1]
            node.label = (shown, self.now)
        newest = node.offers[0] if node.offers else None
        if not take or newest is None or newest[4] is not None or self.time() >= newest[0].closes:
            return False
        newest[4] = self.now
        return True

    def load(self, name, *, status="ok", report=True, upload=True, userdata=True, notupdated=None):
        """The node downloads what it took, loads it if it succeeds, and reports."""
        node = self.node(name)
        offer, parts, *_ = next(each for each in node.offers if each[4] is not None)
        if status == "ok":
            package = read_package(parts)
            node.setting, node.files = json.loads(package.setting()), dict(package.resources())
        if report:
            self.tell(name, offer if userdata else None, offer, status, upload=upload, notupdated=notupdated)

    def edit(self, name, setting, *, report=True):
        """Somebody gives the node a setting by hand."""
        self.node(name).setting = setting
        if report:
            self.tell(name)

    def tell(self, name, named=None, dated=None, status="ok", *, upload=True, notupdated=None, event="api"):
        """The node sends `setting.feedback`."""
        node = self.node(name)
        node.heard = self.now
        result = {"status": status, "method": "deploy", "version": "22.02.0", "productVersion": "22.02.0"}
        if dated is not None:
            result["lastModified"] = format_http_date(dated.last_modified)
        if notupdated is not None:
            result["notupdated"] = notupdated
        body = {
            "messageVer": "1",
            "node": {
                "hostname": name,
                "iplist": ["10.10.10.1"],
                "productVer": "2.8.1",
                "licenseId": "KR200099999",
            },
            "userdata": {"offer": named.id} if named else None,
            "action": {"api": "/setting/upload", "event": event},
            "parameters": [{"url": f"{SERVER}/{token(name)}/package/o.tgz", "result": result}],
        }
        node.report = (json.dumps(body).encode(), self.now)
        if (about := named or dated) is not None:
            node.reports[about.id] = node.report
        if upload and node.setting is not None:
            node.content = (json.dumps(node.setting).encode(), self.now)

    def later(self, seconds):
        self.now += seconds

    def _item(self, pair):
        return MailItem(pair[0], self.now - pair[1])
