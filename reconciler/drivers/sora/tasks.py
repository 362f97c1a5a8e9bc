"""What is to be done about each node, sorted by kind, and what a person should know of the others."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.core.observation import Present, Stale, Unauthorized
from reconciler.core.plan import Finding
from reconciler.core.problem import Severity
from reconciler.drivers.sora.cluster import quorum
from reconciler.drivers.sora.membership import Membership
from reconciler.drivers.sora.picture import Picture, names_of, silence
from reconciler.drivers.sora.schema import SoraCluster, SoraNode


@dataclass(frozen=True, slots=True)
class Tasks:
    """Nodes by what is to be done about them; each tuple is sorted.

    Args:
        again: members that must register again, because they answer that they are in no cluster.
        regular: regular nodes to register.
        temporary: temporary nodes to register.
        dead: regular members to purge that are stopped.
        live: regular members to remove that run.
        leaving: temporary members to stop.
        missing: desired nodes that belong into the cluster and cannot be brought in now.
        findings: about the nodes that nothing is done about.
    """

    again: tuple[str, ...] = ()
    regular: tuple[str, ...] = ()
    temporary: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class _Piles:
    piles: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def put(self, pile: str, name: str) -> None:
        self.piles.setdefault(pile, []).append(name)


def tasks_of(entry: SoraCluster, picture: Picture, membership: Membership) -> Tasks:
    """What is to be done about every node that the fleet file or the cluster names."""
    piles = _Piles()
    for node in sorted(entry.nodes, key=lambda one: one.name):
        if node.name in membership.names:
            _member(entry, node, picture, membership, piles)
        else:
            _outsider(entry, node, picture, piles)
    for name in membership.names:
        if entry.node(name) is None:
            _unwanted(entry, name, picture, membership, piles)
    sorted_piles = {pile: tuple(sorted(names)) for pile, names in piles.piles.items()}
    return Tasks(findings=tuple(piles.findings), **sorted_piles)


def enough(picture: Picture, membership: Membership) -> bool:
    """Whether the regular members that gave their view are themselves a majority."""
    return sum(name in picture.speakers for name in membership.regular) >= quorum(len(membership.regular))


def unknown(picture: Picture, membership: Membership, *, but: str) -> tuple[str, ...]:
    """Members of which nothing is known first-hand: shown connected, but silent to us."""
    return tuple(
        name
        for name in membership.names
        if name != but and name not in picture.speakers and not picture.away(name)
    )


def _member(
    entry: SoraCluster, node: SoraNode, picture: Picture, membership: Membership, piles: _Piles
) -> None:
    target = f"{entry.name}/{node.name}"
    if (node.name in membership.temporary) is not node.temporary:
        wanted, found = ("temporary", "regular") if node.temporary else ("regular", "temporary")
        piles.put("missing", node.name)
        piles.findings.append(
            Finding(
                Severity.ERROR,
                "kind-differs",
                target,
                f"{node.name} is registered as a {found} node, the fleet file says {wanted}",
                "change cluster_temporary_node in its sora.conf while it is out of the cluster, "
                "or correct the fleet file",
            )
        )
    elif picture.connected(node.name):
        if node.name not in picture.speakers:
            piles.findings.append(_silent(target, node.name, picture))
    elif picture.blank(node.name):
        piles.put("again", node.name)
    else:
        running = picture.answers(node.name)
        state = silence(picture.observed.nodes.get(node.name)) if running else "its API does not answer"
        piles.findings.append(
            Finding(
                Severity.WARNING,
                "node-away",
                target,
                f"{node.name} is registered, but the other members do not see it ({state}); it is left alone",
                "find out why it is cut off; it comes back by itself"
                if running
                else "start it, and it comes back by itself; or take it out of the fleet file to purge it",
            )
        )


def _outsider(entry: SoraCluster, node: SoraNode, picture: Picture, piles: _Piles) -> None:
    answer = picture.observed.nodes.get(node.name)
    own = answer.value.row(node.name) if isinstance(answer, Present | Stale) else None
    if own is not None and own.temporary is not node.temporary:
        code, words = "kind-differs", "it shows itself as another kind of node than the fleet file says"
        remedy = "correct cluster_temporary_node in its sora.conf, or the fleet file"
    elif picture.blank(node.name) or picture.alone(node.name):
        piles.put("temporary" if node.temporary else "regular", node.name)
        return
    elif isinstance(answer, Present | Stale) and own is not None:
        others = [name for name in names_of(answer.value) if name != node.name]
        code, words = "in-another-cluster", f"it is connected to {', '.join(others[:5])}, of another cluster"
        remedy = "take it out of that cluster first"
    elif isinstance(answer, Stale) and answer.value.rows:
        code, words = "wrong-address", f"another node answers at its address: {answer.reason}"
        remedy = "correct `api` in the fleet file, or `node_name` in its sora.conf"
    elif isinstance(answer, Unauthorized | Stale):
        code, words = "node-refuses", answer.reason
        remedy = "look at the node's log, and let this host call its API"
    else:
        code, words = "node-unreachable", silence(answer)
        remedy = "start the node, or correct `api` in the fleet file"
    piles.put("missing", node.name)
    piles.findings.append(
        Finding(
            Severity.ERROR,
            code,
            f"{entry.name}/{node.name}",
            f"{node.name} cannot be registered: {words}",
            remedy,
        )
    )


def _unwanted(entry: SoraCluster, name: str, picture: Picture, membership: Membership, piles: _Piles) -> None:
    target = f"{entry.name}/{name}"
    if name in membership.temporary:
        if picture.connected(name):
            piles.put("leaving", name)
        else:
            piles.findings.append(
                Finding(
                    Severity.NOTE,
                    "temporary-away",
                    target,
                    f"the temporary node {name} is cut off; it is erased when it is stopped",
                    "stop it on its host",
                )
            )
    elif not picture.down(name):
        piles.put("live", name)
    elif enough(picture, membership):
        piles.put("dead", name)
    else:
        piles.findings.append(_few(target, name, picture, membership))


def _few(target: str, name: str, picture: Picture, membership: Membership) -> Finding:
    total = len(membership.regular)
    seen = sum(one in picture.speakers for one in membership.regular)
    return Finding(
        Severity.WARNING,
        "purge-waits",
        target,
        f"{name} seems to be stopped, but only {seen} of {total} regular nodes gave their view, "
        f"and {quorum(total)} are needed to believe it",
        "make the APIs of the other nodes reachable for this host",
    )


def _silent(target: str, name: str, picture: Picture) -> Finding:
    return Finding(
        Severity.WARNING,
        "api-silent",
        target,
        f"the members see {name} connected, but it does not tell this host itself: "
        f"{silence(picture.observed.nodes.get(name))}",
        "correct `api` in the fleet file, or look at the node",
    )


def waits(entry: SoraCluster, code: str, name: str, words: str, remedy: str) -> Finding:
    """The finding that something cannot be done about a node yet."""
    return Finding(Severity.WARNING, code, f"{entry.name}/{name}", f"{name} {words}", remedy)
