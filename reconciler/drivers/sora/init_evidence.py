"""Whether a cluster may be initialised: the nodes' answers and its past, by `init_decision.TABLE`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet

from reconciler.core.observation import Absent, Present, Stale, Unidentified
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.arguments import InitConfirmation
from reconciler.drivers.sora.cluster_state import compute_quorum
from reconciler.drivers.sora.cluster_view import ClusterView
from reconciler.drivers.sora.history import ClusterPast
from reconciler.drivers.sora.init_decision import AnswerSummary, CollapsedState, InitDecision, decide_init
from reconciler.drivers.sora.schema import NodeView, SoraDesired, make_confirmation_key
from reconciler.text.one_line import join_some

ANSWERS = (Present, Absent, Stale)
"""The observations in which the node itself answered."""

_SHOWN = 5
_FEWEST_HIDDEN = 2
_ONLY_IF = (
    "only if the cluster never existed or is permanently lost, add `collapsed` with a reason and a date to "
    "the fleet file"
)


def find_init_confirmation(
    desired: SoraDesired, cluster_view: ClusterView
) -> tuple[InitConfirmation | None, tuple[Diagnostic, ...]]:
    """The entry to initialise on, or None and the findings that say why not.

    Args:
        desired: names the regular nodes, all of which must have answered, and the cluster's past.
        cluster_view: one without answering nodes.
    """
    entry = desired.entry
    outcome = look_up_decision(desired, cluster_view)
    if outcome is InitDecision.INITIALISE:
        return InitConfirmation("initialise", "the fleet file has `initialise: true`", ""), ()
    if outcome is InitDecision.COLLAPSED:
        assert entry.collapsed is not None
        return InitConfirmation("collapsed", entry.collapsed.reason, entry.collapsed.until.isoformat()), ()
    lost = () if outcome is InitDecision.LIVING else tuple(_report_lost(desired, cluster_view))
    findings = (*_FINDINGS[outcome](desired, cluster_view), *lost)
    return None, tuple(dict.fromkeys(findings))


def look_up_decision(desired: SoraDesired, cluster_view: ClusterView) -> InitDecision:
    """The decision of the table for the answers of a cluster."""
    entry, history = desired.entry, desired.history
    return decide_init(
        summarise_answers(entry.regular, history, cluster_view),
        history.knowledge,
        initialise=entry.initialise,
        collapsed=_assess_collapsed(desired, cluster_view),
    )


def summarise_answers(
    regular: tuple[str, ...], history: ClusterPast, cluster_view: ClusterView
) -> AnswerSummary:
    """What the nodes answer together, the regular ones of the fleet file and all that are known from earlier.

    Args:
        regular: names of the regular nodes that are to be initialised.
        history: the cluster's past.
        cluster_view: the nodes' answers, at every address that was asked.
    """
    nodes = cluster_view.observed.nodes
    if cluster_view.answering_nodes or cluster_view.live_elsewhere:
        return AnswerSummary.LIVING
    # Silence is no answer: a node that cannot be reached may be a member of a living cluster.
    if any(not isinstance(nodes.get(name), ANSWERS) for name in regular):
        return AnswerSummary.SILENT
    if _find_misfits(regular, cluster_view):
        return AnswerSummary.MISFIT
    if any(_remembers_cluster(name, view) for name, view in cluster_view.list_views()):
        return AnswerSummary.REMEMBERED
    return _summarise_blank_answers(regular, history, cluster_view)


def _summarise_blank_answers(
    regular: tuple[str, ...], history: ClusterPast, cluster_view: ClusterView
) -> AnswerSummary:
    """The same where no answer shows a cluster."""
    if _find_unanswered(regular, history, cluster_view):
        return AnswerSummary.EARLIER_SILENT
    if not all(cluster_view.is_blank(name) or _is_unclustered(name, cluster_view) for name in regular):
        return AnswerSummary.UNCLEAR
    is_blank = all(isinstance(cluster_view.observed.nodes[name], Absent) for name in regular)
    return AnswerSummary.BLANK if is_blank else AnswerSummary.ALONE


def _find_misfits(regular: tuple[str, ...], cluster_view: ClusterView) -> list[str]:
    """Nodes named as regular ones that show themselves as temporary."""
    views = ((name, cluster_view.own_view(name)) for name in regular)
    rows = ((name, view.row(name)) for name, view in views if view is not None)
    return [name for name, row in rows if row is not None and row.temporary]


def _is_unclustered(name: str, cluster_view: ClusterView) -> bool:
    """Whether a node refuses to list, and its statistics show no cluster."""
    view = cluster_view.own_view(name)
    return view is not None and bool(view.refusal) and view.clustered is False


def _find_data_holders(cluster_view: ClusterView) -> set[str]:
    """Nodes that list another node, or whose statistics show a cluster.

    The code of a refusal is no proof: a new node may refuse with the same code, and then no cluster could
    ever be initialised with it.
    """
    return {
        name
        for name, view in cluster_view.list_views()
        if _remembers_cluster(name, view) and (view.clustered or not view.refusal)
    }


def _remembers_cluster(name: str, view: NodeView) -> bool:
    """Whether a node lists another node than itself, or refuses as one whose cluster lost its majority."""
    return view.holds_cluster or any(row.node_name != name for row in view.rows)


def _find_unanswered(regular: tuple[str, ...], history: ClusterPast, cluster_view: ClusterView) -> list[str]:
    """Regular nodes known from earlier that have not answered themselves that they are in no cluster."""
    earlier = (name for name, one in history.nodes.items() if one.required and name not in regular)
    return [name for name in earlier if not cluster_view.is_blank(name)]


def _assess_collapsed(desired: SoraDesired, cluster_view: ClusterView) -> CollapsedState:
    entry = desired.entry
    if entry.collapsed is None:
        return CollapsedState.NONE
    if cluster_view.is_past(entry.collapsed.until):
        return CollapsedState.EXPIRED
    # Of every node: the entry stays used if the node that remembers it has left the fleet file.
    used = {facts.get("collapsed") for facts in desired.recalled.values()}
    if make_confirmation_key(entry.collapsed) in used:
        return CollapsedState.USED
    is_apart = runs_apart(entry.regular, desired.history.nodes, cluster_view)
    return CollapsedState.APART if is_apart else CollapsedState.VALID


def runs_apart(regular: Iterable[str], earlier: Iterable[str], cluster_view: ClusterView) -> bool:
    """Whether a majority of a cluster runs with its data, although no node sees it: it has not collapsed.

    Sora's documentation allows a new InitCluster only if half of the nodes or fewer are left. The check also
    keeps a `collapsed` entry from counting twice after the store was lost: the new cluster's nodes have data.

    Args:
        regular: names of the regular nodes that are to be initialised.
        earlier: names of the nodes that are known from earlier.
        cluster_view: the nodes' answers.
    """
    holding = _find_data_holders(cluster_view)
    views = [view for _, view in cluster_view.list_views()]
    listed = {tuple(row.node_name for row in view.rows if not row.temporary) for view in views}
    clusters = [names for names in listed if len(names) > 1]
    # If no node lists a cluster, all known nodes may have been its members.
    everyone = clusters or [tuple({*regular, *earlier})]
    return any(len(holding & {*names}) >= compute_quorum(len(names)) for names in everyone)


def find_init_doubt(
    outcome: InitDecision,
    regular: Iterable[str],
    cluster_view: ClusterView,
    *,
    members: Collection[str],
    required: Iterable[str],
) -> str:
    """Why the nodes' answers do not prove that no cluster of them runs; empty where they do.

    An entry of the fleet file describes the moment when it was written. It stays in the file, and a host with
    another state folder does not know that it was used. So the answers must show in addition that too few
    nodes have a cluster's data. If the answers do not show it, an operator must approve each time.

    Args:
        outcome: the entry to initialise on.
        regular: names of the regular nodes that are to be initialised.
        cluster_view: the nodes' answers.
        members: names of the nodes that are known to have been in the cluster.
        required: names of the regular nodes of an earlier revision.
    """
    # Their answers fit a node in no cluster as well as one of a cluster.
    unclear = {name for name, view in cluster_view.list_views() if view.tells_nothing}
    if outcome is InitDecision.INITIALISE:
        return _describe_doubt(unclear) if unclear else ""
    may_hold = unclear | _find_data_holders(cluster_view)
    # Of a cluster whose nodes refuse to list, the members are not known from them.
    is_refused = any(view.refusal for _, view in cluster_view.list_views())
    if (unclear or is_refused) and _may_be_majority(may_hold, regular, members):
        return _describe_doubt(may_hold)
    strangers = _find_strangers(regular, cluster_view, required)
    if members or not strangers:
        return ""
    return (
        f"the earlier revision names {join_some(sorted(strangers), _SHOWN)}, which this host cannot reach; "
        "neither the state of this host nor an answer of a node shows that the collapsed cluster was theirs"
    )


def _describe_doubt(names: Iterable[str]) -> str:
    return (
        f"{join_some(sorted(names), _SHOWN)} may be in a cluster that lost its majority: the answers to "
        "ListClusterNodes and GetStatsReport do not show whether this is so"
    )


def _find_strangers(regular: Iterable[str], cluster_view: ClusterView, required: Iterable[str]) -> set[str]:
    """Nodes of an earlier revision that do not answer and that no node lists: their cluster may live.

    A `collapsed` entry that was left in the file while the nodes were replaced again would apply to them.
    """
    listed = {row.node_name for _, view in cluster_view.list_views() for row in view.rows}
    answered = {name for name, answer in cluster_view.answers_of_all() if isinstance(answer, ANSWERS)}
    return {*required} - {*regular} - listed - answered


def _may_be_majority(may_hold: AbstractSet[str], regular: Iterable[str], members: Iterable[str]) -> bool:
    """Whether nodes of which no list tells may be a majority of a cluster.

    That is a majority of the known members, or all nodes of the fleet file, which an earlier run may have
    initialised. If no member is known, two nodes may be a majority.
    """
    # The larger doubt counts: an approval costs a minute, a second cluster splits the clients.
    known, named = {*members}, {*regular}
    if len(may_hold) < _FEWEST_HIDDEN:
        return False  # a single node with a majority would list its cluster
    return not known or named <= may_hold or len(may_hold & known) >= compute_quorum(len(known))


def _make_error(code: str, target: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(Severity.ERROR, code, message, remedy, target=target)


def _report_living(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    for name, address in cluster_view.live_elsewhere:
        yield _make_error(
            "living-elsewhere",
            f"{desired.entry.name}/{name}",
            f"{name} answers at {address} and is in a cluster with a majority, so no other cluster "
            "is initialised",
            f"if the address is right, set `api` of {name} to {address}, and add the new nodes beside "
            "the old ones: the plan then registers the new nodes and removes the old ones one by one",
        )


def _report_silent(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    entry = desired.entry
    for name in entry.regular:
        answer = cluster_view.observed.nodes.get(name)
        if not isinstance(answer, ANSWERS):
            is_other = isinstance(answer, Unidentified)  # another program: starting the node does not help
            yield _make_error(
                "node-unidentified" if is_other else "node-unreachable",
                f"{entry.name}/{name}",
                f"{name} could not be read: {cluster_view.describe_answer(name)}; a cluster is initialised "
                "only after every regular node has answered",
                getattr(answer, "remedy", "")
                or ("correct `api` in the fleet file" if is_other else cluster_view.suggest_remedy(name)),
            )


def _report_earlier_silent(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    entry, history = desired.entry, desired.history
    for name in _find_unanswered(entry.regular, history, cluster_view):
        asked = ", ".join(history.addresses(name)) or "no address known"
        yield _make_error(
            "earlier-node-silent",
            f"{entry.name}/{name}",
            f"revision {history.revision or 'before'} had {name} in {entry.name}, and {name} has not "
            f"confirmed that it is in no cluster ({asked}: "
            f"{cluster_view.describe_answer(name)}); it may still be in a cluster",
            f"start the node or make its API reachable; {_ONLY_IF}",
        )


def _report_kind(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    entry = desired.entry
    for name in _find_misfits(entry.regular, cluster_view):
        yield _make_error(
            "kind-differs",
            f"{entry.name}/{name}",
            f"{name} reports that it is temporary, but the fleet file says regular; a cluster is initialised "
            "with regular nodes only",
            "set `temporary: true` for the node in the fleet file, or set cluster_temporary_node to "
            "false in its sora.conf and restart it",
        )


def _report_needs_initialise(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:  # noqa: ARG001
    entry, history = desired.entry, desired.history
    known = "no earlier state is known"
    if history.unread:
        known = f"its history is unknown: {history.unread}"
    elif history.nodes:
        known = f"revision {history.revision} names its nodes, but no run is known to have applied it"
    yield _make_error(
        "initialise-needed",
        entry.name,
        f"the nodes of {entry.name} show no cluster, and {known}; a cluster is initialised "
        "only on an explicit entry",
        f"if it never existed, add `initialise: true` to the entry of {entry.name}",
    )


def _report_needs_collapsed(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    entry, history = desired.entry, desired.history
    members = [name for name, one in history.nodes.items() if one.member] or ["its nodes"]
    states = "; ".join(
        f"{name}: answers that it is in no cluster"
        if cluster_view.is_blank(name)
        else f"{name}: {cluster_view.describe_answer(name)}"
        for name in members[:_SHOWN]
        if name in cluster_view.observed.nodes
    )
    yield _make_error(
        "collapsed-needed",
        entry.name,
        f"{join_some(members, _SHOWN)} were in the cluster {entry.name}, or InitCluster was sent for "
        "them, and no node sees it now"
        f"{f' ({states})' if states else ''}; if that cluster lives, InitCluster would create a second one",
        "start the nodes, or add them to the fleet file again; if a call may still be running, wait until it "
        "ends; only if the cluster is permanently lost, add `collapsed` with a reason and a date to the "
        "fleet file",
    )


def _report_unclear(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    entry = desired.entry
    for name in entry.regular:
        if cluster_view.is_blank(name) or _is_unclustered(name, cluster_view):
            continue
        yield _make_error(
            "initialised-unclear",
            f"{entry.name}/{name}",
            f"{name}: {cluster_view.describe_answer(name)}; this does not show whether it was ever in a "
            "cluster",
            f"check the node's log; {_ONLY_IF}",
        )


def _report_expired(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:  # noqa: ARG001
    entry = desired.entry
    assert entry.collapsed is not None
    yield _make_error(
        "collapsed-expired",
        entry.name,
        f"the `collapsed` entry of {entry.name} expired on {entry.collapsed.until}",
        "if the cluster is still lost, write a new `until` date in the fleet file",
    )


def _report_used(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:  # noqa: ARG001
    yield _make_error(
        "collapsed-used",
        desired.entry.name,
        f"this `collapsed` entry of {desired.entry.name} was already used: an earlier run used it, or "
        "saw the cluster with its majority while the entry was in the fleet file",
        "start the stopped nodes or repair the network; if the cluster has collapsed again, write a new "
        "reason or date in the fleet file",
    )


def _report_apart(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    holding = sorted(_find_data_holders(cluster_view))
    yield _make_error(
        "collapsed-apart",
        desired.entry.name,
        f"{desired.entry.name} has a `collapsed` entry, but {join_some(holding, _SHOWN)} run with the "
        "data of a cluster, enough for a majority: they cannot reach each other, so the cluster has not "
        "collapsed, or it was already initialised again",
        "repair the network between them: the cluster then recovers by itself; to start a new cluster "
        "instead, stop the nodes, wipe their data and start them",
    )


def _report_lost(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    """The best that any node still sees of a cluster without majority, or who of it refuses to list."""
    entry = desired.entry
    best: tuple[int, int, str] | None = None
    for name, view in sorted(cluster_view.list_views(), key=lambda one: one[0]):
        if len(view.rows) > 1:
            regular = [row for row in view.rows if not row.temporary]
            seen = (sum(row.connected for row in regular), len(regular), name)
            best = max(best, seen) if best is not None else seen
    if best is not None:
        up, total, name = best
        words = f"{name} sees {up} of {total} regular nodes, {compute_quorum(total)} are needed"
    else:
        # A cluster that holds its majority lists its nodes: members that refuse show that it has none.
        members = {name for name, one in desired.history.nodes.items() if one.member}
        refusing = sorted(
            {
                f"{name} refuses to list it ({view.refusal})"
                for name, view in cluster_view.list_views()
                if view.refusal and (view.holds_cluster or name in members)
            }
        )
        if not refusing:
            return
        words = f"no node lists the cluster, and {'; '.join(refusing[:_SHOWN])}"
    yield _make_error(
        "majority-lost",
        entry.name,
        f"no node of {entry.name} sees a majority: {words}; nothing can be changed",
        "start the stopped nodes or repair the network; only if they are permanently lost, add "
        "`collapsed` with a reason and a date to the fleet file",
    )


def _report_lost_majority(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    found = tuple(_report_lost(desired, cluster_view))
    yield from found
    if not found:
        yield from _report_needs_collapsed(desired, cluster_view)


_FINDINGS = {
    InitDecision.LIVING: _report_living,
    InitDecision.UNREACHABLE: _report_silent,
    InitDecision.KIND: _report_kind,
    InitDecision.LOST: _report_lost_majority,
    InitDecision.EARLIER_SILENT: _report_earlier_silent,
    InitDecision.UNCLEAR: _report_unclear,
    InitDecision.NEEDS_INITIALISE: _report_needs_initialise,
    InitDecision.NEEDS_COLLAPSED: _report_needs_collapsed,
    InitDecision.EXPIRED: _report_expired,
    InitDecision.USED: _report_used,
    InitDecision.APART: _report_apart,
}
