"""The action for each node, and findings about the nodes without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core.observation import Stale, Unauthorized, Unidentified
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.cluster_state import compute_quorum
from reconciler.drivers.sora.cluster_view import ClusterView, NodeAddresses, list_view_names
from reconciler.drivers.sora.interruptions import is_interrupted
from reconciler.drivers.sora.membership import Membership
from reconciler.drivers.sora.schema import SoraDesired, SoraNode, Stopped
from reconciler.drivers.sora.stop_proof import StopProof, StopVerdict, prove_member_stopped
from reconciler.text.one_line import make_one_line


@dataclass(slots=True)
class NodeActions:
    """Nodes by what is to be done about them; each list is sorted.

    Args:
        desired: the fleet file's nodes, and the cluster's past.
        cluster_view: the nodes' answers.
        membership: who is in the cluster when the actions start.
        places: name -> all its addresses.
        again: members that must register again, because they answer that they are in no cluster.
        regular: regular nodes to register.
        temporary: temporary nodes to register.
        dead: regular members to purge that are stopped.
        live: regular members to remove that run.
        leaving: temporary members to stop.
        missing: desired nodes that belong into the cluster and cannot be brought in now.
        interrupted: nodes that a run of this host has stopped, and that do not run.
        findings: about the nodes that nothing is done about.
        words: dead node -> the `stopped` entry, for those that need it.
    """

    desired: SoraDesired
    cluster_view: ClusterView
    membership: Membership
    places: Mapping[str, NodeAddresses]
    again: list[str] = field(init=False, default_factory=list)
    regular: list[str] = field(init=False, default_factory=list)
    temporary: list[str] = field(init=False, default_factory=list)
    dead: list[str] = field(init=False, default_factory=list)
    live: list[str] = field(init=False, default_factory=list)
    leaving: list[str] = field(init=False, default_factory=list)
    missing: list[str] = field(init=False, default_factory=list)
    interrupted: list[str] = field(init=False, default_factory=list)
    findings: list[Diagnostic] = field(init=False, default_factory=list)
    words: dict[str, Stopped] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for node in sorted(self.desired.entry.nodes, key=lambda one: one.name):
            if node.name in self.membership.names:
                self._check_member(node)
            else:
                self._check_outsider(node)
        for name in self.membership.names:
            if self.desired.entry.node(name) is None:
                self._check_unwanted(name)

    def _report(
        self, code: str, name: str, message: str, remedy: str, *, severity: Severity = Severity.ERROR
    ) -> None:
        target = f"{self.desired.entry.name}/{name}"
        self.findings.append(Diagnostic(severity, code, message, remedy, target=target))

    def _check_member(self, node: SoraNode) -> None:
        name, cluster_view = node.name, self.cluster_view
        if (name in self.membership.temporary) is not node.temporary:
            wanted, found = ("temporary", "regular") if node.temporary else ("regular", "temporary")
            self.missing.append(name)
            self._report(
                "kind-differs",
                name,
                f"{name} is registered as a {found} node, but the fleet file says {wanted}",
                "change cluster_temporary_node in its sora.conf while it is out of the cluster, "
                "or correct the fleet file",
            )
        elif name in cluster_view.errors:
            self._report_member_error(name)
        elif cluster_view.is_connected(name):
            if name not in cluster_view.answering_nodes:
                self._report(
                    "api-silent",
                    name,
                    f"the members see {name} connected, but it does not answer this host: "
                    f"{cluster_view.describe_answer(name)}",
                    "correct `api` in the fleet file, or check the node",
                    severity=Severity.WARNING,
                )
        elif cluster_view.is_outside(name):
            self.again.append(name)
        elif is_interrupted(self.desired, cluster_view, name):
            self.interrupted.append(name)
        else:
            running = cluster_view.answers(name)
            state = cluster_view.describe_answer(name) if running else "its API does not answer"
            self._report(
                "node-away",
                name,
                f"{name} is registered, but the other members do not see it ({state})",
                "repair its connection to the other nodes: it then returns by itself; if it does "
                "not, stop it and remove it from the fleet file, so that it is purged, then wipe its data"
                if running
                else "start it: it returns by itself; or remove it from the fleet file to purge it",
            )

    def _check_outsider(self, node: SoraNode) -> None:
        name, view = node.name, self.cluster_view.own_view(node.name)
        answer = self.cluster_view.observed.nodes.get(name)
        own = view.row(name) if view is not None else None
        if node.temporary and is_interrupted(self.desired, self.cluster_view, name):
            self.interrupted.append(name)
            return
        if own is not None and own.temporary not in {None, node.temporary}:
            code, words = "kind-differs", "its kind, regular or temporary, differs from the fleet file"
            remedy = "correct cluster_temporary_node in its sora.conf, or the fleet file"
        elif self.cluster_view.is_joinable(name):
            (self.temporary if node.temporary else self.regular).append(name)
            return
        elif view is not None and own is not None:
            others = [one for one in list_view_names(view) if one != name]
            code, words = "in-another-cluster", f"it is in another cluster, with {', '.join(others[:5])}"
            remedy = "remove it from that cluster first"
        elif isinstance(answer, Stale) and answer.value.rows:
            code, words = "wrong-address", f"another node answers at its address: {answer.reason}"
            remedy = "correct `api` in the fleet file, or `node_name` in its sora.conf"
        elif isinstance(answer, Unauthorized | Stale):
            code, words = "node-refuses", answer.reason
            seen = getattr(answer, "remedy", "")
            remedy = seen or "check the node's log, and allow this host to call its API"
        elif isinstance(answer, Unidentified):
            code, words = "node-unidentified", answer.reason
            remedy = answer.remedy or "correct `api` in the fleet file"
        else:
            code, words = "node-unreachable", self.cluster_view.describe_answer(name)
            remedy = self.cluster_view.suggest_remedy(name)
        self.missing.append(name)
        self._report(code, name, f"{name} cannot be registered: {words}", remedy)

    def _check_unwanted(self, name: str) -> None:
        if name in self.cluster_view.errors:
            self._report_member_error(name)
            return
        if name in self.membership.temporary:
            # No call removes a temporary node: the cluster erases it once it stops, so it must be stopped.
            if self.cluster_view.is_connected(name):
                self.leaving.append(name)
            else:
                words = f"the temporary node {name} is cut off; the cluster erases it when it stops"
                self._report("temporary-away", name, words, "stop it on its host")
            return
        proof, word = prove_member_stopped(self.desired, self.cluster_view, name, self.places)
        if proof.proof in {StopProof.SEEN, StopProof.ANSWERS}:
            self.live.append(name)
        elif not proof.enough(word=word is not None):
            self._report_unproven(name, proof, is_confirmed=word is not None)
        elif not self.cluster_view.has_enough_views:
            # A minority sees every node of the other side as stopped.
            total = len(self.membership.regular)
            seen = sum(one in self.cluster_view.answering_nodes for one in self.membership.regular)
            self._report(
                "purge-waits",
                name,
                f"{name} seems to be stopped, but only {seen} of {total} regular nodes answered, "
                f"and {compute_quorum(total)} are needed to prove it",
                "make the APIs of the other nodes reachable for this host",
            )
        else:
            self.dead.append(name)
            if word is not None and not proof.enough(word=False):
                self.words[name] = word

    def _report_unproven(self, name: str, proof: StopVerdict, *, is_confirmed: bool) -> None:
        entry_state = ""
        if any(one.node == name for one in self.desired.entry.stopped):
            state = "is not enough" if is_confirmed else "has expired"
            if self.desired.word(name) is None:
                state = "was used already"
            entry_state = f"; the `stopped` entry for it {state}"
        self._report(
            "purge-unproven",
            name,
            f"{name} is not in the fleet file and no member sees it, but nothing proves that it is "
            f"stopped, so it is not purged: {proof.words}{entry_state}",
            "stop what answers there; if the node is permanently stopped, add it to `stopped` in the "
            "cluster's entry with a reason and a date",
        )

    def _report_member_error(self, name: str) -> None:
        self._report(
            "member-error",
            name,
            f"the members report an error for {name}, so it counts neither as up nor as down: "
            f"{make_one_line(self.cluster_view.errors[name], 200)}",
            "check the logs of the node and of its peers; nothing is changed while the error lasts",
        )


def list_uncounted(
    desired: SoraDesired, cluster_view: ClusterView, places: Mapping[str, NodeAddresses]
) -> frozenset[str]:
    """Nodes that the fleet file may let go in any number: temporary ones, and members that are dead.

    A temporary node never counts for the majority. The removal of a dead member makes the needed majority
    smaller.
    """
    membership = cluster_view.membership or Membership()
    earlier = {name for name, one in desired.history.nodes.items() if one.temporary}
    uncounted = {*membership.temporary, *earlier} - {*membership.regular}
    for name in membership.regular if cluster_view.has_enough_views else ():
        proof, word = prove_member_stopped(desired, cluster_view, name, places)
        if proof.enough(word=word is not None):
            uncounted.add(name)
    return frozenset(uncounted - {node.name for node in desired.entry.nodes})
