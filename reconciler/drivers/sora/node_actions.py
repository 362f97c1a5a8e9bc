"""What is to be done about each node, sorted by kind, and what a person should know of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core.observation import Present, Stale, Unauthorized, Unidentified
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.cluster_state import compute_quorum
from reconciler.drivers.sora.cluster_view import (
    ClusterView,
    NodeAddresses,
    describe_silence,
    list_view_names,
    suggest_remedy,
)
from reconciler.drivers.sora.membership import Membership
from reconciler.drivers.sora.schema import SoraCluster, SoraDesired, SoraNode, Stopped
from reconciler.drivers.sora.stop_proof import StopProof, StopVerdict, prove_stopped
from reconciler.text.one_line import make_one_line


@dataclass(frozen=True, slots=True)
class NodeActions:
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
        words: of the dead those for which a person's word is needed, with it.
    """

    again: tuple[str, ...] = ()
    regular: tuple[str, ...] = ()
    temporary: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    findings: tuple[Diagnostic, ...] = ()
    words: Mapping[str, Stopped] = field(default_factory=dict)


@dataclass(slots=True)
class _Piles:
    places: Mapping[str, NodeAddresses]
    piles: dict[str, list[str]] = field(default_factory=dict)
    words: dict[str, Stopped] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)

    def put(self, pile: str, name: str) -> None:
        self.piles.setdefault(pile, []).append(name)


def find_node_actions(
    desired: SoraDesired,
    cluster_view: ClusterView,
    membership: Membership,
    places: Mapping[str, NodeAddresses],
) -> NodeActions:
    """What is to be done about every node that the fleet file or the cluster names."""
    entry, piles = desired.entry, _Piles(places)
    for node in sorted(entry.nodes, key=lambda one: one.name):
        if node.name in membership.names:
            _member(entry, node, cluster_view, membership, piles)
        else:
            _outsider(entry, node, cluster_view, piles)
    for name in membership.names:
        if entry.node(name) is None:
            _unwanted(desired, name, cluster_view, membership, piles)
    sorted_piles = {pile: tuple(sorted(names)) for pile, names in piles.piles.items()}
    return NodeActions(findings=tuple(piles.findings), words=piles.words, **sorted_piles)


def list_uncounted(
    desired: SoraDesired, cluster_view: ClusterView, places: Mapping[str, NodeAddresses]
) -> frozenset[str]:
    """Nodes that the fleet file may let go in any number: temporary ones, and members that are dead.

    A temporary node counts in no majority. A dead member is of no use any more, and its removal makes the
    majority smaller that is needed.
    """
    membership = cluster_view.membership or Membership()
    told = {name for name, one in desired.history.nodes.items() if one.temporary}
    temporary = {*membership.temporary, *told} - {*membership.regular}
    dead = set()
    if has_enough_views(cluster_view, membership):
        for name in membership.regular:
            known = places.get(name, NodeAddresses()).known
            proof = prove_stopped(cluster_view, name, known, regular=desired.is_regular(name))
            if proof.enough(word=_word(desired, name, cluster_view) is not None):
                dead.add(name)
    return frozenset((temporary | dead) - {node.name for node in desired.entry.nodes})


def has_enough_views(cluster_view: ClusterView, membership: Membership) -> bool:
    """Whether the regular members that gave their view are themselves a majority."""
    return sum(name in cluster_view.answering_nodes for name in membership.regular) >= compute_quorum(
        len(membership.regular)
    )


def list_unknown_members(cluster_view: ClusterView, membership: Membership, *, but: str) -> tuple[str, ...]:
    """Members of which nothing is known first-hand: shown connected, but silent to us."""
    return tuple(
        name
        for name in membership.names
        if name != but and name not in cluster_view.answering_nodes and not cluster_view.away(name)
    )


def _member(
    entry: SoraCluster, node: SoraNode, cluster_view: ClusterView, membership: Membership, piles: _Piles
) -> None:
    target = f"{entry.name}/{node.name}"
    if (node.name in membership.temporary) is not node.temporary:
        wanted, found = ("temporary", "regular") if node.temporary else ("regular", "temporary")
        piles.put("missing", node.name)
        piles.findings.append(
            Diagnostic(
                Severity.ERROR,
                "kind-differs",
                f"{node.name} is registered as a {found} node, but the fleet file says {wanted}",
                "change cluster_temporary_node in its sora.conf while it is out of the cluster, "
                "or correct the fleet file",
                target=target,
            )
        )
    elif node.name in cluster_view.errors:
        piles.findings.append(_error(target, node.name, cluster_view))
    elif cluster_view.connected(node.name):
        if node.name not in cluster_view.answering_nodes:
            piles.findings.append(_silent(target, node.name, cluster_view))
    elif cluster_view.outside(node.name):
        piles.put("again", node.name)
    else:
        running = cluster_view.answers(node.name)
        state = (
            describe_silence(cluster_view.observed.nodes.get(node.name))
            if running
            else "its API does not answer"
        )
        piles.findings.append(
            Diagnostic(
                Severity.ERROR,
                "node-away",
                f"{node.name} is registered, but the other members do not see it ({state})",
                "repair its connection to the other nodes: it then returns by itself; if it does "
                "not, stop it and remove it from the fleet file, so that it is purged, then wipe its data"
                if running
                else "start it: it returns by itself; or remove it from the fleet file to purge it",
                target=target,
            )
        )


def _outsider(entry: SoraCluster, node: SoraNode, cluster_view: ClusterView, piles: _Piles) -> None:
    answer = cluster_view.observed.nodes.get(node.name)
    own = answer.value.row(node.name) if isinstance(answer, Present | Stale) else None
    if own is not None and own.temporary not in {None, node.temporary}:
        code, words = "kind-differs", "its kind, regular or temporary, differs from the fleet file"
        remedy = "correct cluster_temporary_node in its sora.conf, or the fleet file"
    elif cluster_view.joinable(node.name):
        piles.put("temporary" if node.temporary else "regular", node.name)
        return
    elif isinstance(answer, Present | Stale) and own is not None:
        others = [name for name in list_view_names(answer.value) if name != node.name]
        code, words = "in-another-cluster", f"it is in another cluster, with {', '.join(others[:5])}"
        remedy = "remove it from that cluster first"
    elif isinstance(answer, Stale) and answer.value.rows:
        code, words = "wrong-address", f"another node answers at its address: {answer.reason}"
        remedy = "correct `api` in the fleet file, or `node_name` in its sora.conf"
    elif isinstance(answer, Unauthorized | Stale):
        code, words = "node-refuses", answer.reason
        remedy = "check the node's log, and allow this host to call its API"
    elif isinstance(answer, Unidentified):
        code, words, remedy = "node-unidentified", answer.reason, "correct `api` in the fleet file"
    else:
        code, words = "node-unreachable", describe_silence(answer)
        remedy = suggest_remedy(answer)
    piles.put("missing", node.name)
    piles.findings.append(
        Diagnostic(
            Severity.ERROR,
            code,
            f"{node.name} cannot be registered: {words}",
            remedy,
            target=f"{entry.name}/{node.name}",
        )
    )


def _unwanted(
    desired: SoraDesired, name: str, cluster_view: ClusterView, membership: Membership, piles: _Piles
) -> None:
    target = f"{desired.entry.name}/{name}"
    if name in cluster_view.errors:
        piles.findings.append(_error(target, name, cluster_view))
        return
    if name in membership.temporary:
        if cluster_view.connected(name):
            piles.put("leaving", name)
        else:
            piles.findings.append(
                Diagnostic(
                    Severity.ERROR,
                    "temporary-away",
                    f"the temporary node {name} is cut off; the cluster erases it when it stops",
                    "stop it on its host",
                    target=target,
                )
            )
        return
    known = piles.places.get(name, NodeAddresses()).known
    proof = prove_stopped(cluster_view, name, known, regular=desired.is_regular(name))
    word = _word(desired, name, cluster_view)
    if proof.proof in {StopProof.SEEN, StopProof.ANSWERS}:
        piles.put("live", name)
    elif not proof.enough(word=word is not None):
        piles.findings.append(_unproven(desired, target, name, proof, cluster_view))
    elif not has_enough_views(cluster_view, membership):
        piles.findings.append(_few(target, name, cluster_view, membership))
    else:
        piles.put("dead", name)
        if word is not None and not proof.enough(word=False):
            piles.words[name] = word


def _word(desired: SoraDesired, name: str, cluster_view: ClusterView) -> Stopped | None:
    """The person's word that the node is stopped, if it still counts."""
    word = desired.word(name)
    late = word is not None and cluster_view.day is not None and cluster_view.day > word.until
    return None if late else word


def _unproven(
    desired: SoraDesired, target: str, name: str, proof: StopVerdict, cluster_view: ClusterView
) -> Diagnostic:
    said = ""
    if any(one.node == name for one in desired.entry.stopped):
        used = desired.word(name) is None
        said = "; the `stopped` entry for it " + (
            "was used already"
            if used
            else "has expired"
            if _word(desired, name, cluster_view) is None
            else "is not enough"
        )
    return Diagnostic(
        Severity.ERROR,
        "purge-unproven",
        f"{name} is not in the fleet file and no member sees it, but nothing proves that it is "
        f"stopped, so it is not purged: {proof.words}{said}",
        "stop what answers there; if the node is permanently stopped, add it to `stopped` in the cluster's "
        "entry with a reason and a date",
        target=target,
    )


def _error(target: str, name: str, cluster_view: ClusterView) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        "member-error",
        f"the members report an error for {name}, so it counts neither as up nor as down: "
        f"{make_one_line(cluster_view.errors[name], 200)}",
        "check the logs of the node and of its peers; nothing is changed while the error lasts",
        target=target,
    )


def _few(target: str, name: str, cluster_view: ClusterView, membership: Membership) -> Diagnostic:
    total = len(membership.regular)
    seen = sum(one in cluster_view.answering_nodes for one in membership.regular)
    return Diagnostic(
        Severity.ERROR,
        "purge-waits",
        f"{name} seems to be stopped, but only {seen} of {total} regular nodes answered, "
        f"and {compute_quorum(total)} are needed to prove it",
        "make the APIs of the other nodes reachable for this host",
        target=target,
    )


def _silent(target: str, name: str, cluster_view: ClusterView) -> Diagnostic:
    return Diagnostic(
        Severity.WARNING,
        "api-silent",
        f"the members see {name} connected, but it does not answer this host: "
        f"{describe_silence(cluster_view.observed.nodes.get(name))}",
        "correct `api` in the fleet file, or check the node",
        target=target,
    )


def make_waiting_finding(entry: SoraCluster, code: str, name: str, words: str, remedy: str) -> Diagnostic:
    """The finding that something cannot be done about a node yet.

    An error, as all that leaves a node other than the fleet file says and that no step mends: otherwise a run
    that changed nothing would end with success.
    """
    return Diagnostic(Severity.ERROR, code, f"{name} {words}", remedy, target=f"{entry.name}/{name}")
