"""Who was in a cluster before: from earlier fleet files, and from facts of earlier runs; pure.

Both sources are needed. Git knows the nodes even if the state folder was lost, but not whether the revision
was ever applied; the store knows what this host applied, but nothing of other hosts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from reconciler.core.prior_revisions import PriorCluster, PriorRevisions

ADDRESSES: Final = 16
"""Addresses of one node that are remembered and asked: more than a node moves, and a bound on calls."""

_MEMBER: Final = "member"
"""Facts of this kind: the node was seen in the cluster, or was sent a call that may have registered it."""

_INIT: Final = "init"
"""Facts of this kind: InitCluster was sent with this node, and is not known to have failed."""

_EVIDENCE: Final = frozenset({"initialised", "collapsed", "revision"})
"""Facts of the first version of the store, which mean the same but do not name the fleet."""


class PastKnowledge(StrEnum):
    """What is known of the cluster's past, from the least to the most."""

    NOTHING = "nothing"
    """No earlier revision names it, and the store has no fact of it."""

    NAMED = "named"
    """An earlier revision names it; no run is known to have applied that revision."""

    UNREAD = "unread"
    """An earlier revision exists but cannot be read, so it may have named any nodes."""

    MEMBER = "member"
    """Nodes are known to have been in it."""


@dataclass(frozen=True, slots=True)
class EarlierNode:
    """One node that an earlier revision or the store knows.

    Args:
        addresses: every API address known for it, sorted.
        member: whether it is known to have been in the cluster, not only named in a file.
        regular: whether a fleet file named it as a regular node.
        temporary: whether a fleet file named it as a temporary node, and none as a regular one.
        required: whether it has to answer itself before a cluster is initialised without `collapsed`: a
            regular node of the base revision or of the one applied last. Older ones are only asked.
    """

    addresses: tuple[str, ...] = ()
    member: bool = False
    regular: bool = False
    required: bool = False
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class ClusterPast:
    """The past of one cluster.

    Args:
        nodes: node name -> what is known of it.
        existed: whether any node is known to have been in the cluster.
        unread: why an earlier revision could not be read; empty where none is missing.
        revision: short id of the earlier revision that names the nodes; empty where none does.
        single: nodes each of which is known as the only regular one of the cluster at some time. Such a node
            lists only itself while its cluster lives.
        replaced: clusters that went from the fleet file as this one came.
    """

    nodes: Mapping[str, EarlierNode] = field(default_factory=dict)
    existed: bool = False
    unread: str = ""
    revision: str = ""
    single: frozenset[str] = frozenset()
    replaced: tuple[str, ...] = ()

    @property
    def knowledge(self) -> PastKnowledge:
        """The most that anything in it proves."""
        if self.existed:
            return PastKnowledge.MEMBER
        if self.unread:
            return PastKnowledge.UNREAD
        return PastKnowledge.NAMED if self.nodes else PastKnowledge.NOTHING

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the nodes that are known to have been in the cluster, sorted."""
        return tuple(sorted(name for name, one in self.nodes.items() if one.member))

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the nodes that have to answer before a cluster is initialised without `collapsed`."""
        return tuple(sorted(name for name, one in self.nodes.items() if one.required))

    def addresses(self, name: str) -> tuple[str, ...]:
        """Every API address known for a node from earlier."""
        return self.nodes[name].addresses if name in self.nodes else ()


def merge_past(
    current: Iterable[str],
    prior: PriorRevisions,
    recalled: Mapping[str, Mapping[str, str]],
    source: str,
    *,
    address: Any,
) -> ClusterPast:
    """The past from git and the store together.

    Facts of another fleet with a cluster of the same name count only if the two share a node: then they are
    one cluster, read from two spellings of its source.

    Args:
        current: names of the nodes in the fleet file at hand.
        prior: the cluster in earlier revisions.
        recalled: node -> key -> value, as the store has it.
        source: of the fleet at hand.
        address: gives the canonical API address of a text; empty if it may not be asked.
    """
    found: dict[str, EarlierNode] = {}

    def add(name: str, addresses: Iterable[str], **more: bool) -> None:
        one = found.get(name, EarlierNode())
        known = tuple(sorted({*one.addresses, *addresses})[:ADDRESSES])
        flags = {key: getattr(one, key) or value for key, value in more.items()}
        found[name] = replace(one, addresses=known, **flags)

    fleets_by_node = {name: _group_addresses(facts) for name, facts in recalled.items()}
    for cluster in prior.clusters:
        for name, entry in cluster.nodes.items():
            own, regular = address(entry.get("api")), entry.get("temporary") is not True
            # Nodes of older revisions are asked, but may be scrapped by now: they must not block an init.
            required = regular and not cluster.is_older
            add(name, [own] if own else [], regular=regular, required=required)
    shared = {*current, *found}
    # The source may be spelled in two ways (SSH and HTTPS): facts under another spelling count if both know a
    # node in common. Otherwise another fleet with an equal cluster name would lend its past.
    ours = {digest_source(source)}
    ours |= {digest for name in shared for digest in fleets_by_node.get(name, {})}
    for name, fleets in fleets_by_node.items():
        for digest in sorted(ours & fleets.keys()):
            add(name, filter(None, map(address, fleets[digest])), member=True)
    older = (name for name, facts in recalled.items() if _EVIDENCE & facts.keys())
    existed = any(one.member for one in found.values()) or any(
        not fleets_by_node[name] or name in shared or ours & fleets_by_node[name].keys() for name in older
    )
    applied = {name for cluster in prior.clusters if cluster.is_applied for name in cluster.nodes}
    named = {name for cluster in prior.clusters for name in cluster.nodes}
    nodes = {
        name: replace(
            one,
            # A revision that was applied proves nothing if the run ended before InitCluster.
            member=one.member or (existed and name in applied),
            temporary=name in named and not one.regular,
        )
        for name, one in sorted(found.items())
    }
    revision = next((cluster.revision for cluster in prior.clusters), "")
    single = _find_single(prior.clusters, nodes)
    return ClusterPast(nodes, existed, prior.unread, revision, single, prior.replaced)


def _find_single(clusters: Iterable[PriorCluster], nodes: Mapping[str, EarlierNode]) -> frozenset[str]:
    named = [
        [name for name, entry in cluster.nodes.items() if entry.get("temporary") is not True]
        for cluster in clusters
    ]
    members = [name for name, one in nodes.items() if one.member]
    return frozenset(names[0] for names in (*named, members) if len(names) == 1)


def _group_addresses(facts: Mapping[str, str]) -> dict[str, set[str]]:
    """Digest of a fleet's source -> addresses, of the facts that say that a node was in a cluster."""
    found: dict[str, set[str]] = {}
    for key in facts:
        kind, _, rest = key.partition(" ")
        if kind in {_MEMBER, _INIT}:
            digest, _, address = rest.partition(" ")
            found.setdefault(digest, set()).update([address] if address else [])
    return found


def digest_source(source: str) -> str:
    """How facts name a fleet: by a digest of its source, which may be long."""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def make_member_facts(source: str, addresses: Iterable[str]) -> dict[str, str]:
    """The facts by which a node is remembered as a member, one for each address and one without."""
    digest = digest_source(source)
    # Also a fact without address: a member whose address nobody lists must still not be forgotten.
    places = sorted(set(addresses))[:ADDRESSES]
    return {f"{_MEMBER} {digest}": source, **{f"{_MEMBER} {digest} {one}": source for one in places}}


def make_init_facts(source: str, address: str) -> dict[str, str]:
    """The facts by which a node is remembered as one that InitCluster was sent with."""
    return {f"{_INIT} {digest_source(source)} {address}": source}


def make_forgetting_facts(source: str, facts: Mapping[str, str]) -> dict[str, str]:
    """The same fleet's facts of a node with empty values, which forget them."""
    digest = digest_source(source)
    # InitCluster facts stay: they are evidence that the cluster existed, even if all of its nodes left.
    own = {key: "" for key in facts if key.split(" ")[:2] == [_MEMBER, digest]}
    return {**own, "revision": ""} if own and "revision" in facts else own


def learn_members(
    source: str, members: Mapping[str, Iterable[str]], recalled: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Node -> key -> value to remember once the cluster's nodes agree who is in it.

    Addresses are added to the known ones, because a node may still run where it was before. All facts of
    nodes that left are removed, so that the store does not grow without limit.

    Args:
        source: of the fleet at hand.
        members: member -> the API addresses known for it.
        recalled: what the store remembers by now.
    """
    found = {name: make_forgetting_facts(source, recalled[name]) for name in recalled if name not in members}
    for name, addresses in members.items():
        facts, known = make_member_facts(source, addresses), recalled.get(name, {})
        found[name] = {key: value for key, value in facts.items() if key not in known}
    return {name: facts for name, facts in found.items() if facts}
