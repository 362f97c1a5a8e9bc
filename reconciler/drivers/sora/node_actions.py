"""The action for each node, and findings about the nodes without one."""

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
        words: dead node -> the `stopped` entry, for those that need it.
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
class _ActionBuilder:
    places: Mapping[str, NodeAddresses]
    names_by_action: dict[str, list[str]] = field(default_factory=dict)
    words: dict[str, Stopped] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)

    def add(self, action: str, name: str) -> None:
        self.names_by_action.setdefault(action, []).append(name)


def find_node_actions(
    desired: SoraDesired,
    cluster_view: ClusterView,
    membership: Membership,
    places: Mapping[str, NodeAddresses],
) -> NodeActions:
    """What is to be done about every node that the fleet file or the cluster names."""
    entry, builder = desired.entry, _ActionBuilder(places)
    for node in sorted(entry.nodes, key=lambda one: one.name):
        if node.name in membership.names:
            _check_member(entry, node, cluster_view, membership, builder)
        else:
            _check_outsider(entry, node, cluster_view, builder)
    for name in membership.names:
        if entry.node(name) is None:
            _check_unwanted(desired, name, cluster_view, membership, builder)
    names_by_action = {action: tuple(sorted(names)) for action, names in builder.names_by_action.items()}
    return NodeActions(findings=tuple(builder.findings), words=builder.words, **names_by_action)


def list_uncounted(
    desired: SoraDesired, cluster_view: ClusterView, places: Mapping[str, NodeAddresses]
) -> frozenset[str]:
    """Nodes that the fleet file may let go in any number: temporary ones, and members that are dead.

    A temporary node never counts for the majority. The removal of a dead member makes the needed majority
    smaller.
    """
    membership = cluster_view.membership or Membership()
    told = {name for name, one in desired.history.nodes.items() if one.temporary}
    temporary = {*membership.temporary, *told} - {*membership.regular}
    dead = set()
    if has_enough_views(cluster_view, membership):
        for name in membership.regular:
            known = places.get(name, NodeAddresses()).known
            proof = prove_stopped(cluster_view, name, known, regular=desired.is_regular(name))
            if proof.enough(word=_find_confirmation(desired, name, cluster_view) is not None):
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


def _check_member(
    entry: SoraCluster,
    node: SoraNode,
    cluster_view: ClusterView,
    membership: Membership,
    builder: _ActionBuilder,
) -> None:
    target = f"{entry.name}/{node.name}"
    if (node.name in membership.temporary) is not node.temporary:
        wanted, found = ("temporary", "regular") if node.temporary else ("regular", "temporary")
        builder.add("missing", node.name)
        builder.findings.append(
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
        builder.findings.append(_make_member_error(target, node.name, cluster_view))
    elif cluster_view.connected(node.name):
        if node.name not in cluster_view.answering_nodes:
            builder.findings.append(_make_api_silent(target, node.name, cluster_view))
    elif cluster_view.outside(node.name):
        builder.add("again", node.name)
    else:
        running = cluster_view.answers(node.name)
        state = (
            describe_silence(cluster_view.observed.nodes.get(node.name))
            if running
            else "its API does not answer"
        )
        builder.findings.append(
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


def _check_outsider(
    entry: SoraCluster, node: SoraNode, cluster_view: ClusterView, builder: _ActionBuilder
) -> None:
    answer = cluster_view.observed.nodes.get(node.name)
    own = answer.value.row(node.name) if isinstance(answer, Present | Stale) else None
    if own is not None and own.temporary not in {None, node.temporary}:
        code, words = "kind-differs", "its kind, regular or temporary, differs from the fleet file"
        remedy = "correct cluster_temporary_node in its sora.conf, or the fleet file"
    elif cluster_view.joinable(node.name):
        builder.add("temporary" if node.temporary else "regular", node.name)
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
    builder.add("missing", node.name)
    builder.findings.append(
        Diagnostic(
            Severity.ERROR,
            code,
            f"{node.name} cannot be registered: {words}",
            remedy,
            target=f"{entry.name}/{node.name}",
        )
    )


def _check_unwanted(
    desired: SoraDesired,
    name: str,
    cluster_view: ClusterView,
    membership: Membership,
    builder: _ActionBuilder,
) -> None:
    target = f"{desired.entry.name}/{name}"
    if name in cluster_view.errors:
        builder.findings.append(_make_member_error(target, name, cluster_view))
        return
    if name in membership.temporary:
        if cluster_view.connected(name):
            builder.add("leaving", name)
        else:
            builder.findings.append(
                Diagnostic(
                    Severity.ERROR,
                    "temporary-away",
                    f"the temporary node {name} is cut off; the cluster erases it when it stops",
                    "stop it on its host",
                    target=target,
                )
            )
        return
    known = builder.places.get(name, NodeAddresses()).known
    proof = prove_stopped(cluster_view, name, known, regular=desired.is_regular(name))
    word = _find_confirmation(desired, name, cluster_view)
    if proof.proof in {StopProof.SEEN, StopProof.ANSWERS}:
        builder.add("live", name)
    elif not proof.enough(word=word is not None):
        builder.findings.append(_make_unproven(desired, target, name, proof, cluster_view))
    elif not has_enough_views(cluster_view, membership):
        builder.findings.append(_make_purge_waits(target, name, cluster_view, membership))
    else:
        builder.add("dead", name)
        if word is not None and not proof.enough(word=False):
            builder.words[name] = word


def _find_confirmation(desired: SoraDesired, name: str, cluster_view: ClusterView) -> Stopped | None:
    """The `stopped` entry of the node, if it still counts."""
    word = desired.word(name)
    late = word is not None and cluster_view.day is not None and cluster_view.day > word.until
    return None if late else word


def _make_unproven(
    desired: SoraDesired, target: str, name: str, proof: StopVerdict, cluster_view: ClusterView
) -> Diagnostic:
    said = ""
    if any(one.node == name for one in desired.entry.stopped):
        used = desired.word(name) is None
        said = "; the `stopped` entry for it " + (
            "was used already"
            if used
            else "has expired"
            if _find_confirmation(desired, name, cluster_view) is None
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


def _make_member_error(target: str, name: str, cluster_view: ClusterView) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        "member-error",
        f"the members report an error for {name}, so it counts neither as up nor as down: "
        f"{make_one_line(cluster_view.errors[name], 200)}",
        "check the logs of the node and of its peers; nothing is changed while the error lasts",
        target=target,
    )


def _make_purge_waits(
    target: str, name: str, cluster_view: ClusterView, membership: Membership
) -> Diagnostic:
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


def _make_api_silent(target: str, name: str, cluster_view: ClusterView) -> Diagnostic:
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
