"""Short notation for Sora tests: `"a b c! t~"` is a view that lists a, b, c (away) and t (temporary)."""

from __future__ import annotations

from datetime import date

from reconciler.core.observation import Liveness, Observed, Unauthorized, Unreachable
from reconciler.core.plan import ClusterPlan
from reconciler.drivers.sora.cluster_view import classify_view
from reconciler.drivers.sora.history import ClusterPast, EarlierNode
from reconciler.drivers.sora.planner import plan
from reconciler.drivers.sora.schema import NodeRow, NodeView, SoraCluster, SoraDesired, SoraNode
from reconciler.errors import NodeUnreachable
from reconciler.ports.transport import Http, HttpAnswer

TODAY = date(2026, 11, 21)
FORBIDDEN = "401"
ALIVE, UNASKED = "alive", "unasked"


def full(letter: str) -> str:
    """a -> a@a.example.com"""
    return f"{letter}@{letter}.example.com"


def short(name: str) -> str:
    return name.partition("@")[0]


def api(letter: str) -> str:
    return f"http://{letter}.example.com:3000/"


def entry(words: str, *, modes: dict[str, str] | None = None, **more) -> SoraCluster:
    """A fleet file's cluster: `"a b t~"` are two regular nodes and a temporary one."""
    nodes = tuple(
        SoraNode(
            name=full(word.strip("~")),
            api=api(word.strip("~")),
            temporary=word.endswith("~"),
            mode=(modes or {}).get(word.strip("~")),
        )
        for word in words.split()
    )
    return SoraCluster.model_validate({"name": "live", "kind": "sora", "nodes": nodes, **more})


def row(word: str, modes: dict[str, str], limits: dict[str, int] | None = None) -> NodeRow:
    """`b!`: not connected; `b%`: not, and with an error; `b?`: without `temporary_node`; `t~`: temporary."""
    letter, away = word.strip("!~%?"), "!" in word or "%" in word
    licence = {"license_max_connections": limits[letter]} if letter in (limits or {}) else {}
    fields = (
        licence if away else licence | {"external_api_url": api(letter), "mode": modes.get(letter, "normal")}
    )
    fields |= {} if "?" in word else {"temporary_node": "~" in word}
    fields |= {"error": "{error,{erpc,timeout}}"} if "%" in word else {}
    return NodeRow.model_validate({"node_name": full(letter), "connected": not away, **fields})


def seen(
    answers: dict[str, str | None],
    *,
    modes: dict[str, str] | None = None,
    limits: dict[str, int] | None = None,
    day=TODAY,
    elsewhere: dict[str, dict[str, str | None]] | None = None,
) -> Observed[NodeView]:
    """letter -> its view; None: no answer; `FORBIDDEN`; `"?CODE"`: it refuses to list (`+`, `-`:
    its statistics show a cluster, or none); ALIVE, UNASKED.

    `elsewhere`: letter -> address -> the same, of further addresses.
    """

    def one(letter, words):
        if words is None:
            return Unreachable("connection refused")
        if words in {ALIVE, UNASKED}:
            return Unreachable("no whole answer", Liveness(words))
        if words == FORBIDDEN:
            return Unauthorized("ListClusterNodes is not allowed for this host (401)")
        if words.startswith("?"):
            code, sign = words[1:].rstrip("+-"), words[-1]
            clustered = {"+": True, "-": False}.get(sign)
            return classify_view(full(letter), NodeView((), day, refusal=code, clustered=clustered))
        clustered = {"+": True, "-": False}.get(words[-1:])
        rows = sorted(
            (row(word, modes or {}, limits) for word in words.rstrip("+-").split()),
            key=lambda one: one.node_name,
        )
        return classify_view(full(letter), NodeView(tuple(rows), day, clustered=clustered))

    others = {
        full(letter): {place: one(letter, words) for place, words in own.items()}
        for letter, own in (elsewhere or {}).items()
    }
    return Observed(
        {full(letter): one(letter, words) for letter, words in answers.items()},
        others,
    )


def agreeing(words: str, *answering: str, **others: str | None) -> dict[str, str | None]:
    """The same view from several nodes, and other answers from others."""
    return dict.fromkeys(answering, words) | others


def cluster_memory(*applied: str, named: str = "", required: str | None = None, **more) -> ClusterPast:
    """A past in which these letters were members (`t~`: temporary), and those of `named` were only named."""
    words = (*applied, *named.split())
    needed = words if required is None else required.split()
    nodes = {
        full(word.strip("~")): EarlierNode(
            (api(word.strip("~")),), word in applied, "~" not in word, word in needed
        )
        for word in words
    }
    return ClusterPast(nodes, bool(applied), revision="0123456789ab", **more)


def planned(cluster: SoraCluster, observed: Observed[NodeView], recalled=None, history=None) -> ClusterPlan:
    return plan(SoraDesired(cluster, recalled or {}, history or ClusterPast()), observed)


def verbs(result: ClusterPlan) -> list[str]:
    """The steps as `verb letter`."""
    return [f"{step.action} {short(step.node)}" for step in result.steps]


def codes(result: ClusterPlan) -> list[str]:
    """The findings as `code letter`, or `code` of the cluster."""
    return [f"{one.code} {short(one.target.partition('/')[2])}".strip() for one in result.findings]


class WorldWire(Http):
    """A wire in memory to a simulated world; `calls` keeps (letter, call) of each request."""

    def __init__(self, world):
        self.world = world
        self.calls: list[tuple[str, str]] = []

    async def send(self, method, url, *, node, timeout, connect=0.0, headers=None, content=b""):
        name = {address: name for name, address in self.world.site.apis.items()}.get(url)
        target = (headers or {}).get("x-sora-target", "")
        if name is None or not self.world.running(name):
            raise NodeUnreachable(node, "connection refused", sign="silent")
        self.calls.append((short(name), target.rpartition(".")[2]))
        return HttpAnswer(*self.world.answer(name, target, method, content))


class FixedWire(Http):
    """A wire that gives one answer, or raises, and keeps what it was sent."""

    def __init__(self, status=200, body=b"", headers=None, error=None):
        self.answer = HttpAnswer(status, headers or {}, body)
        self.error = error
        self.sent: list[dict] = []

    async def send(self, method, url, **more):
        self.sent.append({"method": method, "url": url, **more})
        if self.error:
            raise self.error
        return self.answer
