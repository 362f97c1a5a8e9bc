"""What people ordered and what changes wait for: approvals, suspensions, pins, holds, windows (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.core.change_windows import find_closing_time, find_opening_time
from reconciler.core.operations import Operation
from reconciler.core.policy import ChangeRules
from reconciler.core.reservations import Reservation
from reconciler.desired.fleet import Fleet
from reconciler.ports.store import OpenOrders
from reconciler.server.views.lists import ListPage, ListQuery, take_page
from reconciler.text.one_line import SHORT_ID, clean_line

CALENDAR_DAYS: Final = 14
MOST_SPANS: Final = 60
"""Windows and freezes of one cluster that the calendar shows."""
MOST_ORDERS: Final = 500


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order in force, or a plan that waits for one.

    Args:
        kind: `approval needed`, `approved`, `suspended`, `pinned`, `rejected`, `held` or `reserved`.
        target: the cluster, node or plan; `all clusters` for no single one.
        cluster: its name; empty for all, or if it is not known.
        text: what it says, for people.
        plan: id of the plan; empty for other orders.
    """

    kind: str
    target: str
    cluster: str
    text: str
    who: str
    since: datetime | None
    until: datetime | None
    plan: str = ""


@dataclass(frozen=True, slots=True)
class OperationLine:
    """An operation, such as a purge."""

    id: str
    kind: str
    cluster: str
    targets: tuple[str, ...]
    who: str
    why: str
    at: datetime
    deadline: datetime
    states: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class OrdersOverview:
    """All open orders and operations."""

    orders: tuple[OpenOrder, ...]
    operations: tuple[OperationLine, ...]


@dataclass(frozen=True, slots=True)
class CalendarSpan:
    """A time in which changes may be made, or not, or in which an order of a person is in force.

    Args:
        state: `open`, `frozen`, `suspended`, `pinned`, `held` or `reserved`.
        end: of the calendar, if nothing but another order ends it.
        reason: of a freeze or an order; for a node with its name.
        has_end: whether it ends by itself.
    """

    state: str
    begin: datetime
    end: datetime
    reason: str = ""
    has_end: bool = True


@dataclass(frozen=True, slots=True)
class CalendarRow:
    """When one cluster may be changed.

    Args:
        now: in words.
        is_open: whether changes may be made now, as far as windows, freezes and suspensions decide.
        has_windows: whether changes may be made in windows only.
        is_cut: whether there are more spans than are shown.
        orders: of people that are in force, in the order of their beginnings.
    """

    cluster: str
    now: str
    is_open: bool
    has_windows: bool
    spans: tuple[CalendarSpan, ...]
    is_cut: bool
    orders: tuple[CalendarSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class Calendar:
    """When clusters may be changed, from one moment to another."""

    begin: datetime
    end: datetime
    rows: ListPage[CalendarRow]


def make_orders_overview(orders: OpenOrders, operations: Sequence[Operation]) -> OrdersOverview:
    """All open orders, those that wait for a person first."""
    return OrdersOverview(
        tuple(_list_orders(orders))[:MOST_ORDERS],
        tuple(map(make_operation_line, operations[:MOST_ORDERS])),
    )


def make_operation_line(one: Operation) -> OperationLine:
    """An operation in a line."""
    return OperationLine(
        one.id,
        one.kind,
        one.cluster,
        tuple(map(clean_line, one.targets[:20])),
        clean_line(one.actor.description),
        clean_line(one.actor.why),
        one.at,
        one.deadline,
        tuple((state.value, count) for state, count in one.count_states().items()),
    )


def _list_orders(orders: OpenOrders) -> Iterator[OpenOrder]:
    for request in orders.requests:
        yield OpenOrder(
            "approval needed",
            f"{request.cluster}, plan {request.digest[:SHORT_ID]}",
            request.cluster,
            clean_line(request.description),
            "",
            request.since,
            None,
            request.digest,
        )
    for suspension in orders.suspensions:
        target = suspension.cluster or "all clusters"
        yield OpenOrder(
            "suspended",
            target,
            suspension.cluster,
            clean_line(suspension.reason),
            clean_line(suspension.by),
            suspension.since,
            None,
        )
    for pin in orders.pins:
        yield OpenOrder(
            "pinned",
            pin.cluster,
            pin.cluster,
            clean_line(f"at {pin.place}, rolled back from {pin.left_names}" + _add_reason(pin.reason)),
            clean_line(pin.by),
            pin.since,
            None,
        )
    for hold in orders.holds:
        yield _make_hold(hold)
    for rejection in orders.rejections:
        text = f"revision {rejection.short or rejection.revision[:SHORT_ID]}: {rejection.reason}"
        yield OpenOrder(
            "rejected", rejection.cluster, rejection.cluster, clean_line(text), "", rejection.since, None
        )
    for approval in orders.approvals:
        yield OpenOrder(
            "approved",
            f"plan {approval.digest[:SHORT_ID]}",
            "",
            clean_line(approval.reason),
            clean_line(approval.by),
            approval.since,
            None,
            approval.digest,
        )


def _make_hold(hold: Reservation) -> OpenOrder:
    return OpenOrder(
        "held" if hold.is_hold else "reserved",
        f"{hold.cluster}/{hold.node}",
        hold.cluster,
        clean_line(hold.actor.why),
        "the fleet file" if hold.in_file else clean_line(hold.actor.description),
        None if hold.in_file else hold.at,
        hold.until,
    )


def _add_reason(reason: str) -> str:
    return f": {reason}" if reason else ""


def make_calendar(fleet: Fleet | None, orders: OpenOrders, query: ListQuery, now: datetime) -> Calendar:
    """When clusters may be changed, from the beginning of today on."""
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    end = begin + timedelta(days=CALENDAR_DAYS)
    names = sorted(one.entry.name for one in fleet.cluster_inputs) if fleet else []
    page = take_page([name for name in names if query.contains(name)], query)
    rows = tuple(
        _make_row(name, fleet.change_rules(name), orders, begin, now) for name in page.items if fleet
    )
    return Calendar(begin, end, ListPage(rows, page.page, page.pages, page.total))


def _make_row(
    cluster: str, rules: ChangeRules, orders: OpenOrders, begin: datetime, now: datetime
) -> CalendarRow:
    end = begin + timedelta(days=CALENDAR_DAYS)
    is_suspended = any(one.cluster in {"", cluster} for one in orders.suspensions)
    ordered = sorted(_list_order_spans(cluster, orders, begin, end), key=lambda span: span.begin)
    frozen = [
        CalendarSpan("frozen", max(one.begin, begin), min(one.end, end), clean_line(one.reason))
        for one in rules.freezes
        if one.end > begin and one.begin < end
    ]
    spans = sorted([*frozen, *_list_windows(rules, begin, end)], key=lambda span: span.begin)
    active = next((span for span in frozen if span.begin <= now < span.end), None)
    closing = find_closing_time(rules.windows, now) if rules.windows else None
    is_closed = bool(rules.windows) and closing is None
    if rules.suspend is not None:
        words = f"suspended by the fleet file: {clean_line(rules.suspend.reason)}"
    elif is_suspended:
        words = "suspended by an order"
    elif active is not None:
        words = f"frozen: {active.reason}"
    else:
        words = "outside its windows" if is_closed else "open" if rules.windows else "open at any time"
    is_open = rules.suspend is None and not is_suspended and active is None and not is_closed
    return CalendarRow(
        cluster,
        words,
        is_open,
        bool(rules.windows),
        tuple(spans[:MOST_SPANS]),
        len(spans) > MOST_SPANS or len(ordered) > MOST_SPANS,
        tuple(ordered[:MOST_SPANS]),
    )


def _list_order_spans(
    cluster: str, orders: OpenOrders, begin: datetime, end: datetime
) -> Iterator[CalendarSpan]:
    """The orders of people for a cluster or its nodes, as far as the calendar goes."""
    for suspension in orders.suspensions:
        if suspension.cluster in {"", cluster} and suspension.since < end:
            reason = clean_line(f"{suspension.reason} ({suspension.by})")
            yield CalendarSpan("suspended", max(suspension.since, begin), end, reason, has_end=False)
    for pin in orders.pins:
        if pin.cluster == cluster and pin.since < end:
            reason = clean_line(f"at {pin.place}{_add_reason(pin.reason)} ({pin.by})")
            yield CalendarSpan("pinned", max(pin.since, begin), end, reason, has_end=False)
    for hold in orders.holds:
        if hold.cluster == cluster and begin < hold.until and hold.at < end:
            who = "the fleet file" if hold.in_file else hold.actor.description
            reason = clean_line(f"{hold.node}{_add_reason(hold.actor.why)} ({who})")
            kind = "held" if hold.is_hold else "reserved"
            yield CalendarSpan(kind, max(hold.at, begin), min(hold.until, end), reason)


def _list_windows(rules: ChangeRules, begin: datetime, end: datetime) -> Iterator[CalendarSpan]:
    """The times in which windows are open, those that overlap as one; bounded."""
    if not rules.windows:
        return
    at = begin
    for _ in range(MOST_SPANS + 1):
        closing = find_closing_time(rules.windows, at)
        if closing is None:
            opening = find_opening_time(rules.windows, at)
            if opening is None or opening >= end:
                return
            at, closing = opening, find_closing_time(rules.windows, opening)
        if closing is None or closing <= at:
            return
        yield CalendarSpan("open", at, min(closing, end))
        if closing >= end:
            return
        at = closing
