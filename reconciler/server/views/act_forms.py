"""The forms of acts on the pages: which ones somebody gets, and with which fields (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from reconciler.api.acts import (
    ACTS,
    Act,
    ApproveAct,
    HoldAct,
    LookAct,
    PurgeAct,
    ReleaseAct,
    ResumeAct,
    RetryAct,
    RollBackAct,
    StopAct,
    SuspendAct,
    UnpinAct,
)
from reconciler.core.roles import AccessRole
from reconciler.planning.node_conditions import NodeCondition
from reconciler.ports.store import ApprovalRequest, OpenOrders
from reconciler.server.acts.service import get_needed_role
from reconciler.server.views.fleet import ClusterGlance
from reconciler.server.views.nodes import NodeLine
from reconciler.text.one_line import SHORT_ID, clean_line

MOST_FORMS: Final = 200
"""Forms of one page."""

PAGE_ACTS: Final[dict[str, type[Act[Any]]]] = {one.name: one for one in ACTS}
"""The acts by name; the pages have a form for each."""

Allows = Callable[[AccessRole, str], bool]
"""Whether somebody has a role for a cluster; empty for all clusters."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One field that a person fills in.

    Args:
        name: of the value of the act.
        is_long: whether it has several lines.
        value: what it has at first.
    """

    name: str
    label: str
    is_needed: bool = False
    is_long: bool = False
    value: str = ""


@dataclass(frozen=True, slots=True)
class ActForm:
    """One form.

    Args:
        act: name of the act.
        title: of the form and of its button.
        text: what comes of it.
        hidden: values that the page gives.
    """

    act: str
    title: str
    text: str
    fields: tuple[FormField, ...] = ()
    hidden: tuple[tuple[str, str], ...] = ()
    is_dangerous: bool = False


REASON: Final = FormField("reason", "Reason")
_NEEDED_REASON: Final = replace(REASON, is_needed=True)


def list_fleet_forms(orders: OpenOrders, allows: Allows) -> tuple[ActForm, ...]:
    """What concerns all clusters."""
    is_suspended = any(not one.cluster for one in orders.suspensions)
    return _select((_make_look_form(""), _make_suspension_form("", is_suspended=is_suspended)), "", allows)


def list_cluster_forms(
    line: ClusterGlance, orders: OpenOrders, allows: Allows, *, has_purge: bool = True
) -> tuple[ActForm, ...]:
    """What concerns one cluster, what waits for a person first; a purge where its product has one."""
    name = line.name

    def make_forms() -> Iterator[ActForm]:
        yield from (_make_approve_form(one) for one in orders.requests if one.cluster == name)
        yield _make_look_form(name)
        is_suspended = any(one.cluster == name for one in orders.suspensions)
        yield _make_suspension_form(name, is_suspended=is_suspended)
        is_stalled = any(one.state == NodeCondition.STALLED.value for one in line.counts)
        if is_stalled or any(one.cluster == name for one in orders.rejections):
            yield _make_retry_form(name, f"Retry {clean_line(name)}")
        if any(one.cluster == name for one in orders.pins):
            yield _make_unpin_form(name)
        yield ActForm(
            RollBackAct.name,
            f"Roll back {clean_line(name)}",
            "Plans an earlier revision for this cluster; nothing changes before you confirm the plan.",
            (FormField("revision", "Commit, tag or branch", is_needed=True), REASON),
            (("only", name),),
            is_dangerous=True,
        )
        if not has_purge:
            return
        yield ActForm(
            PurgeAct.name,
            f"Purge content of {clean_line(name)}",
            "Plans a purge of the caches of this cluster; nothing is sent before you confirm the plan.",
            (FormField("targets", "URLs, one a line; * is any text", is_needed=True, is_long=True), REASON),
            (("cluster", name),),
            is_dangerous=True,
        )

    return _select(make_forms(), name, allows)


def list_node_forms(line: NodeLine, orders: OpenOrders, allows: Allows) -> tuple[ActForm, ...]:
    """What concerns one node."""
    node = f"{line.cluster}/{line.name}"
    own = [one for one in orders.holds if (one.cluster, one.node) == (line.cluster, line.name)]
    is_held = any(one.is_hold and not one.in_file for one in own)
    is_reserved = any(not one.is_hold for one in own)

    def make_forms() -> Iterator[ActForm]:
        if line.state == NodeCondition.STALLED.value:
            yield _make_retry_form(node, f"Retry {clean_line(line.name)}")
        yield (
            _make_release_form(node)
            if is_held
            else ActForm(
                HoldAct.name,
                f"Hold {clean_line(line.name)}",
                "Nothing is sent to this node until then. It counts as away; reading goes on.",
                (
                    FormField("until", "Until, such as 4h or 2026-12-24T18:00", True, value="4h"),
                    _NEEDED_REASON,
                ),
                (("node", node),),
            )
        )
        yield _make_look_form(line.cluster)
        yield _make_stop_form(line, is_reserved=is_reserved)

    return _select(make_forms(), line.cluster, allows)


def list_plan_forms(cluster: str, digest: str, orders: OpenOrders, allows: Allows) -> tuple[ActForm, ...]:
    """The approval of the plan that is shown, if it waits for one."""
    waiting = (one for one in orders.requests if (one.cluster, one.digest) == (cluster, digest))
    return _select(map(_make_approve_form, waiting), cluster, allows)


def list_order_forms(orders: OpenOrders, allows: Allows) -> tuple[ActForm, ...]:
    """What open orders wait for, and their ends."""

    def make_forms() -> Iterator[ActForm]:
        for request in orders.requests:
            yield from _select([_make_approve_form(request)], request.cluster, allows)
        for suspension in orders.suspensions:
            form = _make_suspension_form(suspension.cluster, is_suspended=True)
            yield from _select([form], suspension.cluster, allows)
        for pin in orders.pins:
            yield from _select([_make_unpin_form(pin.cluster)], pin.cluster, allows)
        for hold in orders.holds:
            if hold.is_hold and not hold.in_file:
                form = _make_release_form(f"{hold.cluster}/{hold.node}")
                yield from _select([form], hold.cluster, allows)
        for cluster in dict.fromkeys(one.cluster for one in orders.rejections):
            form = _make_retry_form(cluster, f"Retry {clean_line(cluster)}")
            yield from _select([form], cluster, allows)

    return tuple(islice(make_forms(), MOST_FORMS))


def _select(forms: Iterable[ActForm], cluster: str, allows: Allows) -> tuple[ActForm, ...]:
    """The forms of acts that somebody may do in a cluster."""
    return tuple(one for one in forms if allows(get_needed_role(PAGE_ACTS[one.act]), cluster))[:MOST_FORMS]


def _make_approve_form(request: ApprovalRequest) -> ActForm:
    return ActForm(
        ApproveAct.name,
        f"Approve plan {request.digest[:SHORT_ID]} of {clean_line(request.cluster)}",
        f"{clean_line(request.description)}. The approval is for exactly this plan, and for one run.",
        (replace(REASON, label="What was checked, and why the plan may be applied"),),
        (("plan", request.digest),),
    )


def _make_look_form(cluster: str) -> ActForm:
    return ActForm(
        LookAct.name,
        f"Look again at {clean_line(cluster) or 'all clusters'}",
        "The watch reads its source and runs a pass now.",
        (REASON,),
        (("cluster", cluster),),
    )


def _make_suspension_form(cluster: str, *, is_suspended: bool) -> ActForm:
    name = clean_line(cluster) or "all clusters"
    if is_suspended:
        text = "Changes are allowed again, and stalled nodes are tried again."
        return ActForm(ResumeAct.name, f"Resume {name}", text, (REASON,), (("cluster", cluster),))
    return ActForm(
        SuspendAct.name,
        f"Suspend {name}",
        "No changes until somebody resumes; a run in progress finishes its wave. Reading goes on.",
        (_NEEDED_REASON,),
        (("cluster", cluster),),
        is_dangerous=not cluster,
    )


def _make_retry_form(target: str, title: str) -> ActForm:
    text = "Stalled nodes and rejected revisions are tried again."
    return ActForm(RetryAct.name, title, text, (REASON,), (("target", target),))


def _make_release_form(node: str) -> ActForm:
    text = "Ends the hold before its time: the next run changes the node again."
    return ActForm(ReleaseAct.name, f"Release {clean_line(node)}", text, (REASON,), (("node", node),))


def _make_unpin_form(cluster: str) -> ActForm:
    text = "The cluster follows the newest revision again."
    return ActForm(UnpinAct.name, f"Unpin {clean_line(cluster)}", text, (REASON,), (("cluster", cluster),))


def _make_stop_form(line: NodeLine, *, is_reserved: bool) -> ActForm:
    name, node = clean_line(line.name), (("cluster", line.cluster), ("node", line.name))
    if is_reserved:
        text = "The node is back: it no longer counts as away."
        title = f"End the reservation of {name}"
        return ActForm(StopAct.name, title, text, (REASON,), (*node, ("release", "yes")))
    return ActForm(
        StopAct.name,
        f"Ask whether {name} may be stopped",
        "Reads the nodes anew. A yes reserves the node: it counts as away until it is seen back.",
        (FormField("seconds", "Seconds for which a yes counts, 60 to 86400", True, value="900"), REASON),
        node,
    )
